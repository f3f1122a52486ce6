"""Every reader gives each event once and in order, whatever is written again and wherever it stops."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from infra.channels.messages import SYSTEM_EVENTS
from infra.channels.reader import publications_of
from infra.db import tables
from infra.db.projector import DatabaseSink
from infra.db.schema import migrate
from infra.strategies.lives import BotHistory
from projections.audit.recorded import recorded
from streams.causes import Cause, Seen
from streams.codec import decode_output, encode
from streams.events import BotChanged, DerivedEvent
from streams.records import Output, Record
from streams.topics import BOTS
from tests.derived import bot_changed, equity

MARKETS = ("test:A/USDT", "test:B/USDT", "test:C/USDT")
BOT = 1


class Stream(NamedTuple):
    """Records as a worker that never crashes writes them, and as they stand in the log."""

    once: list[Record]
    log: list[Record]


def event(cause: Cause) -> DerivedEvent:
    """A change of the bot at every other cause, else a mark of it."""
    if cause.index % 2:
        return equity(BOT, timestamp=1_000 * cause.offset + cause.index)
    return bot_changed(BOT, since=cause)


def outputs(offset: int, emitted: Sequence[str], *, split: bool) -> Iterator[tuple[str, Output]]:
    """One journal record's outputs by market; `split`: an event each, as where a record grows too large."""
    for market in dict.fromkeys(emitted):
        indexes = [index for index, key in enumerate(emitted) if key == market]
        for part in [[index] for index in indexes] if split else [indexes]:
            events = tuple(event(Cause(0, offset, index)) for index in part)
            yield market, Output(0, offset, tuple(part), events)


def record(offset: int, market: str, output: Output) -> Record:
    return Record(BOTS, 0, offset, output.offset, market.encode(), encode(output))


