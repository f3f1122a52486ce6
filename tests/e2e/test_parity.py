"""Live bots on recorded BitMEX days, each proven by its backtest through the installed commands."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from streams.codec import decode_input, decode_output, encode
from streams.events import Fill, TickBatch
from streams.records import Input, Output, partition_of
from streams.topics import JOURNAL
from streams.topics import TRADES as FILLS
from tests.e2e.conftest import BITMEX, SPECIFICATION, Home
from tests.e2e.test_bitmex import PANDAS_ONLY, TRADES, times
from tests.forging import seal

PARTITION = partition_of(b"bitmex:BTC/USD:BTC", 4)
SELECT = 'SELECT value FROM records WHERE topic = ? AND partition = ? AND "offset" = ?'
UPDATE = 'UPDATE records SET value = ? WHERE topic = ? AND partition = ? AND "offset" = ?'
AT = 60
"""A record of trades."""

RULES = (*SPECIFICATION, "--closed", "left", "--fee-bp", "7.5")
CUTS = (
    "2018-01-01T00:00Z",
    "2018-01-01T06:00Z",
    "2018-01-01T12:30Z",
    "2018-01-02T00:10Z",
    "2018-01-03T00:00Z",
)
BOTS = (
    ("sma_cross", "1m", "--param", "fast=7", "--param", "slow=31", "--short"),
    ("sma_cross", "5m", "--param", "fast=3", "--param", "slow=12", "--sizing", "amount:2000"),
    ("rsi_reversion", "1m", "--param", "n=14", "--sizing", "cash:3"),
    ("rsi_reversion", "5m", "--param", "n=7", "--short"),
    ("macd_cross", "1m", "--short", "--on-stale", "flatten"),
    ("macd_cross", "5m", "--sizing", "equity:0.5"),
    ("bollinger_breakout", "1m", "--short", "--on-stale", "ignore"),
    ("bollinger_breakout", "5m",),
    ("last_move", "5m", "--param", "n=20"),
)  # fmt: skip
COMMANDS = (
    (("stop", "1", "--flatten"), ("reconfigure", "2", "--param", "fast=2"), ("signal", "8", "-0.5")),
    (("start", "1"), ("halt", "3"), ("reconfigure", "4", "--no-short", "--cold"), ("signal", "1", "-1")),
    (
        ("start", "3"), ("stop", "6"), ("reconfigure", "9", "--param", "n=10", "--warm", "30"),
        ("halt", "--all"), *(("start", bot) for bot in ("1", "4", "5", "9")),
    ),
)  # fmt: skip
"""Between two parts of the trades."""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Home:
    """Nine bots on all recorded trades, with every command between them. It is only read."""
    folder = tmp_path_factory.mktemp("parity")
    (folder / "mine.py").write_text(PANDAS_ONLY)
    home = Home(folder / "home", TCPD_STRATEGIES=str(folder / "mine.py"))
    trades = pd.read_parquet(shared_data / TRADES)
    home.run("markets", "add", *BITMEX, *RULES[4:])
    for strategy, timeframe, *more in BOTS:
        create = ("bots", "create", *BITMEX, "--timeframe", timeframe, "--cash", "10", "--start")
        home.run(*create, "--no-fold", "--strategy", strategy, *more)
    for number, (start, stop) in enumerate(pairwise(CUTS)):
        part = folder / f"{number}.parquet"
        within = (times(trades) >= pd.Timestamp(start)) & (times(trades) < pd.Timestamp(stop))
        trades[within].to_parquet(part)
        home.run("import", part, *RULES)
        for command in COMMANDS[number : number + 1]:
            for words in command:
                home.run("bots", *words, "--no-fold")
    return home


def proven(home: Home, bot: int, *words: object, code: int = 0) -> dict[str, Any]:
    return home.json("parity", "--bot", bot, *words, code=code)


def test_each_of_nine_bots_did_what_its_backtest_does_in_every_fill(lived: Home) -> None:
    total = 0
    for bot in range(1, len(BOTS) + 1):
        made = proven(lived, bot)
        assert made["equal"], made
        fills = lived.run("trades", bot, "--format", "csv").count("\n") - 1
        assert made["compared"]["fills"] == fills
        total += fills
    assert total > 300


def test_a_certificate_is_written_and_checked_again(lived: Home, tmp_path: Path) -> None:
    files = [tmp_path / "bot.json", tmp_path / "bot.html"]
    lived.run("parity", "--bot", 9, "--from", CUTS[1], "--out", files[0], "--out", files[1])
    certificate = json.loads(files[0].read_bytes())
    assert certificate["after"] == "2018-01-01T06:00:00Z" and len(certificate["lives"]) >= 2
    assert certificate["chain"] in files[1].read_text()
    assert lived.json("parity", "--check", files[0]) == certificate
    files[0].write_text(files[0].read_text().replace('"bars": ', '"bars": 1'))
    assert "the certificate does not hold: bars is 1" in lived.run("parity", "--check", files[0], code=1)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_range_in_which_nothing_is_recorded_exits_with_3(lived: Home) -> None:
    told = lived.run("parity", "--bot", 1, "--from", "2019-01-01", code=3)
    assert "nothing is proven: bot 1 decided and held nothing from 2019-01-01T00:00:00Z to the end" in told


def test_words_that_ask_for_nothing_are_refused(lived: Home, tmp_path: Path) -> None:
    for words in ((), ("--bot", 1, "--check", "x.json"), ("--check", "x.json", "--out", "y.json")):
        lived.run("parity", *words, code=2)
    lived.run("parity", "--bot", 1, "--out", tmp_path / "x.txt", code=2)
    assert "there is no bot 77 in the journal; bots are: 1, 2" in lived.run("parity", "--bot", 77, code=1)
    assert "there is no log in" in Home(tmp_path / "none").run("parity", "--bot", 1, code=1)
    assert not (tmp_path / "none").exists()


def test_a_flipped_byte_of_the_journal_is_told(lived: Home, tmp_path: Path) -> None:
    """By the record's checksum, or where that was made to fit, by the chain."""

    def flip(value: bytes) -> bytes:
        entry = decode_input(value)
        assert isinstance(entry.event, TickBatch)
        size = bytes([entry.event.size[0] ^ 1]) + entry.event.size[1:]
        event = msgspec.structs.replace(entry.event, size=size)
        return encode(Input(entry.source, entry.epoch, entry.sequence, event))

    damaged = changed(lived, tmp_path / "damaged", JOURNAL, AT, flip, sealed=False)
    told = damaged.run("parity", "--bot", 1, code=1)
    assert f"journal:{PARTITION}:{AT} was folded by the engine, and cannot be folded now" in told
    forged = changed(lived, tmp_path / "forged", JOURNAL, AT, flip, sealed=True)
    assert "the journal is not what the engine folded" in forged.run("parity", "--bot", 1, code=1)


