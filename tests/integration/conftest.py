"""Homes for the tests of the command line."""

from pathlib import Path

import pytest

from api.cli import main
from tests.integration.command_line import (
    CREATE,
    FIRST,
    MARKET,
    PART,
    ROWS,
    SMA,
    SPECIFIED,
    Called,
    CommandLine,
    write_csv,
)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_csv(folder / "first.csv", FIRST)
    write_csv(folder / "rest.csv", ROWS[len(FIRST) :])
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """An empty home."""
    return CommandLine(tmp_path / "home")


@pytest.fixture(scope="session")
def untried(tmp_path_factory: pytest.TempPathFactory, files: Path) -> CommandLine:
    """A home where two bots have traded and its ledger has no trial. It is only copied."""
    cli = CommandLine(tmp_path_factory.mktemp("untried") / "home")
    first = cli.line("import", files / "first.csv", *MARKET, *SPECIFIED)
    assert {name: first[name] for name in ("ticks", "rows")} == {"ticks": len(FIRST), "rows": len(FIRST)}
    assert cli.line(*SMA, "--short", "--start") == {
        "bot_id": 1, "position": f"journal:{PART}:4", "warmed": 8, "needed": 8,
    }  # fmt: skip
    assert cli.line(*CREATE, "rsi_reversion", "--param", "n=5", "--sizing", "cash:500")["bot_id"] == 2
    rest = cli.line("import", files / "rest.csv", *MARKET)
    assert rest["ticks"] == rest["rows"] == len(ROWS) - len(FIRST)
    assert set(rest) >= {"ticks", "rows", "records", "seconds"}
    return cli


@pytest.fixture(scope="session")
def recorded(untried: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The same. It is only read, but for its ledger: tests that change something else take a copy."""
    return untried.copy(tmp_path_factory.mktemp("recorded") / "home")


@pytest.fixture
def called(
    recorded: CommandLine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Called:
    """A failing call in this process, which saves its start: (exit code, its one line)."""
    for name in recorded.settings:
        monkeypatch.setenv(name, recorded.settings[name])
    monkeypatch.setenv("TCPD_HOME", str(recorded.home))

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["tcpdashboard", *words])
        code = main()
        out, error = capfd.readouterr()
        assert out == ""
        assert error.count("\n") == 1, error
        return code, error

    return call
