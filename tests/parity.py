"""Every bot of a journal in memory, run again by the backtest and held against what the fold makes of it."""

from collections.abc import Iterable

from projections.audit.parity import Compared, compare, compare_candles
from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.research.gather import gather
from projections.research.reliving import relive
from projections.research.run import Prepared
from projections.strategies.code import Strategies
from streams.events import BotChanged, Candle, DeadLetter
from streams.records import Record
from streams.topics import JOURNAL
from tests.journal import emitted, fold


def compared(
    journal: Iterable[Record], strategies: Strategies, derived: list[Derived] | None = None
) -> dict[int, Compared]:
    """By bot. `derived`: what was made of the journal, if it is known."""
    records = list(journal)
    made = fold(Pipeline(0, strategies), records) if derived is None else derived
    events = sorted(emitted(made), key=lambda pair: pair[0])
    dead = {event.offset for _, event in events if isinstance(event, DeadLetter) and event.topic == JOURNAL}
    bots = {event.bot_id: event for _, event in events if isinstance(event, BotChanged)}
    prepared: dict[tuple[str, ...], Prepared] = {}
    found: dict[int, Compared] = {}
    for bot_id, bot in sorted(bots.items()):
        frames = [bot.timeframe, *strategies.latest(bot.strategy).higher]
        place = (bot.market, *frames)
        if place not in prepared:
            own, *higher = gather(records, bot.market, frames, dead)
            prepared[place] = Prepared(own, higher=higher)
        columns = prepared[place].columns
        candles = (
            (cause, event)
            for item in made
            if item.key == bot.market.encode()
            for cause, event in emitted([item], Candle)
            if event.timeframe == bot.timeframe
        )
        outcome = relive(prepared[place], strategies.get, bot_id)
        found[bot_id] = compare_candles(columns, candles).joined(compare(columns, outcome, events, bot_id))
    return found