emissions = st.lists(st.sampled_from(MARKETS), max_size=6)
"""The market of each event that one journal record leads to."""
turns = st.tuples(st.integers(0, 2), st.integers(0, 9) | st.none(), st.integers(1, 7))
"""A worker; how far back it begins again, if it does; and how many records it writes then."""


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Three workers that write beside one another, and again from any journal record that one has reached."""
    journal = draw(st.lists(st.tuples(emissions, st.booleans()), min_size=1, max_size=8))
    made = [one for offset, (keys, split) in enumerate(journal) for one in outputs(offset, keys, split=split)]
    begins = [n for n, (_, output) in enumerate(made) if not n or made[n - 1][1].offset < output.offset]
    places, reached, log = [0, 0, 0], 0, []
    for worker, back, count in draw(st.lists(turns, max_size=12)):
        if back is not None:
            places[worker] = max((n for n in begins if n <= reached - back), default=0)
        log += made[places[worker] : places[worker] + count]
        places[worker] = min(len(made), places[worker] + count)
        reached = max(reached, places[worker])
    log += made[reached:]
    return Stream(*([record(n, *one) for n, one in enumerate(all_)] for all_ in (made, log)))


def causes(records: Sequence[Record], kind: type | None = None) -> list[Cause]:
    return [
        cause
        for one in records
        for output in [decode_output(one.value)]
        for cause, made in zip(output.causes(), output.events, strict=True)
        if kind is None or isinstance(made, kind)
    ]


def pieces(records: list[Record], cuts: set[int]) -> Iterator[list[Record]]:
    ends = sorted({min(cut, len(records)) for cut in cuts} | {len(records)})
    return (records[start:end] for start, end in zip([0, *ends], ends, strict=False))


cuts = st.sets(st.integers(1, 60), max_size=5)


@settings(max_examples=300, deadline=None)
@given(stream=streams(), cuts=cuts, chosen=st.sets(st.sampled_from(MARKETS)))
def test_what_was_seen_tells_repeats_wherever_it_is_stored_and_loaded(
    stream: Stream, cuts: set[int], chosen: set[str]
) -> None:
    """Also of the records of some markets alone."""
    once, log = (
        [one for one in records if one.key is not None and one.key.decode() in chosen] for records in stream
    )
    seen, new = Seen(), []
    for piece in pieces(log, cuts):
        seen = msgspec.json.decode(msgspec.json.encode(seen), type=Seen)
        for one in piece:
            output = decode_output(one.value)
            first = seen.repeats((one.key or b"").decode(), output.offset, output.indexes)
            new += output.causes()[first:]
    assert new == causes(once)


def test_a_notice_of_the_machinery_is_no_repeat_and_moves_nothing() -> None:
    seen = Seen(7, {"test:A/USDT": 3})
    assert seen.repeats("test:A/USDT", -1, (0,)) == 0
    assert seen == Seen(7, {"test:A/USDT": 3})


class Growing:
    """A log of one partition that holds the records given so far."""

    partitions = 1

    def __init__(self) -> None:
        self.records: list[Record] = []

    def earliest(self, topic: str, partition: int) -> int:
        return 0

    def read(self, topic: str, partition: int, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        return iter(self.records[start:stop])


@settings(max_examples=100, deadline=None)
@given(stream=streams(), cuts=cuts)
def test_the_audit_marks_every_repeat_and_finds_no_conflict(stream: Stream, cuts: set[int]) -> None:
    log, seen, new = Growing(), Seen(), []
    for piece in pieces(stream.log, cuts):
        start = len(log.records)
        log.records += piece
        new += [item.record for item in recorded(log, BOTS, 0, start, seen=seen) if not item.repeat]
    assert causes(new) == causes(stream.once)
    log.records = stream.log
    assert not any(item.conflict for item in recorded(log, BOTS, 0))


@settings(max_examples=100, deadline=None)
@given(stream=streams(), cuts=cuts)
def test_the_channels_carry_each_event_once(stream: Stream, cuts: set[int]) -> None:
    seen, told = Seen(), []
    for piece in pieces(stream.log, cuts):
        seen = seen.copy()
        found = [made for one in piece for made in publications_of(one, seen)]
        told += [
            json.loads(b"{" + made.body.lstrip(b"{,"))["cause"]
            for made in found
            if made.channel in (SYSTEM_EVENTS, f"portfolio:{BOT}")
        ]
    assert told == [str(cause) for cause in causes(stream.once)]


@settings(max_examples=100, deadline=None)
@given(stream=streams(), cuts=cuts)
def test_a_bot_has_each_life_once(stream: Stream, cuts: set[int]) -> None:
    log = Growing()
    history = BotHistory(log)
    for piece in pieces(stream.log, cuts):
        log.records += piece
        lives = history.lives(BOT, MARKETS[0])
        assert [life.until for life in lives[:-1]] == [life.after for life in lives[1:]]
    changes = causes(stream.once, BotChanged)
    assert [life.change.since for life in history.lives(BOT, MARKETS[0])] == changes


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows."""
    folder = tmp_path_factory.mktemp("projected")
    migrate(f"sqlite:///{folder}/empty.db")
    return folder / "empty.db"


@settings(max_examples=25, deadline=None)
@given(stream=streams(), cuts=cuts)
def test_the_database_holds_each_event_once(empty: Path, stream: Stream, cuts: set[int]) -> None:
    file = empty.with_name("one.db")
    shutil.copy(empty, file)
    url, repeats = f"sqlite:///{file}", 0
    for piece in pieces(stream.log, cuts):
        sink = DatabaseSink(url)
        repeats += sink.apply(piece).repeats
        sink.close()
    mark, engine = tables.equity.c, create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            select(mark.cause_partition, mark.cause_offset, mark.cause_index).order_by(
                mark.cause_offset, mark.cause_index
            )
        ).all()
        changed = connection.execute(select(tables.bots.c.cause_offset, tables.bots.c.cause_index)).all()
    engine.dispose()
    whole, changes = causes(stream.once), causes(stream.once, BotChanged)
    assert [Cause(*row) for row in rows] == sorted(set(whole) - set(changes))
    assert [tuple(row) for row in changed] == [(cause.offset, cause.index) for cause in changes[-1:]]
    assert repeats == len(causes(stream.log)) - len(whole)
