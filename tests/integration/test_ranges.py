"""A range of a journal: its bots begin at its edge as those of the whole journal stand there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from infra.commands import BotManager
from infra.commands.given import RefusedError
from infra.commands.manager import BotSpec
from infra.db.pages import Window
from infra.db.schema import open_database
from infra.strategies.indicators import Indicators, WarmedElsewhereError
from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import Range, copy_journal, fold_home, plan_copy
from infra.upkeep.rebuild import rebuild
from projections.audit.verify import verify
from projections.fold.bots import Group
from projections.fold.pipeline import Pipeline
from projections.strategies.parameters import StrategyParameterError
from streams.backends import open_bare_log
from streams.events import BotChanged, DeadLetter, Feed, Market, Signal
from streams.journal import JournalWriter, begin
from streams.log import Log
from streams.topics import BOTS, JOURNAL, SIGNALS
from tests.journal import MINUTE, START, batch, batch_of, of, spot
from tests.property.test_warm_up import BUILT_IN
from tests.warming import wander

MARKET = spot("A/USDT")
OTHER = spot("B/USDT", closed="left", grace_ms=2_000)
MINUTES = 500
Trace = dict[tuple[int, int], tuple[bytes, float]]
"""By bot and end of its newest candle: the bits of its indicators, and its target."""


def spec(name: str = "sma_cross", timeframe: str = "1m", market: Market = MARKET) -> BotSpec:
    return BotSpec(name, "test", market.symbol, timeframe, "1000", BUILT_IN[name], short=True)


class Recording:
    """Two markets in one partition, a trade in some minutes, in small records of both."""

    def __init__(self, log: Log, strategies: Strategies) -> None:
        begin(log)
        self.log, self.strategies = log, strategies
        self.writer = JournalWriter(log, "feed", 1)
        self.manager = BotManager(log, strategies, "test:ann", now=lambda: START)
        self.minute = 0
        self.random = np.random.default_rng(5)
        for market in (MARKET, OTHER):
            self.writer.append(market, key=market.key)
        self.prices = zip(wander(1, 2_000), wander(2, 2_000), strict=True)

    def trade(self, minutes: int, often: float = 0.6) -> None:
        """Trades in about `often` of the minutes, seven minutes a record; the clock goes on in all."""
        rows = []
        for _ in range(minutes):
            for market, price in zip((MARKET, OTHER), next(self.prices), strict=True):
                if self.random.random() < often:
                    second = 60 * self.minute + int(self.random.integers(1, 55))
                    rows.append((market, (second, price, 5)))
            self.minute += 1
            rows += [(market, (60 * self.minute,)) for market in (MARKET, OTHER)]
            if self.minute % 7 == 0:
                self.writer.append(batch_of([MARKET, OTHER], rows), key=MARKET.key)
                rows = []
        if rows:
            self.writer.append(batch_of([MARKET, OTHER], rows), key=MARKET.key)

    @contextmanager
    def copied(self, folder: Path, span: Range, bots: Sequence[BotSpec] | None = None, *, warm: bool = True):
        with open_log(folder / "copy") as copy:
            copy_journal(self.log, copy, plan_copy(self.log, self.strategies, span, bots, warm=warm))
            yield copy


@contextmanager
def open_log(path: Path) -> Iterator[Log]:
    log = open_bare_log(f"embedded://{path}", partitions=1)
    yield log
    log.close()


@pytest.fixture
def home(tmp_path: Path, strategies: Strategies) -> Iterator[Recording]:
    with open_log(tmp_path / "log") as log:
        yield Recording(log, strategies)


def traced(log: Log, strategies: Strategies) -> Trace:
    """Fold a log record by record."""
    pipeline, found = Pipeline(0, strategies), Trace()
    for record in log.read(JOURNAL, 0):
        derived = pipeline.fold(record).derived
        assert not of(derived, DeadLetter)
        for tape in pipeline._tapes.values():
            book = tape.bots
            for bot in book.bots.values():
                group = book.group_of(bot)
                if isinstance(group, Group) and bot.timeframe in book.ends:
                    values = group._lanes.values[group.rows[bot.bot_id]].tobytes()
                    found[bot.bot_id, book.ends[bot.timeframe]] = values, group.target(bot.bot_id)
    return found


def same_from(edge_ns: int, whole: Trace, part: Trace) -> int:
    """How many places from the edge on are compared, all of which must be equal."""
    behind = {place: lane for place, lane in whole.items() if place[1] >= edge_ns}
    common = behind.keys() & part.keys()
    assert {place: part[place] for place in common} == {place: behind[place] for place in common}
    return len(common)


BOTS_GIVEN = [
    *(spec(name) for name in BUILT_IN),
    spec("sma_cross", "5m"),
    spec("rsi_reversion", "15m", OTHER),
    spec("macd_cross", "1m", OTHER),
]


@pytest.mark.parametrize("often", [1.0, 0.3, 0.02])
@pytest.mark.parametrize("edge_s", [60 * 300, 60 * 333 + 17])
def test_a_given_bot_of_a_range_steps_with_the_bits_of_one_of_the_whole(
    home: Recording, tmp_path: Path, often: float, edge_s: int
) -> None:
    home.trade(MINUTES, often)
    edge = START + edge_s * 10**9
    with home.copied(tmp_path / "whole", Range(), BOTS_GIVEN) as whole:
        expected = traced(whole, home.strategies)
    with home.copied(tmp_path / "part", Range(edge, None), BOTS_GIVEN) as part:
        assert same_from(edge, expected, traced(part, home.strategies)) > 100
    with home.copied(tmp_path / "cold", Range(edge, None), BOTS_GIVEN, warm=False) as cold:
        found = traced(cold, home.strategies)
        behind = {place for place in expected if place[1] >= edge}
        assert any(found.get(place) != expected[place] for place in behind)


def test_a_range_and_its_bots_verify_and_begin_with_what_they_had_not_traded(
    home: Recording, tmp_path: Path
) -> None:
    home.trade(MINUTES)
    edge = START + 300 * MINUTE
    with home.copied(tmp_path, Range(edge, None), BOTS_GIVEN) as part:
        fold_home(part, home.strategies)
        assert verify(part, home.strategies, lambda _: None).equal
        assert min(signal.timestamp for signal in of(part.read(SIGNALS, 0), Signal)) >= edge
        assert all(change.warmed for change in of(part.read(BOTS, 0), BotChanged))
        url = f"sqlite:///{tmp_path}/database.db"
        rebuild(part, url)
        database = open_database(url)
        lives = BotHistory(part).lives(1, MARKET.key)
        with pytest.raises(WarmedElsewhereError, match="it is a copy of a range"):
            Indicators(database, home.strategies).page(lives, MARKET.key, Window(limit=5, newest=True))
        database.dispose()


def test_recorded_bots_of_a_range_stand_at_its_edge_as_their_commands_left_them(
    home: Recording, tmp_path: Path
) -> None:
    manager = home.manager
    home.trade(100)
    manager.create_bot(spec(), start=True)
    manager.create_bot(spec("rsi_reversion", "5m"), start=True, warm=0)
    manager.create_bot(spec("macd_cross"))
    home.trade(50)
    manager.reconfigure_bot(1, {"slow": 12}, warm=3)
    manager.start_bot(3)
    manager.create_bot(spec("bollinger_breakout", "1m", OTHER), start=True)
    home.trade(50)
    manager.halt_all("lunch")
    manager.start_bot(1)
    manager.stop_bot(2)
    home.trade(150)
    manager.create_bot(spec("sma_cross", "5m"), start=True)
    manager.start_bot(4)
    home.trade(100)
    edge = START + 320 * MINUTE
    with home.copied(tmp_path, Range(edge, None)) as part:
        assert same_from(edge, traced(home.log, home.strategies), traced(part, home.strategies)) > 80
        ours, theirs = [fold_home(log, home.strategies)[0].view().markets for log in (part, home.log)]
        for key in (MARKET.key, OTHER.key):
            assert {b.bot_id: (b.status, b.params, b.steps) for b in ours[key].bots.values()} == {
                b.bot_id: (b.status, b.params, b.steps) for b in theirs[key].bots.values()
            }
        assert verify(part, home.strategies, lambda _: None).equal


def test_markets_that_were_written_one_after_another_each_have_their_own_edge(
    home: Recording, tmp_path: Path
) -> None:
    for market in (MARKET, OTHER):
        writer = JournalWriter(home.log, f"file-{market.key}", 1)
        rows = [(60 * n + 1, price, 5) for n, price in enumerate(wander(3, MINUTES))]
        for first in range(0, MINUTES, 50):
            writer.append(batch(market, rows[first : first + 50]), key=market.key)
    edge, bots = START + 300 * MINUTE, [spec(), spec("macd_cross", "5m", OTHER)]
    with home.copied(tmp_path / "whole", Range(), bots) as whole:
        expected = traced(whole, home.strategies)
    with home.copied(tmp_path / "part", Range(edge, None), bots) as part:
        found = traced(part, home.strategies)
        assert {place[0] for place in found} == {1, 2}
        assert min(end for _, end in found) >= edge - 5 * MINUTE
        assert same_from(edge, expected, found) > 5


def test_what_nobody_vouched_for_at_the_edge_holds_the_bots_of_a_range(
    home: Recording, tmp_path: Path
) -> None:
    home.trade(100)
    home.writer.append(
        Feed(market=MARKET.key, source="feed", state="stale", since=START + 90 * MINUTE), key=MARKET.key
    )
    home.trade(100)
    with home.copied(tmp_path, Range(START + 150 * MINUTE, None), [spec()]) as part:
        fold_home(part, home.strategies)
        refused = {signal.code for signal in of(part.read(SIGNALS, 0), Signal)}
        assert refused == {"stale_data"}


REFUSED = {
    "behind the journal": (Range(START + 10**6 * MINUTE, None), None, "no trade of the journal lies after 2"),
    "before it": (
        Range(None, START - MINUTE),
        None,
        "no trade of the journal lies up to 2025-12-31T23:59:00Z",
    ),
    "an unknown timeframe": (Range(START, None), [spec(timeframe="7m")], "timeframe '7m': choose one of 1m"),
    "an unknown market": (Range(), [spec(market=spot("C/USDT"))], "market test:C/USDT is not in the journal"),
    "cash too fine": (Range(START, None), [spec()._replace(cash="0.000000001")], "more than 8 decimals"),
    "no trades of its market": (
        Range(START + 150 * MINUTE, None),
        [spec(), spec(market=OTHER)],
        "bot 2: no trade of test:B/USDT lies after 2026-01-01T02:30:00Z",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_copy_that_cannot_be_is_refused_before_it_is_written(home: Recording, case: str) -> None:
    home.trade(100)
    home.writer.append(batch(MARKET, [(60 * 200, 1_000, 5)]), key=MARKET.key)
    span, bots, said = REFUSED[case]
    with pytest.raises(RefusedError, match=said):
        plan_copy(home.log, home.strategies, span, bots)


def test_a_parameter_or_strategy_that_cannot_be_is_refused_too(home: Recording) -> None:
    home.trade(10)
    with pytest.raises(StrategyParameterError, match="fast"):
        plan_copy(home.log, home.strategies, Range(), [spec()._replace(params={"fast": 0})])
    with pytest.raises(LookupError, match="there is no strategy 'sma'"):
        plan_copy(home.log, home.strategies, Range(), [spec()._replace(strategy="sma")])
