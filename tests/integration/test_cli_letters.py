"""Dead letters from the command line: all of their bytes, and the way back in."""

import json
from pathlib import Path

import pytest

from streams.backends import open_log
from streams.journal import lost_entry
from streams.records import DATA_BYTES_MAX, Entry
from streams.topics import JOURNAL
from tests.integration.command_line import FIRST, KEY, MARKET, PART, SMA, SPECIFIED, CommandLine, write_csv

LONG = bytes(range(256)) * 300


def test_a_mended_row_goes_in_again_and_is_counted_where_it_was_missing(
    cli: CommandLine, tmp_path: Path
) -> None:
    time, price, size = FIRST[20]
    bad = write_csv(tmp_path / "bad.csv", [*FIRST[:20], (time, "-1.0", size), *FIRST[21:]])
    cli.out("import", bad, *MARKET, *SPECIFIED, "--skip-bad")
    (letter,) = cli.lines("dead-letters", "--json")
    assert (letter["market"], letter["sequence"], letter["offset"]) == (KEY, 21, -1)
    assert "row 21: price is" in letter["reason"]
    row = tmp_path / "row.jsonl"
    cli.out("dead-letters", "show", letter["id"], "--out", row)
    lost = json.loads(row.read_bytes())
    assert json.loads(letter["data"]) == lost
    assert float(lost["price"]) == -1.0
    row.write_text(json.dumps(lost | {"price": price}) + "\n")
    cli.out("import", row, *MARKET, "--backfill")
    whole = CommandLine(tmp_path / "whole")
    whole.out("import", write_csv(tmp_path / "whole.csv", FIRST), *MARKET, *SPECIFIED)
    mended, expected = (
        [(row["timestamp"], row["trades"], row["volume"], row["high"], row["low"]) for row in found]
        for found in (one.lines("candles", *MARKET, "--timeframe", "1m", "--json") for one in (cli, whole))
    )
    assert mended == expected
    assert cli.line("verify")["equal"]


@pytest.fixture
def letters(cli: CommandLine) -> CommandLine:
    """A home with a record that is none, a message that never became one, and a bot."""
    cli.home.mkdir()
    log = open_log(f"embedded://{cli.home}/log")
    log.append([Entry(JOURNAL, KEY.encode(), LONG, 0, PART)])
    log.append([lost_entry("no message", KEY.encode(), PART, LONG, source="test", sequence=4)])
    log.close()
    cli.out("bots", "list")
    cli.error(*SMA)
    cli.out("markets", "add", *MARKET, "--price-step", "1", "--size-step", "1")
    cli.out(*SMA)
    return cli


def test_all_bytes_of_a_record_come_from_the_log_and_of_a_message_the_beginning(letters: CommandLine) -> None:
    found = {row["reason"]: row for row in letters.lines("dead-letters", "--json")}
    message = found.pop("no message")
    (record,) = found.values()
    assert (record["offset"], record["size"], message["offset"]) == (1, len(LONG), -1)
    whole = letters.line("dead-letters", "show", record["id"])
    assert (whole["data"], whole["cut"]) == (LONG.decode(errors="backslashreplace"), False)
    assert whole["data"].startswith(record["data"])
    part = letters.line("dead-letters", "show", message["id"])
    assert (part["data"], part["cut"]) == (LONG[:DATA_BYTES_MAX].decode(errors="backslashreplace"), True)
    assert (part["source"], part["sequence"]) == ("test", 4)
    told = letters.run("dead-letters", "show", message["id"]).stderr
    assert "the log has the first 64,000 bytes of 76,800" in told


def test_what_is_no_dead_letter_is_refused(letters: CommandLine) -> None:
    for id_, said in (
        ("7", "write PARTITION:OFFSET:INDEX"),
        ("journal:1:2", "write PARTITION:OFFSET:INDEX"),
        ("0:99:0", "there is no record system:0:99"),
        (f"bots:{PART}:0:0", "is no dead letter but bot_changed.v1"),
        (f"bots:{PART}:0:7", "is no dead letter but nothing"),
    ):
        assert said in letters.error("dead-letters", "show", id_)
