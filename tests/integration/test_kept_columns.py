"""Columns of a home's markets on disk: they count only where all that they depend on is as it was."""

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.research import identity
from infra.research.identity import ROOT, code_hash
from infra.research.kept import columns_of
from infra.research.sources import recorded
from infra.upkeep.fresh_home import fold_home
from projections.fold.pipeline import CHECKPOINT_RECORDS
from projections.research.columns import Columns
from projections.research.gather import ChainError
from streams import events
from streams.backends import open_log
from streams.codec import decode_output, encode
from streams.events import Checkpoint, DeadLetter
from streams.log import Log
from streams.records import Entry, Input, Output
from streams.topics import BOTS, JOURNAL, SYSTEM
from tests.conftest import resize
from tests.journal import START, batch, spot

BTC, ETH = spot(), spot("ETH/USDT")
KEY = BTC.key


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(f"embedded://{tmp_path / 'log'}", partitions=1)
    append(opened, BTC)
    for minute in range(20):
        append(opened, batch(BTC, [(60 * minute + second, 100 + minute, 1) for second in (1, 30, 59)]))
    append(opened, batch(BTC, [(30.5, 90, 1, "backfill")]), stop("a"))
    append(opened, msgspec.structs.replace(BTC, price_scale=3), batch(BTC, [(1_300, 5, 1)]))
    append(opened, events.Feed(market=KEY, source="venue", state="down", since=START), stop("b"))
    yield opened
    opened.close()


def stop(request: str) -> events.StopBot:
    return events.StopBot(request=request, who="ann", at=START, bot_id=1)


def append(log: Log, *made: events.JournalEvent, key: str = KEY) -> None:
    log.append(Entry(JOURNAL, key.encode(), encode(Input("", 0, 0, event)), 1_000) for event in made)


class Asked:
    """The columns of both timeframes, and of how many records it was told while they were made."""

    def __init__(self, log: Log, folder: Path) -> None:
        self.told: list[tuple[int, int]] = []
        self.found = columns_of(log, KEY, ["1m", "5m"], folder, lambda *told: self.told.append(told))


def equal(one: list[Columns], other: list[Columns]) -> bool:
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def test_columns_are_made_once_and_are_the_same_from_disk(log: Log, tmp_path: Path) -> None:
    made, loaded = Asked(log, tmp_path / "research"), Asked(log, tmp_path / "research")
    assert made.told[-1] == (log.highwater(JOURNAL, 0),) * 2
    assert loaded.told == []
    assert equal(made.found, loaded.found)
    assert [columns.timeframe for columns in loaded.found] == ["1m", "5m"]
    assert len(loaded.found[0].bars) == 21 and loaded.found[0].revisions.any()
    assert [type(at.event).__name__ for at in loaded.found[0].events] == [
        "StopBot", "Market", "Vouched", "StopBot"
    ]  # fmt: skip
    loaded.found[0].bars["close"] = 0
    assert equal(made.found, Asked(log, tmp_path / "research").found)


def test_a_journal_that_grew_is_read_again(log: Log, tmp_path: Path) -> None:
    Asked(log, tmp_path)
    append(log, batch(BTC, [(1_400, 100, 1)]))
    again = Asked(log, tmp_path)
    assert again.told and len(again.found[0].bars) == 23
    assert Asked(log, tmp_path).told == []
    assert len(list(tmp_path.glob("*.columns*"))) == 2


def test_another_journal_of_the_same_length_is_read(log: Log, tmp_path: Path) -> None:
    first = Asked(log, tmp_path / "research")
    other = open_log(f"embedded://{tmp_path / 'other'}", partitions=1)
    records = list(log.read(JOURNAL, 0, 1))
    changed = encode(Input("", 0, 0, stop("c")))
    entries = [Entry(JOURNAL, r.key, r.value, r.time_ms) for r in records[:-1]]
    other.append([*entries, Entry(JOURNAL, records[-1].key, changed, records[-1].time_ms)])
    second = Asked(other, tmp_path / "research")
    other.close()
    assert first.found[0].last == second.found[0].last
    assert second.told


def test_what_the_engine_could_not_take_is_left_out_once_it_says_so(log: Log, tmp_path: Path) -> None:
    first = Asked(log, tmp_path)
    letter = DeadLetter(topic=JOURNAL, partition=0, offset=5, reason="", sha256="", size=0, data=b"")
    unlike = [
        msgspec.structs.replace(letter, topic="trades"),
        msgspec.structs.replace(letter, partition=1),
        msgspec.structs.replace(letter, offset=-1),
    ]
    log.append([Entry(SYSTEM, b"", encode(Output(0, 5, (1, 2, 3), tuple(unlike))), 1_000, 0)])
    assert Asked(log, tmp_path).told == []
    log.append([Entry(SYSTEM, b"", encode(Output(0, 5, (0,), (letter,))), 1_000, 0)])
    second = Asked(log, tmp_path)
    assert second.told and len(first.found[0].bars) == len(second.found[0].bars)
    assert second.found[0].bars["trades"].sum() == first.found[0].bars["trades"].sum() - 3
    assert Asked(log, tmp_path).told == []


def checkpoint(offset: int, chain: str) -> Entry:
    event = Checkpoint(journal_sha256=chain, state_sha256="", state_version=1)
    return Entry(BOTS, b"", encode(Output(0, offset, (0,), (event,))), 1_000, 0)


