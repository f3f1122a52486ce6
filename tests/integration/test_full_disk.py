"""A disk that fills up ends what writes to it with a word; with space again everything goes on, exactly."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import resize
from tests.integration.command_line import (
    CREATE,
    KEY,
    MARKET,
    SPECIFIED,
    CommandLine,
    trades,
    write_csv,
)

ROWS = trades(2_000, seed=5)
FULL = "disk is full"


@pytest.fixture
def crowded(small_disk: Path) -> CommandLine:
    """A home with a bot on the small disk."""
    cli = CommandLine(small_disk / "home")
    cli.out("markets", "add", *MARKET, *SPECIFIED)
    cli.out(*CREATE, "sma_cross", "--param", "fast=2", "--param", "slow=5", "--short", "--start")
    return cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "trades.csv", ROWS)


def check(cli: CommandLine) -> None:
    """Everything is there once, as if nothing had happened."""
    result = cli.line("verify")
    assert (result["equal"], result["behind"]) == (True, 0)
    minutes = cli.lines("candles", *MARKET, "--timeframe", "1m", "--json")
    assert sum(minute["trades"] for minute in minutes) == len(ROWS)
    assert {line["event"]["market"] for line in cli.lines("log", "trades")} == {KEY}


def test_an_import_that_fills_the_disk_goes_on_where_it_ended(
    crowded: CommandLine, small_disk: Path, file: Path
) -> None:
    done = crowded.run("import", file, *MARKET)
    assert done.returncode != 0
    assert FULL in done.stderr
    resize(small_disk, "60m")
    assert crowded.line("import", file, *MARKET)["rows"] == len(ROWS)
    check(crowded)


def test_a_worker_that_finds_the_disk_full_ends_and_the_next_one_goes_on(
    crowded: CommandLine, small_disk: Path, file: Path
) -> None:
    resize(small_disk, "60m")
    crowded.out("import", file, *MARKET, "--no-fold")
    used = sum(f.stat().st_blocks * 512 for f in small_disk.rglob("*") if f.is_file())
    resize(small_disk, f"{used // 1024 + 200}k")
    done = crowded.run("up", "--markets", "0", "--seconds", "60")
    assert done.returncode != 0
    assert FULL in done.stderr
    resize(small_disk, "60m")
    assert crowded.line("import", file, *MARKET)["ticks"] == 0
    check(crowded)


@pytest.mark.parametrize(
    "words",
    [
        ("log", "journal"),
        ("verify",),
        ("bots", "list"),
        ("candles", *MARKET, "--timeframe", "1m"),
        ("up", "--seconds", "1"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_finds_no_room_says_so_and_what_to_do(
    crowded: CommandLine, small_disk: Path, words: tuple[str, ...]
) -> None:
    """SQLite calls it an I/O error where it cannot make the files beside its database."""
    _fill(small_disk / "fill")
    done = crowded.run(*words)
    assert done.returncode == 1
    assert FULL in done.stderr
    assert "free space, start again" in done.stderr
    assert "I/O" not in done.stderr


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(1_024))
