"""Anchors that are appended to a file, by hand and by a worker."""

from pathlib import Path

from tests.e2e.conftest import Home
from tests.integration.test_damage import alter, fold
from tests.integration.test_worker import journal


def test_a_worker_appends_an_anchor_when_it_starts_and_at_its_end(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    home = Home(tmp_path / "home", TCPD_PARTITIONS="1", TCPD_ANCHOR=str(kept))
    journal(home, 1, 61, 121)
    fold(home)
    first = kept.read_text().splitlines()
    assert first[-1].split()[0] == "system", "the worker's own end is in it"
    assert home.run("anchor").splitlines() == first[-len(home.run("anchor").splitlines()) :]
    journal(home, 301)
    fold(home)
    assert len(kept.read_text().splitlines()) > len(first)
    assert home.json("verify", "--anchor", kept)["equal"]
    home.run("anchor", "--append", kept)
    assert home.json("verify", "--anchor", kept)["equal"]
    alter(tmp_path / "home", "UPDATE records SET headers = NULL WHERE topic = 'system'", sealed=True)
    alter(tmp_path / "home", "UPDATE records SET time_ms = time_ms + 1 WHERE topic = 'journal'", sealed=True)
    assert "the anchor of line 1 was made of" in home.run("verify", "--anchor", kept, code=1)


def test_a_file_that_cannot_be_written_stops_no_worker(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", TCPD_PARTITIONS="1", TCPD_ANCHOR=str(tmp_path / "nowhere" / "kept"))
    journal(home, 1, 61)
    assert "no anchor was appended to" in fold(home)
