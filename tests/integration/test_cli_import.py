"""`import` as a command: several at once, before anything is written, and what it says of every row."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integration.command_line import FIRST, KEY, MARKET, ROWS, SPLIT, CommandLine, write_csv


def test_two_imports_of_two_markets_at_once_both_end_well(cli: CommandLine, shared_cases: Path) -> None:
    """Of the two one folds, and the other leaves it to that one, or folds when that one has ended."""
    file = shared_cases / "price-step-too-coarse" / "day1.csv"
    markets = [("--venue", venue, "--symbol", "A/USD") for venue in "ab"]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda market: cli.run("import", file, *market, "--json"), markets))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    for market in markets:
        assert len(cli.lines("candles", *market, "--timeframe", "1m", "--format", "json")) == 1


def test_a_dry_run_writes_nothing_and_says_what_would_be(cli: CommandLine, files: Path) -> None:
    done = cli.run("import", files, *MARKET, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")
    assert "2 files (first.csv … rest.csv): trades; time=timestamp, price=price, size=size" in done.stderr
    assert (
        "first candle 2018-01-01T00:01:00Z, last candle 2018-01-01T03:20:00Z; nothing was written"
        in done.stderr
    )
    assert not cli.home.exists()
    shown = cli.line("import", files, *MARKET, "--dry-run")
    assert (shown["market"], shown["rows"], shown["trades"], shown["bad_rows"]) == (
        KEY,
        len(ROWS),
        len(ROWS),
        0,
    )
    assert not cli.home.exists()


def test_a_folder_is_one_import_and_its_two_lines_add_up(cli: CommandLine, files: Path) -> None:
    cli.out("import", files / "first.csv", *MARKET, "--more")
    done = cli.run("import", files, *MARKET)
    assert done.returncode == 0
    there, rest = len(FIRST), len(ROWS) - len(FIRST)
    *_, first, second = done.stderr.splitlines()
    assert first == (
        f"{len(ROWS):,} rows: {rest:,} appended, {there:,} there already, 0 of other symbols, 0 bad"
    )
    assert second == f"{rest:,} appended: {rest:,} in candles, 0 repeats, 0 too late for any candle"


def test_repeats_are_counted_and_what_is_not_folded_yet_is_said(cli: CommandLine, tmp_path: Path) -> None:
    lines = [f"{1_514_764_800_000 + n},1,1,{n}" for n in range(10)]
    lines += lines[:4]
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["time,price,size,id", *lines]) + "\n")
    assert cli.line("import", file, *MARKET, "--no-fold")["not_folded"] == 14
    other = CommandLine(cli.home.with_name("other"))
    done = other.line("import", file, *MARKET)
    assert done["ticks"] == 14 == done["in_candles"] + done["repeats"] + done["late"]
    assert done["repeats"] == 4


def test_options_that_contradict_each_other_are_called_wrongly(cli: CommandLine, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", FIRST[:SPLIT])
    error = cli.error("import", file, *MARKET, "--more", "--until", "2018-01-02T00:00:00Z", code=2)
    assert "--more leaves the last minute open, --until closes it" in error
    assert "write each field once" in cli.error("import", file, *MARKET, "--column", "price")
