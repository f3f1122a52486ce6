"""A bot over several timeframes, by the doors: warmed by the manager, looked at by its indicators."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from infra.commands.manager import BotSpec
from infra.db.pages import Window
from infra.db.schema import migrate, open_database
from infra.research.certificate import Asked, again, certify, to_json
from infra.strategies.indicators import Indicators
from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies
from infra.upkeep.rebuild import rebuild
from projections.audit.verify import verify
from projections.strategies.parameters import StrategyParameterError
from streams.backends import open_log
from streams.codec import decode_output, encode
from streams.events import BotChanged, Candle, DeadLetter, Event
from streams.log import Log
from streams.records import Entry, Output, Record
from streams.topics import ALL, DERIVED, JOURNAL, SYSTEM
from tests.integration import test_ranges as ranges
from tests.integration.command_line import CommandLine
from tests.integration.test_warming import FOLDED, MARKET, Home, float_bits
from tests.journal import START, of
from tests.programs import KERNELS
from tests.property.test_several_timeframes import Talking
from tests.several import several
from tests.warming import wander

SPEC = BotSpec("trend", "test", "A/USDT", "1m", "1000", {"near": "3", "far": 2}, short=True)


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    return several(KERNELS, tmp_path_factory.mktemp("several"))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=1)
    yield log
    log.close()


@pytest.fixture
def home(log: Log, strategies: Strategies) -> Home:
    home = Home(log, strategies)
    home.trade(wander(1, 400), at_once=25)
    return home


@pytest.mark.parametrize("folded", FOLDED)
def test_it_is_warmed_on_the_newest_candles_of_each(home: Home, folded: str) -> None:
    FOLDED[folded](home)
    begun = home.manager.create_bot(SPEC)
    counts = {timeframe: one[1:] for timeframe, one in begun.higher.items()}
    assert (begun.warm_up[1:], counts) == ((3, 3), {"5m": (5, 5), "15m": (26, 240)})
    everything = home.manager.create_bot(SPEC, warm="all")
    assert everything.warm_up.candles == 399
    assert {name: one.candles for name, one in everything.higher.items()} == {"5m": 79, "15m": 26}
    assert home.manager.create_bot(SPEC, warm=0).higher["5m"] == ("", 0, 5)
    assert not home.told(DeadLetter, SYSTEM)
    home.fold()
    assert [change.warmed for change in home.told(BotChanged)][-3:] == [3, 399, 0]
    assert not home.told(DeadLetter, SYSTEM)


def test_one_that_is_not_below_all_that_it_reads_is_not_written(home: Home) -> None:
    before = home.log.highwater("journal", 0)
    with pytest.raises(StrategyParameterError, match="a bot of 15m is not below them; choose 1m"):
        home.manager.create_bot(SPEC._replace(timeframe="15m"))
    assert home.log.highwater("journal", 0) == before


def test_its_indicators_are_told_as_it_saw_them(home: Home, tmp_path: Path) -> None:
    for warm in (None, "all", 0, 20):
        home.manager.create_bot(SPEC, warm=warm)
        home.trade(wander(7, 4))
    home.trade(wander(9, 130))
    home.manager.reconfigure_bot(1, {"far": 3}, warm=10)
    home.trade(wander(8, 77))
    home.fold()
    lanes = home.newest_values()
    url = f"sqlite:///{tmp_path}/projections.db"
    migrate(url)
    rebuild(home.log, url)
    database = open_database(url)
    lives = BotHistory(home.log)
    for every in (16, 50, 10_000):
        indicators = Indicators(database, home.strategies, every)
        for bot_id, bits in lanes.items():
            mine = lives.lives(bot_id, MARKET.key)
            whole = indicators.page(mine, MARKET.key, Window(1_000))
            assert b"".join(map(float_bits, whole[-1][1].values())) == bits
            for at in range(0, len(whole), 37):
                (again,) = indicators.page(mine, MARKET.key, Window(1, until_ns=whole[at][0], newest=True))
                assert list(map(float_bits, again[1].values())) == list(
                    map(float_bits, whole[at][1].values())
                )
    database.dispose()


def test_verify_finds_nothing_amiss(home: Home) -> None:
    home.manager.create_bot(SPEC)
    home.trade(wander(7, 40))
    home.fold()
    assert verify(home.log, home.strategies, lambda _: None).equal


@pytest.mark.parametrize("often", [1.0, 0.1])
@pytest.mark.parametrize("given", [True, False])
def test_in_a_copy_of_a_range_it_steps_as_in_the_whole(
    tmp_path: Path, strategies: Strategies, often: float, given: bool
) -> None:
    edge = START + (60 * 333 + 17) * 10**9
    with ranges.open_log(tmp_path / "log") as log:
        home = ranges.Recording(log, strategies)
        home.trade(120, often)
        for warm in () if given else (None, 0):
            home.manager.create_bot(SPEC, start=True, warm=warm)
            home.trade(50, often)
        home.trade(700, often)
        bots = [SPEC] if given else None
        whole_span, part_span = ranges.Range(), ranges.Range(edge, None)
        with home.copied(tmp_path / "whole", whole_span, bots) as whole:
            expected = ranges.traced(whole, strategies)
        with home.copied(tmp_path / "part", part_span, bots) as part:
            assert ranges.same_from(edge, expected, ranges.traced(part, strategies)) > 60
            ranges.fold_home(part, strategies)
            assert verify(part, strategies, lambda _: None).equal


def test_its_certificate_compares_the_higher_candles_too(tmp_path: Path, strategies: Strategies) -> None:
    world = Talking(7, strategies, Counter())
    world.live()
    log = ranges.open_log
    with log(tmp_path / "log") as recorded_, log(tmp_path / "other") as other:
        recorded_.append(Entry(JOURNAL, r.key, r.value, r.time_ms, 0, r.headers) for r in world.journal)
        ranges.fold_home(recorded_, strategies)
        closed = [event for event in of(world.derived, Candle) if event.revision == 0]
        read = [event for event in closed if event.timeframe in ("1m", "5m", "15m")]
        for bot_id in (1, 2):
            made = certify(recorded_, strategies, Asked(bot_id))
            assert made.equal and made.compared["candles"] == len(read) and made.facts > 10
            assert to_json(again(recorded_, strategies, made)) == to_json(made)
        alter = of_one(
            Candle, lambda one: replace(one, close=one.close + 1), 1, lambda one: one.timeframe == "15m"
        )
        for topic in ALL:
            copied = [alter(record) for record in recorded_.read(topic, 0)]
            other.append(Entry(topic, r.key, r.value, r.time_ms, 0, r.headers) for r in copied)
        difference = certify(other, strategies, Asked(1)).difference
        assert difference is not None and difference.kind == "candles"
        assert (difference.recorded or {})["timeframe"] == "15m"


def of_one(
    kind: type, change: Callable[[Any], Event], number: int, which: Callable[[Any], bool]
) -> Callable[[Record], Record]:
    """Changes the `number`-th of these events in the derived streams."""
    count = 0

    def alter(record: Record) -> Record:
        nonlocal count
        if record.topic not in DERIVED:
            return record
        output = decode_output(record.value)
        told: list[Event] = []
        for event in output.events:
            mine = isinstance(event, kind) and which(event)
            count += mine
            told.append(change(event) if mine and count == number else event)
        parts = (output.partition, output.offset, output.indexes, tuple(told))
        return record._replace(value=encode(Output(*parts)))  # type: ignore[arg-type] - a tuple knows no fields

    return alter


HIGHER = """
from projections.strategies import BaseStrategy, param, sma


class Higher(BaseStrategy):
    near: int = param(3, low=1, high=9)
    average = sma("close", "near")
    trend = sma("close", 2, timeframe="15m")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.average > x.trend else -1.0
"""


def test_the_command_line_knows_such_strategies(recorded: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "higher.py"
    file.write_text(HIGHER)
    home = CommandLine(recorded.copy(tmp_path / "copy").home, {"TCPD_STRATEGIES": str(file)})
    on = ("--venue", "test", "--symbol", "BTC/USDT", "--timeframe")
    created = home.run("bots", "create", *on, "1m", "--cash", "9", "--strategy", "higher")
    assert "warmed on 3 candles and 2 of 15m at" in created.stderr
    words = "reads candles of 15m: a bot of 1h is not below them; choose 1m or 5m"
    assert words in home.error("bots", "create", *on, "1h", "--cash", "9", "--strategy", "higher")
    told = home.line("backtest", "higher", *on, "1m", "--short")
    assert told["metrics"]["trades"] > 3
    assert home.line("runs", "again", told["trial"])["same"] is True
    rows = home.lines("sweep", "higher", *on, "1m", "--short", "--grid", "near=2:4", "--json")
    assert len(rows) == 3
