"""Parity certificates over a log: what they say, what they catch, and that they can be made again."""

from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from infra.research.certificate import (
    Asked,
    ParityError,
    again,
    certify,
    from_json,
    to_json,
    unlike,
)
from infra.research.certificate_page import page
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import fold_home
from projections.fold.pipeline import CHECKPOINT_RECORDS
from projections.research.gather import ChainError
from projections.research.run import NotKnownError
from projections.strategies.code import StrategyCode
from streams import events
from streams.backends import open_bare_log
from streams.codec import decode_input, decode_output, encode
from streams.events import BotChanged, Candle, Checkpoint, Equity, Event, Fill, Order, OrderClosed, Signal
from streams.log import Log
from streams.records import Entry, Input, Output, Record
from streams.topics import ALL, DERIVED, JOURNAL
from tests.journal import MINUTE, START, batch, create, records, spot
from tests.property.worlds import World

BTC = spot()
WORLD = 19
"""One whose bots do all that can be changed."""
Logs = Callable[[], Log]
Alter = Callable[[Record], Record]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Logs]:
    opened: list[Log] = []

    def make() -> Log:
        opened.append(open_bare_log(f"embedded://{tmp_path / str(len(opened))}", partitions=1))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def logged(empty: Logs, journal: list[Record], strategies: Strategies) -> Log:
    """A log with a journal and what the engine recorded of it."""
    log = empty()
    log.append(Entry(JOURNAL, r.key, r.value, r.time_ms, 0, r.headers) for r in journal)
    fold_home(log, strategies)
    return log


def altered(empty: Logs, log: Log, alter: Alter) -> Log:
    """A copy of a log in which each record is what `alter` makes of it."""
    other = empty()
    for topic in ALL:
        made = [alter(record) for record in log.read(topic, 0)]
        other.append(Entry(topic, r.key, r.value, r.time_ms, 0, r.headers) for r in made)
    return other


def of_all(kind: type, change: Callable[..., Event]) -> Alter:
    """Changes all events of a kind in the derived streams."""
    return _changing(kind, lambda event, _: change(event))


def of_one(kind: type, change: Callable[..., Event], number: int) -> Alter:
    """Changes the `number`-th."""
    return _changing(kind, lambda event, at: change(event) if at == number else event)


def _changing(kind: type, change: Callable[[Event, int], Event]) -> Alter:
    count = 0

    def alter(record: Record) -> Record:
        nonlocal count
        if record.topic not in DERIVED:
            return record
        output = decode_output(record.value)
        told: list[Event] = []
        for event in output.events:
            count += isinstance(event, kind)
            told.append(change(event, count) if isinstance(event, kind) else event)
        parts = (output.partition, output.offset, output.indexes, tuple(told))
        return record._replace(value=encode(Output(*parts)))  # type: ignore[arg-type] - a tuple knows no fields

    return alter


