"""The worker and the log it was given."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.present.values import parse_time
from streams.agents.app import FAILED
from tests.e2e.conftest import Home
from tests.integration.command_line import CommandLine
from tests.integration.running import Running
from tests.journal import START, batch, spot

BTC = spot()
LAST_OF_JOURNAL = "DELETE FROM records WHERE id = (SELECT max(id) FROM records WHERE topic = 'journal')"


def journal(home: Home, *seconds: float) -> None:
    """A market and a record of one trade for each second."""
    from infra.process.settings import load_settings
    from streams.backends import open_log
    from streams.journal import JournalWriter

    log = open_log(load_settings(home.environment).log_url, partitions=1)
    writer = JournalWriter(log, f"test:{seconds}", START)
    for event in (BTC, *(batch(BTC, [(second, 100, 1)]) for second in seconds)):
        writer.append(event, key=BTC.key)
    log.close()


def folded(home: Home) -> None:
    """All of the journal is."""
    lag = ("tcpd_journal_lag_records", "0")
    with Running(CommandLine(home.folder, {"TCPD_PARTITIONS": "1"}), "up", "--markets", "0") as up:
        up.until(lambda: up.metrics().get(lag) == 0, "all is folded")
        up.finish()


def test_a_journal_that_was_cut_and_written_on_is_not_folded_on(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", TCPD_PARTITIONS="1")
    journal(home, 1, 61, 121)
    folded(home)
    with sqlite3.connect(tmp_path / "home" / "log" / "log.db") as log:
        log.execute(LAST_OF_JOURNAL)
        assert log.total_changes == 1
    cut = home.run("verify", code=1)
    assert "it was cut" in cut
    journal(home, 301)
    told = home.run("up", "--markets", "0", "--seconds", "60", code=FAILED)
    assert "is not the record that was folded" in told
    assert "replay --into" in told


def test_output_to_a_device_leaves_the_device_in_its_place(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(
        [sys.executable, "-c", f"print(open({str(pipe)!r}).read())"], stdout=subprocess.PIPE
    )
    symbol = ["--venue", "test", "--symbol", "BTC/USDT", "--timeframe", "1m"]
    journal(home, 1, 61)
    folded(home)
    home.run("candles", *symbol, "--format", "csv", "--out", pipe)
    assert reader.communicate(timeout=60)[0].startswith(b"timestamp,timeframe,revision,open")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("text", ["9999-12-31T00:00:00Z", "1600-01-01", "2262-04-12"])
def test_a_time_that_nanoseconds_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside 1677 to 2262"):
        parse_time(text)
