"""SQLite files that several processes open."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from infra.commands.requests import Requests
from infra.db.connect import database_at
from streams.backends import open_log


def database(file: Path) -> None:
    with database_at(f"sqlite:///{file}").connect():
        pass


def requests(file: Path) -> None:
    Requests(file, open_log(f"embedded://{file.parent}/log")).close()


@pytest.mark.parametrize("opened", [database, requests])
def test_a_new_file_that_another_process_writes_to_is_waited_for(
    opened: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "new.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as pool:
        opening = pool.submit(opened, file)
        assert not wait([opening], timeout=1).done, "it did not wait"
        other.execute("CREATE TABLE first (a)")
        other.execute("COMMIT")
        opening.result(60)
    other.close()
    with closing(sqlite3.connect(file)) as later:
        assert later.execute("PRAGMA journal_mode").fetchone() == ("wal",)
