"""A bot is warmed on the candles before its command, whatever is folded, and whoever writes beside it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from infra.commands import BotManager
from infra.commands.given import RefusedError
from infra.commands.manager import BotSpec, warm_of
from infra.db.pages import Window
from infra.db.schema import migrate, open_database
from infra.strategies.indicators import Indicators
from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import Range, copy_journal, fold_home, plan_copy
from infra.upkeep.rebuild import rebuild
from projections import history
from projections.audit.verify import verify
from projections.fold.pipeline import Pipeline
from projections.history import END, closed
from streams.backends import open_bare_log, open_log
from streams.codec import decode_input, encode
from streams.events import Bars, BotChanged, CreateBot, DeadLetter, Signal
from streams.journal import JournalWriter
from streams.log import Log
from streams.records import Entry
from streams.topics import BOTS, CANDLES, JOURNAL, SIGNALS, SYSTEM
from tests.journal import MINUTE, START, batch, emitted, fold, of, spot
from tests.property.test_warm_up import BUILT_IN
from tests.warming import wander

MARKET = spot("A/USDT")
MINUTES = 300
SPEC = BotSpec("sma_cross", "test", "A/USDT", "1m", "1000", {"fast": "3", "slow": 8}, short=True)


class Home:
    """A log with one partition and a market that is written and folded bit by bit."""

    def __init__(self, log: Log, strategies: Strategies) -> None:
        self.log, self.strategies = log, strategies
        self.writer = JournalWriter(log, "feed", 1)
        self.manager = BotManager(log, strategies, "test:ann", now=lambda: START)
        self.pipeline = Pipeline(0, strategies)
        self.minutes = 0
        self.writer.append(MARKET, key=MARKET.key)

    def trade(self, prices: Sequence[int], at_once: int = 10) -> None:
        rows = [(60 * n + 1, price, 1 + n % 7) for n, price in enumerate(prices, self.minutes)]
        for first in range(0, len(rows), at_once):
            self.writer.append(batch(MARKET, rows[first : first + at_once]), key=MARKET.key)
        self.minutes += len(prices)

    def fold(self, stop: int | None = None) -> None:
        """What a worker does, without a snapshot."""
        for record in self.log.read(JOURNAL, 0, self.pipeline.applied + 1, stop):
            for item in self.pipeline.fold(record).derived:
                self.log.append([Entry(item.topic, item.key, item.value, item.time_ms, 0)], sync=False)

    def told(self, kind: type, topic: str = BOTS) -> list:
        return of(self.log.read(topic, 0), kind)

    def bars(self) -> list[Bars]:
        found = [decode_input(record.value).event for record in self.log.read(JOURNAL, 0)]
        return [event for event in found if isinstance(event, Bars)]

    def newest_values(self) -> dict[int, bytes]:
        """By bot, the indicators that it saw last, bit by bit."""
        found: dict[int, bytes] = {}
        book = self.pipeline._tapes[MARKET.key].bots
        for bot_id, bot in book.bots.items():
            group = book.group_of(bot)
            assert group is not None
            found[bot_id] = group._lanes.values[group.rows[bot_id]].tobytes()
        return found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=1)
    yield log
    log.close()


@pytest.fixture
def home(log: Log, strategies: Strategies) -> Home:
    home = Home(log, strategies)
    home.trade(wander(1, MINUTES))
    return home


def snapshot(home: Home) -> None:
    fold_home(home.log, home.strategies)


FOLDED: dict[str, Callable[[Home], None]] = {
    "nothing": lambda home: None,
    "a part": lambda home: home.fold(home.log.highwater(JOURNAL, 0) // 2),
    "everything": lambda home: home.fold(),
    "everything, in a snapshot": snapshot,
}


@pytest.mark.parametrize("folded", FOLDED)
def test_the_candles_are_the_newest_before_the_command_whatever_is_folded(home: Home, folded: str) -> None:
    FOLDED[folded](home)
    begun = home.manager.create_bot(SPEC)
    assert begun.warm_up[1:] == (8, 8)
    everything = home.manager.create_bot(SPEC, warm="all").warm_up
    assert everything[1:] == (MINUTES - 1, 8)
    fresh = Pipeline(0, home.strategies)
    derived = fold(fresh, home.log.read(JOURNAL, 0))
    assert not of(derived, DeadLetter)
    assert [change.warmed for change in of(derived, BotChanged)] == [8, MINUTES - 1]
    ends = [end for bars in home.bars() for end in bars.timestamp]
    newest = START + (MINUTES - 1) * MINUTE
    assert ends == [
        *range(newest - 7 * MINUTE, newest + 1, MINUTE),
        *range(START + MINUTE, newest + 1, MINUTE),
    ]


def test_how_many_is_what_is_asked_for_and_what_there_is(home: Home) -> None:
    home.fold()
    assert home.manager.create_bot(SPEC, warm=20).warm_up[1:] == (20, 8)
    assert home.manager.create_bot(SPEC, warm=0).warm_up == ("", 0, 8)
    hourly = home.manager.create_bot(SPEC._replace(timeframe="1h"))
    assert hourly.warm_up[1:] == (4, 8)
    home.fold()
    assert [change.warmed for change in home.told(BotChanged)] == [20, 0, 4]
    assert [warm_of("all"), warm_of("12")] == ["all", 12]
    for text in ("", "0", "-1", "some", "1.5", "99999999999"):
        with pytest.raises(RefusedError, match="write all, or a number"):
            warm_of(text)


def test_a_bot_that_begins_anew_is_warmed_and_one_that_goes_on_is_not(home: Home) -> None:
    home.manager.create_bot(SPEC, warm=0)
    assert home.manager.start_bot(1).warm_up.name == ""
    assert home.manager.reconfigure_bot(1, {"slow": 12}).warm_up[1:] == (12, 12)
    assert home.manager.reconfigure_bot(1, short=False, warm=3).warm_up[1:] == (3, 12)
    home.fold()
    assert [change.warmed for change in home.told(BotChanged)] == [0, 0, 12, 3]


def test_a_record_of_candles_stays_below_the_limit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BARS_MAX", 50)
    begun = home.manager.create_bot(SPEC, warm="all")
    sizes = [len(bars.timestamp) for bars in home.bars()]
    assert sizes == [50] * 5 + [49]
    assert begun.warm_up.candles == sum(sizes)
    home.fold()
    assert [change.warmed for change in home.told(BotChanged)] == [MINUTES - 1]


def test_candles_that_a_killed_worker_recorded_again_count_once(home: Home, log: Log) -> None:
    home.fold()
    again = [Entry(r.topic, r.key, r.value, r.time_ms, 0) for r in log.read(CANDLES, 0, 5)]
    log.append(again)
    rows = closed(log, MARKET.key, "1m", count=MINUTES)
    assert rows[:, END].tolist() == list(range(START + MINUTE, START + MINUTES * MINUTE, MINUTE))
    assert closed(log, MARKET.key, "1m", since=START + 100 * MINUTE)[0, END] == START + 100 * MINUTE


class Racing:
    """A log in which the market closes a candle before and after whatever is asked of it, and all that is
    there is folded now and then."""

    def __init__(self, home: Home, fold_every: int) -> None:
        self._home, self._every, self._asked = home, fold_every, 0
        self._prices = iter(wander(fold_every, 10_000))

    def __getattr__(self, name: str) -> Any:
        given = getattr(self._home.log, name)
        if name not in ("append", "read", "highwater"):
            return given

        def asked(*args: Any, **more: Any) -> Any:
            self._race()
            answer = given(*args, **more)
            self._race()
            return answer

        return asked

    def _race(self) -> None:
        self._asked += 1
        self._home.trade([next(self._prices)])
        if self._asked % self._every == 0:
            self._home.fold()


@pytest.mark.parametrize("fold_every", [1, 2, 5, 1_000])
def test_no_candle_is_lost_that_closes_while_the_command_is_given(
    home: Home, strategies: Strategies, fold_every: int
) -> None:
    home.manager.create_bot(SPEC, start=True, warm=0)
    racing = BotManager(cast(Log, Racing(home, fold_every)), strategies, "test:ann", now=lambda: START)
    for warm in (None, "all", 30):
        racing.create_bot(SPEC, start=True, warm=warm)
    home.trade([1_234, 1_235])
    home.fold()
    assert not home.told(DeadLetter, SYSTEM)
    group = next(iter(home.pipeline._tapes[MARKET.key].bots.groups.values()))
    rows = group._lanes.values[: len(group.rows)]
    assert len(rows) == 4
    assert {row.tobytes() for row in rows} == {rows[0].tobytes()}
    warmed = [change.warmed for change in home.told(BotChanged)]
    assert warmed[1] > 8
    assert warmed[3] > 30


# ------------------------------------------------------------------ who reads the journal again


def altered(home: Home, change: Callable[[Bars], Bars], more: int = 0) -> Log:
    """The log with other candles before the command, so many `more`, folded as they are now."""
    copy = open_bare_log(f"{home.log.url}-altered", partitions=1)
    for record in home.log.read(JOURNAL, 0):
        value = record.value
        if b"bars.v1" in value:
            entry = decode_input(value)
            assert isinstance(entry.event, Bars)
            value = encode(replace(entry, event=change(entry.event)))
        elif b"create_bot.v1" in value:
            entry = decode_input(value)
            assert isinstance(entry.event, CreateBot)
            candles = entry.event.warm_candles + more
            value = encode(replace(entry, event=replace(entry.event, warm_candles=candles)))
        copy.append([Entry(JOURNAL, record.key, value, record.time_ms, 0, record.headers)])
    fold_home(copy, home.strategies)
    return copy


def test_candles_that_are_not_the_markets_own_are_found_and_named(home: Home) -> None:
    home.manager.create_bot(SPEC)
    home.trade(wander(4, 20))
    with closing(altered(home, lambda bars: bars)) as log:
        assert verify(log, home.strategies, lambda _: None).equal
    changes: dict[str, Callable[[Bars], Bars]] = {
        "has close": lambda bars: replace(bars, close=(bars.low[0] + 1, *bars.close[1:])),
        "has volume": lambda bars: replace(bars, volume=(*bars.volume[:-1], bars.volume[-1] + 1)),
    }
    for number, (said, change) in enumerate(changes.items()):
        home.log.url += f"-{number}"
        with closing(altered(home, lambda bars, change=change: widened(change(bars)))) as log:
            found = verify(log, home.strategies, lambda _: None).difference
            assert found is not None
            assert found.topic == JOURNAL
            assert MARKET.key in found.why
            assert said in found.why or "has high" in found.why


def widened(bars: Bars) -> Bars:
    """With a high that holds every price, so that the fold takes them."""
    high = tuple(max(prices) for prices in zip(bars.high, bars.close, bars.open, strict=True))
    return replace(bars, high=high)


def test_candles_of_before_the_market_began_are_none_of_its_own(home: Home) -> None:
    home.manager.create_bot(SPEC, warm="all")

    def older(bars: Bars) -> Bars:
        first = {name: (getattr(bars, name)[0], *getattr(bars, name)) for name in COLUMNS}
        return replace(bars, **(first | {"timestamp": (bars.timestamp[0] - MINUTE, *bars.timestamp)}))

    with closing(altered(home, older, more=1)) as log:
        found = verify(log, home.strategies, lambda _: None).difference
        assert found is not None
        assert f"ends at {START} ns is none of the market's" in found.why


COLUMNS = ("open", "high", "low", "close", "volume")


def test_candles_that_no_command_took_are_not_asked_about(home: Home) -> None:
    home.manager.create_bot(SPEC)
    with closing(altered(home, lambda bars: replace(bars, volume=(1, *bars.volume[1:])), more=1)) as log:
        assert of(log.read(SYSTEM, 0), DeadLetter)
        assert verify(log, home.strategies, lambda _: None).equal


def test_a_whole_copy_warms_alike_and_a_range_too_unless_it_begins_cold(home: Home, tmp_path: Path) -> None:
    home.manager.create_bot(SPEC, start=True)
    home.trade(wander(5, 40))
    home.fold()
    half = Range(START + 200 * MINUTE, None)
    for name, span, warmed in (("whole", Range(), 8), ("half", half, 8), ("cold", half, 0)):
        with closing(open_bare_log(f"embedded://{tmp_path}/{name}", partitions=1)) as copy:
            copy_journal(home.log, copy, plan_copy(home.log, home.strategies, span, warm=warmed > 0))
            fold_home(copy, home.strategies)
            assert not of(copy.read(SYSTEM, 0), DeadLetter)
            assert [change.warmed for change in of(copy.read(BOTS, 0), BotChanged)] == [warmed]
            assert ([*copy.read(SIGNALS, 0)] == [*home.log.read(SIGNALS, 0)]) == (name == "whole")
            ours, theirs = (
                [s.timestamp for s in of(log.read(SIGNALS, 0), Signal)] for log in (copy, home.log)
            )
            assert (ours == theirs) == (name != "cold")
    with closing(open_bare_log(f"embedded://{tmp_path}/other", partitions=1)) as copy:
        copy_journal(home.log, copy, plan_copy(home.log, home.strategies, bots=[SPEC]))
        assert not any(b"bars.v1" in record.value for record in copy.read(JOURNAL, 0))


@pytest.mark.parametrize("name", BUILT_IN)
def test_indicators_shown_later_are_those_that_the_bot_had(home: Home, tmp_path: Path, name: str) -> None:
    home.trade(wander(6, 400))
    spec = SPEC._replace(strategy=name, params=BUILT_IN[name])
    for warm in (None, "all", 0):
        home.manager.create_bot(spec, warm=warm)
        home.trade(wander(7, 5))
    home.manager.reconfigure_bot(1, warm=10)
    home.trade(wander(8, 30))
    home.fold()
    lanes = home.newest_values()
    url = f"sqlite:///{tmp_path}/projections.db"
    migrate(url)
    rebuild(home.log, url)
    database = open_database(url)
    indicators, lives = Indicators(database, home.strategies, 16), BotHistory(home.log)
    for bot_id, bits in lanes.items():
        mine = lives.lives(bot_id, MARKET.key)
        ((_, values),) = indicators.page(mine, MARKET.key, Window(1, newest=True))
        assert b"".join(float_bits(value) for value in values.values()) == bits
        whole = indicators.page(mine, MARKET.key, Window(1_000))
        offsets = {end: cause.offset for cause, end in candle_causes(home.log)}
        created = min(life.after for life in mine)
        assert [end for end, _ in whole] == sorted(e for e, offset in offsets.items() if offset > created)
    database.dispose()


def float_bits(value: float) -> bytes:
    from struct import pack

    return pack("<d", value)


def candle_causes(log: Log):
    from streams.events import Candle

    for cause, event in emitted(log.read(CANDLES, 0), Candle):
        assert isinstance(event, Candle)
        if event.timeframe == "1m" and event.revision == 0:
            yield cause, event.timestamp
