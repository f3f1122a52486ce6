"""A helper of a strategy is edited under a bot that trades; its code is carried to another machine."""

import shutil
from pathlib import Path

import pytest

from tests.integration.command_line import CREATE, MARKET, SPECIFIED, CommandLine, trades, write_csv

FLIP = """
import levels
from projections.strategies import BaseStrategy

class Flip(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return levels.next(pos)
"""
LEVELS = """
from numba import njit
from deep.constants import HIGH

@njit(cache=True)
def next(pos):
    return HIGH if pos < HIGH else -1.0
"""


def at(folder: Path) -> CommandLine:
    settings = {"TCPD_STRATEGIES": str(folder / "flip.py"), "TCPD_KERNELS": str(folder / "kernels")}
    return CommandLine(folder / "home", settings)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bot whose strategy stands on two files of its author's, behind an hour of trades. It is
    only copied."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "deep").mkdir()
    for path, text in {"flip.py": FLIP, "levels.py": LEVELS, "deep/constants.py": "HIGH = 1.0\n"}.items():
        (folder / path).write_text(text, encoding="utf-8")
    rows = trades(20)
    write_csv(folder / "1.csv", rows[:180])
    write_csv(folder / "2.csv", rows[180:])
    cli = at(folder)
    cli.out("markets", "add", *MARKET, *SPECIFIED)
    cli.out(*CREATE, "flip", "--short", "--start")
    cli.out("import", folder / "1.csv", *MARKET)
    return folder


@pytest.fixture
def traded(first: Path, tmp_path: Path) -> CommandLine:
    """The same, to be changed."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return at(tmp_path)


def lose_caches(folder: Path) -> None:
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def test_an_edited_helper_halts_its_bot_and_leaves_history_provable_here_and_elsewhere(
    traded: CommandLine, tmp_path: Path
) -> None:
    cli = traded
    before = cli.line("bots", "show", 1)
    (row,) = [row for row in cli.lines("strategies", "--json") if row["strategy"] == "flip"]
    assert row["code_hash"] == before["code_hash"]
    read = ("flip.py", "deep/constants.py", "levels.py")
    assert [file["file"] for file in row["files"]] == [str(tmp_path / name) for name in read]
    assert len({file["sha256"] for file in row["files"]}) == 3

    (tmp_path / "deep" / "constants.py").write_text("HIGH = 0.5\n", encoding="utf-8")
    lose_caches(tmp_path)
    assert cli.line("verify")["equal"] is True

    cli.out("import", tmp_path / "2.csv", *MARKET)
    halted = cli.line("bots", "show", 1)
    assert (halted["status"], halted["code"]) == ("halted", "strategy_changed")
    cli.out("bots", "start", 1)
    assert cli.line("bots", "show", 1)["code_hash"] != before["code_hash"]
    assert cli.line("verify")["equal"] is True

    carried = cli.lines("strategies", "--archive", tmp_path / "code.zip", "--json")
    assert [code["strategy"] for code in carried] == ["flip", "flip"]
    other = cli.copy(tmp_path / "other home")
    other.settings = {"TCPD_KERNELS": str(tmp_path / "other kernels")}
    done = other.run("verify")
    assert done.returncode == 1
    assert f"{before['code_hash']}.py is missing" in done.stderr
    taken = other.lines("strategies", "--import", tmp_path / "code.zip", "--json")
    assert taken == carried
    assert other.line("verify")["equal"] is True

    kept = next((tmp_path / "other kernels" / "sources").glob("*/levels.py"))
    kept.unlink()
    done = other.run("verify")
    assert done.returncode == 1
    assert f"{kept} is missing" in done.stderr


def test_a_home_without_bots_has_no_code_to_carry(cli: CommandLine, tmp_path: Path) -> None:
    cli.out("markets", "add", *MARKET, *SPECIFIED)
    assert "the journal names no code" in cli.error("strategies", "--archive", tmp_path / "code.zip")
    assert not (tmp_path / "code.zip").exists()
    assert "code.zip" in cli.error("strategies", "--import", tmp_path / "code.zip")


def test_a_replay_without_the_code_takes_away_what_it_wrote(traded: CommandLine, tmp_path: Path) -> None:
    without = CommandLine(traded.home, traded.settings | {"TCPD_KERNELS": str(tmp_path / "others")})
    del without.settings["TCPD_STRATEGIES"]
    into = tmp_path / "into"
    into.mkdir()
    (into / "mine.txt").write_text("kept", encoding="utf-8")
    assert "is not at hand" in without.run("replay", "--into", into).stderr
    assert [path.name for path in into.iterdir()] == ["mine.txt"]
    traded.out("replay", "--into", into)
