"""A strategy's file changes under a bot that trades: it is halted until somebody accepts the new code."""

from pathlib import Path

import pytest

from tests.integration.command_line import (
    CREATE,
    MARKET,
    PART,
    SPECIFIED,
    START_MS,
    CommandLine,
    trades,
    write_csv,
)

FLIP = """
from projections.strategies import BaseStrategy
class Flip(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return {target}
"""
OLD, NEW = FLIP.format(target="1.0 if pos < 1.0 else -1.0"), FLIP.format(target="0.5 if pos < 0.5 else -0.5")
ROWS = trades(60, seed=9)
PART_MINUTES = 20


@pytest.fixture
def flipping(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """A bot whose strategy stands in a user's file, on its market, with some trades."""
    strategy = tmp_path / "flip.py"
    strategy.write_text(OLD)
    cli.settings = {**cli.settings, "TCPD_STRATEGIES": str(strategy)}
    for number in range(3):
        times = [START_MS + (number + side) * PART_MINUTES * 60_000 for side in (0, 1)]
        write_csv(tmp_path / f"{number}.csv", [row for row in ROWS if times[0] <= row[0] < times[1]])
    cli.out("markets", "add", *MARKET, *SPECIFIED)
    cli.out(*CREATE, "flip", "--short", "--start")
    cli.out("import", tmp_path / "0.csv", *MARKET)
    return cli


def fills(cli: CommandLine) -> int:
    return len(cli.lines("trades", 1, "--json"))


def test_changed_code_halts_its_bot_until_it_is_started_with_it(
    flipping: CommandLine, tmp_path: Path
) -> None:
    cli = flipping
    before, recorded = fills(cli), cli.line("bots", "show", 1)["code_hash"]
    assert before > 10
    (tmp_path / "flip.py").write_text(NEW)
    cli.out("import", tmp_path / "0.csv", *MARKET)

    (halt,) = [line for line in cli.lines("log", "journal") if line["type"] == "halt_bot.v1"]
    command = halt["event"]
    assert (halt["partition"], command["bot_id"], command["code"]) == (PART, 1, "strategy_changed")
    assert recorded[:12] in command["reason"]
    bot = cli.line("bots", "show", 1)
    assert (bot["status"], bot["code"], bot["code_hash"]) == ("halted", "strategy_changed", recorded)
    assert bot["message"] == command["reason"]
    cli.out("import", tmp_path / "1.csv", *MARKET)
    assert fills(cli) == before
    assert cli.line("verify")["equal"] is True, "history is folded with the code that made it"

    cli.out("bots", "start", 1)
    bot = cli.line("bots", "show", 1)
    assert (bot["status"], bot["code_hash"] != recorded) == ("running", True)
    cli.out("import", tmp_path / "2.csv", *MARKET)
    assert fills(cli) > before + 10
    assert len([line for line in cli.lines("log", "journal") if line["type"] == "halt_bot.v1"]) == 1
    assert cli.line("verify")["equal"] is True


def test_without_the_archive_and_the_file_a_worker_ends_and_names_the_code_and_the_folder(
    flipping: CommandLine, tmp_path: Path
) -> None:
    cli = flipping
    before, recorded = fills(cli), cli.line("bots", "show", 1)["code_hash"]
    gone = tmp_path / "empty"
    cli.settings["TCPD_KERNELS"] = str(gone)
    (tmp_path / "flip.py").write_text(NEW)
    for words in (("verify",), ("import", tmp_path / "1.csv", *MARKET)):
        done = cli.run(*words)
        assert done.returncode != 0
        assert f"the code of strategy 'flip' with hash {recorded} is not at hand" in done.stderr
        assert f"hash {recorded} is neither today's nor in the archive {gone}" in done.stderr
    del cli.settings["TCPD_KERNELS"]
    (tmp_path / "flip.py").write_text(OLD)
    cli.out("import", tmp_path / "1.csv", *MARKET)
    assert fills(cli) > before + 10
    assert cli.line("verify")["equal"] is True
