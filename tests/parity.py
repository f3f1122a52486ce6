"""Every bot of a journal in memory, run again by the backtest and held against what the fold makes of it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby

from projections.audit.parity import Compared, compare, compare_candles
from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.research.gather import gather
from projections.research.reliving import relive
from projections.research.run import Prepared
from projections.strategies.code import Strategies
from streams.causes import Cause
from streams.codec import DerivedEvent, decode_output
from streams.events import BotChanged, Candle, DeadLetter
from streams.records import Record
from streams.topics import CANDLES, JOURNAL
from tests.journal import emitted, fold


def compared(
    journal: Iterable[Record], strategies: Strategies, derived: list[Derived] | None = None
) -> dict[int, Compared]:
    """By bot. `derived`: what was made of the journal, if it is known. It is decoded bot by bot, and the
    candles of a timeframe once, so that a long life of many bots fits memory."""
    records = list(journal)
    made = fold(Pipeline(0, strategies), records) if derived is None else derived
    dead: set[int] = set()
    bots: dict[int, BotChanged] = {}
    theirs: defaultdict[int, list[Derived]] = defaultdict(list)
    for item in made:
        if item.topic == CANDLES:
            continue
        for bot_id in {bot_id for _, event in emitted([item]) for bot_id in _noted(event, dead, bots)}:
            theirs[bot_id].append(item)
    places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for bot_id, bot in bots.items():
        places[bot.market, bot.timeframe, *strategies.latest(bot.strategy).higher].append(bot_id)
    candles: dict[tuple[str, str], Compared] = {}
    found: dict[int, Compared] = {}
    for (market, *frames), there in places.items():
        own, *higher = gather(records, market, frames, dead)
        prepared, frame = Prepared(own, higher=higher), (market, frames[0])
        if frame not in candles:
            candles[frame] = compare_candles(own, _candles(made, *frame))
        for bot_id in there:
            outcome = relive(prepared, strategies.get, bot_id)
            one = compare(own, outcome, _in_turn(theirs[bot_id]), bot_id)
            found[bot_id] = candles[frame].joined(one)
    return dict(sorted(found.items()))


def _noted(event: DerivedEvent, dead: set[int], bots: dict[int, BotChanged]) -> Iterator[int]:
    """The bots of an event."""
    if isinstance(event, DeadLetter) and event.topic == JOURNAL:
        dead.add(event.offset)
    if isinstance(event, BotChanged):
        bots[event.bot_id] = event
    ids = getattr(event, "bot_id", ())
    yield from ids if isinstance(ids, tuple) else (ids,)


def _candles(made: Iterable[Derived], market: str, timeframe: str) -> Iterator[tuple[Cause, Candle]]:
    for item in made:
        if item.topic == CANDLES and item.key == market.encode():
            for cause, event in emitted([item]):
                if isinstance(event, Candle) and event.timeframe == timeframe:
                    yield cause, event


def _in_turn(items: Iterable[Derived]) -> Iterator[tuple[Cause, DerivedEvent]]:
    """Their events by cause."""
    for _, of_record in groupby(items, key=lambda item: decode_output(item.value).offset):
        yield from sorted(emitted(of_record), key=lambda pair: pair[0])