def test_a_recorded_fill_that_was_forged_is_shown_beside_the_backtests(lived: Home, tmp_path: Path) -> None:
    def better(value: bytes) -> bytes:
        output = decode_output(value)
        events = tuple(
            msgspec.structs.replace(event, fee=event.fee - 1) if isinstance(event, Fill) else event
            for event in output.events
        )
        return encode(Output(output.partition, output.offset, output.indexes, events))

    offset = next(n for n in range(1_000) if fills_of_first(lived, n))
    forged = changed(lived, tmp_path / "forged", FILLS, offset, better, sealed=True)
    told = forged.run("parity", "--bot", 1, code=1)
    assert "the backtest is not what is recorded, first in fills, number" in told
    fee = next(line.split() for line in told.splitlines() if line.startswith("fee "))
    assert (int(fee[2]) - int(fee[1]), fee[3]) == (1, "differs")
    assert "the bar that ends at" in told and "indicators behind that bar" in told


def fills_of_first(home: Home, offset: int) -> bool:
    """Whether a record of the stream holds a fill of bot 1."""
    with closing(sqlite3.connect(home.folder / "log" / "log.db")) as connection:
        (value,) = connection.execute(SELECT, (FILLS, PARTITION, offset)).fetchone()
    return any(isinstance(event, Fill) and event.bot_id == 1 for event in decode_output(value).events)


def changed(
    home: Home, folder: Path, topic: str, offset: int, change: Callable[[bytes], bytes], *, sealed: bool
) -> Home:
    """A copy in which one record holds another value."""
    copy = home.copy(folder)
    place = (topic, PARTITION, offset)
    with closing(sqlite3.connect(folder / "log" / "log.db")) as connection, connection:
        (value,) = connection.execute(SELECT, place).fetchone()
        done = connection.execute(UPDATE, (change(value), *place))
        assert done.rowcount == 1
        if sealed:
            seal(connection)
    return copy
