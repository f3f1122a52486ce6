"""What only the embedded log promises: damage, full disks, its table, compaction, the fold lock."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from streams import topics
from streams.embedded.log import EmbeddedLog
from streams.log import LogError
from streams.records import Entry
from tests.conftest import resize

WRITER = Path(__file__).with_name("embedded_writer.py")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"embedded://{tmp_path}/log"


def entry(value: bytes, topic: str = topics.CANDLES, key: bytes = b"k", partition: int = 0) -> Entry:
    return Entry(topic, key, value, 1, partition)


def values(log: EmbeddedLog, topic: str = topics.CANDLES) -> list[bytes]:
    return [record.value for record in log.read(topic, 0)]


def append_and_die(url: str, count: int) -> None:
    subprocess.run([sys.executable, WRITER, url, str(count)], check=False, timeout=60)


@pytest.mark.crash
@pytest.mark.parametrize("cut_bytes", [1, 4_000, 30_000, 100_000])
@pytest.mark.parametrize("how", ["truncated", "garbled"])
def test_a_torn_tail_is_left_away_and_the_log_goes_on(url: str, tmp_path: Path, cut_bytes: int, how: str):
    append_and_die(url, 60)
    wal = tmp_path / "log" / "log.db-wal"
    size_bytes = wal.stat().st_size
    if how == "truncated":
        os.truncate(wal, size_bytes - cut_bytes)
    else:
        with wal.open("r+b") as file:
            file.seek(size_bytes - cut_bytes)
            file.write(os.urandom(cut_bytes))
    log = EmbeddedLog(url)
    kept = [int(value[:3]) for value in values(log)]
    assert kept == list(range(len(kept)))
    assert 60 - cut_bytes // 3_000 - 2 <= len(kept) < 60
    assert log.append([entry(b"next")])[0].offset == len(kept)
    log.close()


@pytest.mark.crash
def test_what_was_acknowledged_outlives_a_kill_without_damage(url: str):
    append_and_die(url, 20)
    log = EmbeddedLog(url)
    assert len(values(log)) == 20
    log.close()


def test_a_file_that_is_no_log_is_refused_with_its_name(url: str, tmp_path: Path):
    EmbeddedLog(url).close()
    path = tmp_path / "log" / "log.db"
    path.write_bytes(os.urandom(path.stat().st_size))
    with pytest.raises(LogError, match=r"no log.*log\.db"):
        EmbeddedLog(url)


def test_a_damaged_page_is_an_error_that_names_the_way_out(url: str, tmp_path: Path):
    log = EmbeddedLog(url)
    log.append([entry(b"%d" % i + bytes(500)) for i in range(2_000)])
    log.close()
    path = tmp_path / "log" / "log.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    damaged = EmbeddedLog(url)
    with pytest.raises(LogError, match=r"damaged: restore"):
        values(damaged)
    damaged.close()


def test_a_log_of_another_format_is_refused(url: str, tmp_path: Path):
    EmbeddedLog(url).close()
    with sqlite3.connect(tmp_path / "log" / "log.db") as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'format'")
    with pytest.raises(LogError, match="format 1"):
        EmbeddedLog(url)


def append_until_refused(log: EmbeddedLog) -> int:
    """How many pairs of records were acknowledged before the disk was full."""
    for pairs in range(1_000):
        try:
            log.append([entry(b"%d" % pairs + bytes(20_000)), entry(b"", partition=1)])
        except LogError as error:
            assert "the disk is full" in str(error)
            return pairs
    raise AssertionError("the disk never filled up")


def check_pairs(log: EmbeddedLog, pairs: int) -> None:
    assert [int(value.rstrip(b"\0")) for value in values(log)] == list(range(pairs))
    assert log.highwater(topics.CANDLES, 1) == pairs


def test_a_full_disk_is_an_error_and_nothing_is_half_appended(small_disk: Path):
    log = EmbeddedLog(f"embedded://{small_disk}/log")
    pairs = append_until_refused(log)
    assert pairs > 5
    check_pairs(log, pairs)
    resize(small_disk, "20m")
    log.append([entry(b"%d" % pairs), entry(b"", partition=1)])
    check_pairs(log, pairs + 1)
    log.close()
    again = EmbeddedLog(f"embedded://{small_disk}/log")
    check_pairs(again, pairs + 1)
    again.close()


def test_a_file_at_its_limit_is_an_error_and_nothing_is_half_appended(url: str):
    log = EmbeddedLog(url)
    log._writer.execute("PRAGMA max_page_count = 200")
    pairs = append_until_refused(log)
    assert pairs > 5
    check_pairs(log, pairs)
    log._writer.execute("PRAGMA max_page_count = 20000")
    log.append([entry(b"%d" % pairs), entry(b"", partition=1)])
    check_pairs(log, pairs + 1)
    log.close()


def test_an_append_that_fails_in_the_middle_leaves_nothing_and_lets_others_go_on(url: str):
    log = EmbeddedLog(url)
    with pytest.raises(LogError, match="append"):
        log.append([entry(b"before"), entry(b"unstorable", key=[1]), entry(b"after")])  # type: ignore[arg-type] - the error
    other = EmbeddedLog(url)
    assert other.append([entry(b"next")])[0].offset == 0
    assert values(log) == [b"next"]
    other.close()
    log.close()


def test_an_outsider_finds_and_alters_a_record_with_sqlite(url: str, tmp_path: Path):
    log = EmbeddedLog(url)
    log.append([entry(b"a"), entry(b"b"), entry(b"c", partition=2), entry(b"d", topics.TRADES)])
    with sqlite3.connect(tmp_path / "log" / "log.db") as outsider:
        found = outsider.execute(
            "SELECT value FROM records WHERE topic = 'candles' AND partition = 0 AND \"offset\" = 1"
        )
        assert found.fetchall() == [(b"b",)]
        found_fast = outsider.execute(
            "SELECT value FROM records JOIN topics ON name = 'candles'"
            " WHERE records.id = (topics.id << 52) + (2 << 40) + 0"
        )
        assert found_fast.fetchall() == [(b"c",)]
        outsider.execute(
            "UPDATE records SET value = X'42' WHERE topic = 'candles' AND partition = 0 AND \"offset\" = 1"
        )
    outsider.close()
    assert values(log) == [b"a", b"B"]
    log.close()


def test_a_newer_snapshot_replaces_the_older_of_its_key_and_offsets_grow(url: str):
    log = EmbeddedLog(url)
    for turn in range(3):
        log.append(
            [entry(b"%d" % turn, topics.SNAPSHOTS, b"0"), entry(b"b%d" % turn, topics.SNAPSHOTS, b"1")]
        )
    log.append([entry(b"elsewhere", topics.SNAPSHOTS, b"0", partition=1)])
    log.append([entry(b"3", topics.SNAPSHOTS, b"0"), entry(b"4", topics.SNAPSHOTS, b"0")])
    records = list(log.read(topics.SNAPSHOTS, 0))
    assert [(record.offset, record.value) for record in records] == [(5, b"b2"), (7, b"4")]
    assert (log.earliest(topics.SNAPSHOTS, 0), log.highwater(topics.SNAPSHOTS, 0)) == (5, 8)
    assert [record.value for record in log.read(topics.SNAPSHOTS, 1)] == [b"elsewhere"]
    log.close()


def test_a_topic_that_is_not_there_is_refused_until_it_is_added(url: str):
    log = EmbeddedLog(url)
    with pytest.raises(LogError, match=r"no topic 'jurnal'; it has .*journal"):
        log.append([entry(b"", "jurnal")])
    log.add_topic("jurnal")
    log.append([entry(b"", "jurnal")])
    assert log.highwater("jurnal", 0) == 1
    log.close()


def test_a_record_without_key_and_partition_is_refused(url: str):
    log = EmbeddedLog(url)
    with pytest.raises(LogError, match="a key or a partition"):
        log.append([Entry(topics.CANDLES, None, b"", 1)])
    log.close()


@pytest.mark.parametrize("wrong", ["embedded://folder/log", "embedded:///", "kafka://host:1"])
def test_a_url_without_an_absolute_folder_is_refused(wrong: str):
    with pytest.raises(LogError, match="embedded:///ABSOLUTE/FOLDER"):
        EmbeddedLog(wrong)


def test_a_folder_with_odd_letters_is_found_again(tmp_path: Path):
    log = EmbeddedLog(f"embedded://{tmp_path}/a%20b é")
    log.append([entry(b"x")])
    log.close()
    assert (tmp_path / "a b é" / "log.db").exists()


def test_a_closed_log_says_so(url: str):
    log = EmbeddedLog(url)
    log.close()
    log.close()
    for call in (lambda: log.append([entry(b"")]), lambda: values(log), log.version):
        with pytest.raises(LogError, match="is closed"):
            call()