def test_a_journal_that_the_engine_folded_otherwise_is_refused(log: Log, tmp_path: Path) -> None:
    end = log.highwater(JOURNAL, 0) - 1
    chain = Asked(log, tmp_path).found[0].chain
    log.append([checkpoint(end, chain), checkpoint(end + 1, "of a record to come")])
    assert equal(Asked(log, tmp_path).found, Asked(log, tmp_path).found)
    log.append([checkpoint(end, "other")])
    with pytest.raises(ChainError, match=f"journal:0:{end}: .* its checkpoint says other, .*{chain}"):
        Asked(log, tmp_path)


def test_the_engines_own_checkpoints_and_dead_letters_fit(log: Log, tmp_path: Path, strategies) -> None:
    for n in range(CHECKPOINT_RECORDS):
        append(log, batch(BTC, [(1_400 + n, 100, 1)]))
    append(log, stop("nobody"))
    fold_home(log, strategies)
    made = Asked(log, tmp_path)
    told = [
        event.journal_sha256
        for record in log.read(BOTS, 0)
        for event in decode_output(record.value).events
        if isinstance(event, Checkpoint)
    ]
    assert told
    # no bot is there, so the engine refused all commands
    assert not any(isinstance(at.event, events.Command) for at in made.found[0].events)
    assert Asked(log, tmp_path).told == []


def test_a_backtest_says_where_the_journal_ends_early(log: Log, tmp_path: Path) -> None:
    assert not any("cannot be folded" in note for note in recorded(log, tmp_path, KEY, "1m").notes)
    log.append([Entry(JOURNAL, KEY.encode(), b"?", 1_000)])
    append(log, batch(BTC, [(1_400, 100, 1)]))
    (note,) = (note for note in recorded(log, tmp_path, KEY, "1m").notes if "cannot be folded" in note)
    assert "up to record journal:0:27 of 30" in note
    assert note in recorded(log, tmp_path, KEY, "1m").notes, "from disk too"


@pytest.mark.parametrize("bytes_left", [0, 5, 200, 1_000, 3_000])
def test_a_file_that_was_cut_is_made_anew(log: Log, tmp_path: Path, bytes_left: int) -> None:
    first = Asked(log, tmp_path)
    file = tmp_path / "test%3ABTC%2FUSDT 1m.columns"
    file.write_bytes(file.read_bytes()[:bytes_left])
    again = Asked(log, tmp_path)
    assert again.told and equal(first.found, again.found)


@pytest.mark.parametrize("part", range(10))
def test_a_file_that_was_damaged_is_made_anew(log: Log, tmp_path: Path, part: int) -> None:
    first = Asked(log, tmp_path)
    file = tmp_path / "test%3ABTC%2FUSDT 1m.columns"
    data = bytearray(file.read_bytes())
    data[part * len(data) // 10] ^= 0xFF
    file.write_bytes(data)
    again = Asked(log, tmp_path)
    assert again.told and equal(first.found, again.found)


def test_other_code_is_another_hash(tmp_path: Path) -> None:
    for part in identity.COLUMNS:
        for source in (ROOT / part).rglob("*.py"):
            copy = tmp_path / "code" / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    assert code_hash(tmp_path / "code") == code_hash()
    changed = tmp_path / "code/projections/fold/kernel.py"
    changed.write_text(changed.read_text() + "\n")
    code_hash.cache_clear()
    assert code_hash(tmp_path / "code") != code_hash()


def test_what_other_code_made_is_made_anew(log: Log, tmp_path: Path) -> None:
    Asked(log, tmp_path)
    for file in tmp_path.glob("*.columns"):
        file.write_bytes(file.read_bytes().replace(code_hash().encode(), b"0" * 64))
    assert Asked(log, tmp_path).told
    assert Asked(log, tmp_path).told == []


def test_a_market_that_is_not_there_is_refused_with_all_that_are(log: Log, tmp_path: Path) -> None:
    append(log, ETH, key=ETH.key)
    with pytest.raises(
        LookupError, match="test:DOGE/USDT is not in the journal; there are test:BTC/USDT, test:E"
    ):
        columns_of(log, "test:DOGE/USDT", ["1m"], tmp_path / "research")
    assert not (tmp_path / "research").exists()
    assert len(columns_of(log, ETH.key, ["1m"], tmp_path)[0].bars) == 0
    assert len(columns_of(log, ETH.key, ["1m"], tmp_path)[0].trades) == 0


def test_a_full_disk_is_an_error_and_leaves_what_was_there(log: Log, small_disk: Path) -> None:
    Asked(log, small_disk / "research")
    before = {file.name: file.read_bytes() for file in (small_disk / "research").iterdir()}
    for hour in range(100):
        append(log, batch(BTC, [(2_000 + 3_600 * hour, 100, 1)]))
    resize(small_disk, "128k")
    with pytest.raises(OSError) as full:
        Asked(log, small_disk / "research")
    assert full.value.errno == errno.ENOSPC
    del full  # what was read so far is on the disk as long as its arrays are in use
    assert {file.name: file.read_bytes() for file in (small_disk / "research").iterdir()} == before
    resize(small_disk, "20m")
    assert Asked(log, small_disk / "research").told
    assert Asked(log, small_disk / "research").told == []
