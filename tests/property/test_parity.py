"""The backtest does what the fold does: every decision, order, fill and mark of every bot, in integers."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

from infra.strategies.registry import Strategies
from projections.audit.parity import Compared, compare
from projections.research import account, decide
from projections.research.gather import gather
from projections.research.reliving import relive
from projections.research.run import Prepared
from streams.codec import decode_output
from streams.events import DeadLetter
from streams.topics import JOURNAL
from tests.property.worlds import World

WORLDS = 150


def compared(world: World, strategies: Strategies) -> list[Compared]:
    """Every bot of a world that has lived."""
    events = [
        pair
        for item in world.derived
        for output in [decode_output(item.value)]
        for pair in zip(output.causes(), output.events, strict=True)
    ]
    events.sort(key=lambda pair: pair[0])
    dead = {event.offset for _, event in events if isinstance(event, DeadLetter) and event.topic == JOURNAL}
    timeframes = ("1m", "5m")
    found = {c.timeframe: Prepared(c) for c in gather(world.journal, world.market.key, timeframes, dead)}
    bots = world.pipeline.view().markets[world.market.key].bots
    return [
        compare(prepared.columns, relive(prepared, strategies.get, bot_id), events, bot_id)
        for bot_id, prepared in ((bot_id, found[bot.timeframe]) for bot_id, bot in sorted(bots.items()))
    ]


def test_the_backtest_of_every_recorded_bot_is_what_is_recorded(strategies: Strategies) -> None:
    counts: Counter[str] = Counter()
    for seed in range(WORLDS):
        world = World(seed, strategies, Counter())
        world.live()
        for bot_id, one in enumerate(compared(world, strategies), 1):
            assert one.differs is None, f"world {seed}, bot {bot_id}: {one.differs}"
            counts.update(one.counts)
    assert all(counts[kind] > WORLDS for kind in counts), counts


def test_the_compiled_account_is_made_anew_when_decisions_change() -> None:
    assert sha256(Path(decide.__file__).read_bytes()).hexdigest() == account.DECIDE_SHA256
