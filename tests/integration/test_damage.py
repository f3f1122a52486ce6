"""A record that was changed on disk costs that record where it was not folded yet, and is told everywhere."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from streams.agents.app import FAILED
from tests.e2e.conftest import Home
from tests.forging import seal
from tests.integration.test_worker import journal

CHANGE = "UPDATE records SET value = value || X'00' WHERE topic = 'journal' AND \"offset\" = {}"
SPOIL_SNAPSHOTS = (
    "UPDATE records SET value = CAST(substr(value, 1, length(value) - 1) || X'FF' AS BLOB)"
    " WHERE topic = 'snapshots'"
)


def alter(home: Path, statement: str, *, sealed: bool = False) -> None:
    with closing(sqlite3.connect(home / "log" / "log.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0
        if sealed:
            seal(connection)


def fold(home: Home, code: int = 0) -> str:
    """What a worker says that ends when all is folded and projected, or with `code`."""
    command = [sys.executable, "-m", "tests.crash.platform", "work", "--until-caught-up"]
    done = subprocess.run(
        command, env=home.environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_a_damaged_record_that_was_not_folded_becomes_a_dead_letter(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", TCPD_PARTITIONS="1")
    journal(home, 1, 61, 121)
    alter(tmp_path / "home", CHANGE.format(3))
    fold(home)
    assert "changed since it was appended" in home.run("dead-letters")
    assert "journal:0:3: changed since it was appended" in home.run("verify", code=1)
    assert "journal:0:3" in home.run("doctor", code=1)
    home.run("replay", "--into", tmp_path / "copy")
    assert Home(tmp_path / "copy").json("verify")["proven"], "the record is no event there, and sound"


def test_a_damaged_record_that_was_folded_is_not_folded_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", TCPD_PARTITIONS="1")
    journal(home, 1, 61, 121)
    fold(home)
    alter(tmp_path / "home", SPOIL_SNAPSHOTS, sealed=True)
    alter(tmp_path / "home", CHANGE.format(3))
    told = fold(home, FAILED)
    assert "journal:0:3 was folded, and is changed since it was appended" in told
    assert "replay --into" in told