def walk(minutes: int, first: int = 0) -> events.TickBatch:
    seconds = range(60 * first + 7, 60 * (first + minutes), 15)
    return batch(BTC, [(s, 100 + (s // 15 * 7) % 13 - (s // 15 * 3) % 5, 1 + s % 4) for s in seconds])


def traded(strategies: Strategies, minutes: int = 40) -> list[Record]:
    code = strategies.latest("sma_cross").code_hash
    bot = create(BTC, code_hash=code, params={"fast": 1, "slow": 3}, short=True)
    quiet = msgspec.structs.replace(bot, bot_id=2, request="quiet", timeframe="1d", name="<b>quiet</b>")
    hours = [walk(10, at) for at in range(0, minutes, 10)]
    return records([(BTC.key, one) for one in (BTC, bot, quiet, *hours)])


def test_every_bot_of_a_world_has_one_and_it_is_made_again_byte_for_byte(
    empty: Logs, strategies: Strategies
) -> None:
    counts: Counter[str] = Counter()
    for seed in (4, WORLD):
        world = World(seed, strategies, Counter())
        world.live()
        log = logged(empty, world.journal, strategies)
        for bot_id in range(1, 5):
            made = certify(log, strategies, Asked(bot_id))
            assert made.equal and made.difference is None
            assert (made.records, made.home) == (len(world.journal), "0" * 32)
            assert made.chain == world.pipeline.journal_sha256
            assert from_json(to_json(made), "x.json") == made
            assert to_json(again(log, strategies, made)) == to_json(made)
            counts.update(made.compared)
    assert min(counts.values()) > 10, counts


def test_it_covers_a_range_of_times(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    whole = certify(log, strategies, Asked(1))
    middle = START + 20 * MINUTE
    first = certify(log, strategies, Asked(1, None, middle))
    second = certify(log, strategies, Asked(1, middle, None))
    assert Counter(first.compared) + Counter(second.compared) == Counter(whole.compared)
    assert (first.bars, second.bars, whole.bars) == (20, 19, 39)
    assert (first.last_bar, second.after) == ("2026-01-01T00:20:00Z", "2026-01-01T00:20:00Z")
    assert first.chain == second.chain == whole.chain
    assert unlike(first, again(log, strategies, first)) == []


def test_one_of_an_earlier_time_still_holds_when_the_journal_has_grown(
    empty: Logs, strategies: Strategies
) -> None:
    journal = traded(strategies)
    early = certify(logged(empty, journal, strategies), strategies, Asked(1))
    later = [*journal, *records([(BTC.key, walk(10, 40))])[1:]]
    later[-1] = later[-1]._replace(
        offset=len(journal), value=encode(Input("tester", 1, 5, decode_input(later[-1].value).event))
    )
    log = logged(empty, later, strategies)
    assert certify(log, strategies, Asked(1)).records == early.records + 1
    assert to_json(again(log, strategies, early)) == to_json(early)


def test_what_is_changed_in_a_certificate_is_told_by_its_field(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    made = certify(log, strategies, Asked(1))
    forged = msgspec.structs.replace(made, chain="0" * 64, compared=made.compared | {"fills": 1_000})
    assert unlike(forged, again(log, strategies, forged)) == ["chain", "compared"]
    other = msgspec.structs.replace(made, compared_by="0" * 64)
    assert unlike(other, again(log, strategies, other)) == []
    for field in ({"after": "yesterday"}, {"until": ""}, {"records": 0}, {"records": -1}):
        with pytest.raises(ParityError, match="the certificate was changed"):
            again(log, strategies, msgspec.structs.replace(made, **field))


def fields(**changes: object) -> Callable[..., Event]:
    return lambda event: msgspec.structs.replace(event, **changes)


@pytest.mark.parametrize(
    ("kind", "told", "change"),
    [
        (Candle, "candles", fields(close=1)),
        (Candle, "candles", fields(incomplete=True)),
        (Signal, "signals", lambda e: msgspec.structs.replace(e, target=e.target + 2**-52)),
        (
            Signal,
            "signals",
            lambda e: msgspec.structs.replace(e, values={n: v + 1 for n, v in e.values.items()}),
        ),
        (Signal, "signals", fields(code="in_position")),
        (Order, "orders", fields(size=7)),
        (OrderClosed, "order ends", fields(code="never")),
        (Fill, "fills", lambda e: msgspec.structs.replace(e, fee=e.fee + 1)),
        (Fill, "fills", lambda e: msgspec.structs.replace(e, row=e.row + 1)),
        (Equity, "equity marks", lambda e: msgspec.structs.replace(e, equity=tuple(x + 1 for x in e.equity))),
        (BotChanged, "changes", fields(code="halted")),
    ],
)
def test_a_recorded_fact_that_was_changed_is_the_first_difference(
    empty: Logs, strategies: Strategies, kind: type, told: str, change: Callable[..., Event]
) -> None:
    world = World(WORLD, strategies, Counter())
    world.live()
    log = altered(empty, logged(empty, world.journal, strategies), of_all(kind, change))
    made = [certify(log, strategies, Asked(bot_id)) for bot_id in range(1, 5)]
    unequal = [one.difference for one in made if one.difference is not None]
    assert {one.kind for one in unequal} == {told}
    for one in unequal:
        assert one.recorded is not None and one.backtest is not None
        assert sum(one.recorded[name] != one.backtest[name] for name in one.recorded) == 1


def test_a_difference_shows_the_bar_and_the_indicators_of_both_sides(
    empty: Logs, strategies: Strategies
) -> None:
    log = logged(empty, traded(strategies), strategies)
    other = altered(empty, log, of_one(Signal, fields(price=1), 3))
    difference = certify(other, strategies, Asked(1)).difference
    assert difference is not None and difference.kind == "signals" and difference.number == 2
    assert difference.bar == difference.time
    assert difference.recorded_bar == difference.backtest_bar
    assert set(difference.backtest_indicators or ()) == {"fast_average", "slow_average"}
    assert difference.recorded_indicators == difference.backtest_indicators
    closed = (difference.backtest_bar or {})["close"]
    assert (difference.backtest or {})["price"] == closed
    other = altered(empty, log, of_one(Candle, fields(close=1), 3))
    difference = certify(other, strategies, Asked(1)).difference
    assert difference is not None and difference.kind == "candles"
    assert (difference.recorded_bar or {})["close"] == 1 != (difference.backtest_bar or {})["close"]


def test_facts_that_are_missing_or_too_many_are_differences(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    without = altered(empty, log, lambda r: r._replace(key=b"else") if r.topic == "trades" else r)
    missing = certify(without, strategies, Asked(1)).difference
    assert missing is not None and missing.recorded is None and missing.kind == "orders"
    again_ = altered(empty, log, of_one(Equity, fields(bot_id=(1, 1)), 99))
    assert certify(again_, strategies, Asked(1)).equal


@pytest.mark.parametrize("at", [3, 4, 6])
def test_a_journal_that_was_changed_is_told_by_its_chain(
    empty: Logs, strategies: Strategies, at: int
) -> None:
    def alter(record: Record) -> Record:
        if (record.topic, record.offset) != (JOURNAL, at):
            return record
        entry = decode_input(record.value)
        if isinstance(entry.event, events.TickBatch):
            size = entry.event.size[:-8] + (5).to_bytes(8, "little")
            event: events.JournalEvent = msgspec.structs.replace(entry.event, size=size)
        else:
            event = msgspec.structs.replace(entry.event, who="somebody")
        return record._replace(value=encode(Input(entry.source, entry.epoch, entry.sequence, event)))

    log = logged(empty, traded(strategies), strategies)
    with pytest.raises(ChainError, match="up to here the journal is not what the engine folded"):
        certify(altered(empty, log, alter), strategies, Asked(1))


def test_the_chain_meets_every_checkpoint(empty: Logs, strategies: Strategies) -> None:
    rows = [(BTC.key, batch(BTC, [(2_400 + n, 100, 1)])) for n in range(2 * CHECKPOINT_RECORDS)]
    journal = [*traded(strategies), *records(rows)[1:]]
    journal = [
        record._replace(offset=n, value=encode(Input("", 0, 0, decode_input(record.value).event)))
        for n, record in enumerate(journal)
    ]
    log = logged(empty, journal, strategies)
    assert certify(log, strategies, Asked(1)).checkpoints == 2
    for number in (1, 2):
        other = altered(empty, log, of_one(Checkpoint, fields(journal_sha256="0" * 64), number))
        with pytest.raises(ChainError, match=f"journal:0:{512 * number - 1}: "):
            certify(other, strategies, Asked(1))


def test_a_record_that_cannot_be_folded_any_more_is_told(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    other = altered(empty, log, lambda r: r._replace(value=b"?") if r[:3] == (JOURNAL, 0, 5) else r)
    with pytest.raises(ParityError, match="journal:0:5 was folded by the engine, and cannot be folded now"):
        certify(other, strategies, Asked(1))


def test_a_range_in_which_nothing_is_recorded_proves_nothing(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    made = certify(log, strategies, Asked(2, START + MINUTE, None))
    assert made.equal and made.facts == 0


def test_what_cannot_be_proven_is_said_with_the_way_out(empty: Logs, strategies: Strategies) -> None:
    journal = traded(strategies)
    log = logged(empty, journal, strategies)
    with pytest.raises(ParityError, match="there is no bot 7 in the journal; bots are: 1, 2"):
        certify(log, strategies, Asked(7))
    with pytest.raises(
        ParityError, match=f"has folded {len(journal)} journal records of partition 0, not 99"
    ):
        certify(log, strategies, Asked(1, stop=99))
    unfolded = empty()
    unfolded.append(Entry(JOURNAL, r.key, r.value, r.time_ms, 0, r.headers) for r in journal)
    with pytest.raises(ParityError, match=r"the engine has folded 0 journal records .* `tcpdashboard up`"):
        certify(unfolded, strategies, Asked(1))
    with pytest.raises(NotKnownError, match="the code of strategy sma_cross with hash"):
        certify(log, NoCode(), Asked(1))
    with pytest.raises(ParityError, match=r"x\.json is no parity certificate"):
        from_json(b"{}", "x.json")


class NoCode:
    """A machine to which no code was carried."""

    def get(self, name: str, code_hash: str) -> None:
        return None

    def latest(self, name: str) -> StrategyCode:
        raise LookupError(name)


class Text(HTMLParser):
    """The text of a page, and every address in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.addresses = "", []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("href", "src")]
        assert tag not in ("script", "link", "img")


def test_a_certificate_of_another_home_is_told_as_what_it_is(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    made = msgspec.structs.replace(certify(log, strategies, Asked(1)), home="1" * 32, bot_id=99)
    with pytest.raises(ParityError, match=f"is of the home {'1' * 32}, and this one is {'0' * 32}"):
        again(log, strategies, made)


def test_its_page_says_what_was_compared_and_needs_nothing_else(empty: Logs, strategies: Strategies) -> None:
    log = logged(empty, traded(strategies), strategies)
    made = certify(log, strategies, Asked(1))
    told = Text(page(made))
    assert told.addresses == []
    for value in (
        made.chain,
        made.home,
        made.market,
        *made.recorded_by,
        made.compared_by,
        made.lives[0].code_hash,
    ):
        assert value in told.text
    for kind, count in made.compared.items():
        assert f"{kind}{count}" in told.text.replace("\n", "")
    assert f"Equal in all of {sum(made.compared.values()):,} facts" in told.text
    assert page(certify(log, strategies, Asked(1))) == page(made)
    other = certify(altered(empty, log, of_one(Fill, fields(fee=1), 2)), strategies, Asked(1))
    told = Text(page(other))
    assert "The backtest is not what is recorded" in told.text
    assert "First difference: fills, number 1" in told.text
    named = msgspec.structs.replace(made, name="<script>alert(1)</script>")
    assert "<script>" not in page(named) and "<script>alert(1)</script>" in Text(page(named)).text
