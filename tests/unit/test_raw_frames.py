"""Frames are kept as they came, in no more room than there is, and the feed never waits for it."""

import gzip
import random
from pathlib import Path

from infra.exchange.venues.raw import RawFrames
from tests.conftest import resize

DAY = 86_400 * 1_000_000_000
START = 1_700_006_400 * 1_000_000_000
"""A midnight."""


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def noise(size: int) -> str:
    """What does not get smaller."""
    return random.Random(size).randbytes(size).hex()


def lines(path: Path) -> list[str]:
    with gzip.open(path, "rt") as file:
        return file.read().splitlines()


def test_each_frame_is_a_line_with_its_time_in_the_file_of_its_day(tmp_path: Path) -> None:
    clock = Clock()
    with RawFrames(tmp_path, "okx", wall_ns=clock) as raw:
        raw.put('{"a":1}')
        clock.now += DAY - 1
        raw.put('{"b":\n2}')
        clock.now += 1
        raw.put("pong")
    with RawFrames(tmp_path, "okx", wall_ns=clock) as raw:
        raw.put('{"c":3}')
    folder = tmp_path / "raw" / "okx"
    assert lines(folder / "2023-11-15.gz") == [f'{START} {{"a":1}}', f'{START + DAY - 1} {{"b": 2}}']
    assert lines(folder / "2023-11-16.gz") == [f"{START + DAY} pong", f'{START + DAY} {{"c":3}}']


def test_what_there_is_no_room_for_is_dropped_and_counted(tmp_path: Path) -> None:
    raw = RawFrames(tmp_path, "okx", waiting_max=25)
    for frame in ("ten letters", "ten more of", "and others", "x"):
        raw.put(frame)
    assert raw.dropped == 1, "the third; for the fourth there is room again"
    with raw:
        pass
    (file,) = (tmp_path / "raw" / "okx").iterdir()
    assert [line.partition(" ")[2] for line in lines(file)] == ["ten letters", "ten more of", "x"]


def test_the_oldest_days_are_deleted_for_newer_frames_and_a_day_alone_is_bounded(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        with RawFrames(tmp_path, "okx", bytes_max=25_000, wall_ns=clock) as raw:
            raw.put(noise(10_000))
        clock.now += DAY
    folder = tmp_path / "raw" / "okx"
    assert [path.name for path in sorted(folder.iterdir())] == ["2023-11-16.gz", "2023-11-17.gz"]
    with RawFrames(tmp_path, "okx", bytes_max=5_000, wall_ns=clock) as raw:
        raw.put(noise(10_000))
    assert raw.failed == "a day of them is more than 5,000 bytes"


def test_on_a_full_disk_it_ends_with_a_word_and_what_was_written_is_whole(small_disk: Path) -> None:
    with RawFrames(small_disk, "okx", wall_ns=Clock()) as raw:
        raw.put("first")
    with RawFrames(small_disk, "okx", wall_ns=Clock()) as raw:
        raw.put(noise(3_000_000))
    assert "No space left" in raw.failed
    raw.put("nobody waits for this")
    assert lines(small_disk / "raw" / "okx" / "2023-11-15.gz") == [f"{START} first"]
    resize(small_disk, "60m")
    with RawFrames(small_disk, "okx", wall_ns=Clock()) as raw:
        raw.put("again")
    assert lines(small_disk / "raw" / "okx" / "2023-11-15.gz") == [f"{START} first", f"{START} again"]
