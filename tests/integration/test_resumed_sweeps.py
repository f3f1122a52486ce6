"""A sweep that was broken off goes on, and its table is that of an undisturbed one in every bit."""

import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.command_line import CommandLine
from tests.programs import COMMAND, Program
from tests.unit.test_sweeps import frame_of

BARS = 120
WAITS = """
import pathlib, time
from projections.strategies import BaseStrategy, Signal, param

class Waits(BaseStrategy):
    window = 40
    n: int = param(3, low=1, high=39)

    def process_data(self, df):
        while self.n == {stuck} and not pathlib.Path({gate!r}).exists():
            time.sleep(0.01)
        if self.n == 2 and len(df) > 30:
            raise ValueError("no second")
        return Signal(1.0 if df["close"].iloc[-1] > df["close"].iloc[-min(self.n, len(df))] else 0.0)
"""
SETS = 32
STUCK = 20


class Sweep:
    """A sweep that waits at a set until a gate opens, in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gate = folder, folder / "gate"
        text = WAITS.format(stuck=STUCK, gate=str(self.gate))
        (folder / "waits.py").write_text(text, encoding="utf-8")
        frame_of(BARS).to_csv(folder / "bars.csv", index_label="timestamp")
        self.cli = CommandLine(folder / "home")
        self.words = (
            "sweep", folder / "waits.py", "--venue", "any", "--symbol", "X/Y", "--timeframe", "1m",
            "--data", folder / "bars.csv", "--grid", f"n=1:{SETS}", "--jobs", "1", "--sort", "final",
        )  # fmt: skip

    @property
    def pieces(self) -> list[Path]:
        return sorted(self.cli.home.glob("research/sweeps/*/piece-*.parquet"))

    @property
    def kept(self) -> int:
        return sum(len(pd.read_parquet(file)) for file in self.pieces)

    def begin(self) -> Program:
        """Until something is kept; it does not end."""
        program = self.cli.start(*self.words)
        program.until(lambda: self.pieces, "a piece")
        return program

    def table(self, *words: object) -> bytes:
        """The file of all sets, once the gate is open."""
        self.gate.touch()
        self.cli.out(*self.words, "--out", self.folder / "sets.parquet", *words)
        return (self.folder / "sets.parquet").read_bytes()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Sweep(tmp_path_factory.mktemp("undisturbed")).table()


def test_ctrl_c_keeps_what_is_done_and_another_command_goes_on(sweep: Sweep, undisturbed: bytes) -> None:
    with sweep.begin() as program:
        assert "this sweep is run already, by sweep (pid" in sweep.cli.error(*sweep.words, "--resume")
        assert program.end(signal.SIGINT) == 130
        assert "the same command with --resume goes on" in program.errors
        assert "Traceback" not in program.errors
        kept = sweep.kept
        assert f"{kept} of {SETS} sets in" in program.errors
        assert program.said.count("\n") == 1 + kept  # the best so far
    assert sweep.table("--resume") == undisturbed
    assert 0 < kept < SETS == sweep.kept


def test_kill_9_loses_no_piece_and_what_is_damaged_is_run_again(sweep: Sweep, undisturbed: bytes) -> None:
    with sweep.begin() as program:
        program.kill()
    first = sweep.pieces[0]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    first.with_name("piece-00000 (copy).parquet").write_bytes(b"")
    sweep.gate.touch()
    done = sweep.cli.run(*sweep.words, "--resume", "--out", sweep.folder / "sets.parquet")
    assert f"{first} is damaged" in done.stderr and done.returncode == 0
    assert (sweep.folder / "sets.parquet").read_bytes() == undisturbed


def test_a_full_disk_ends_a_sweep_with_words_and_what_was_kept_stays(
    sweep: Sweep, undisturbed: bytes
) -> None:
    with sweep.begin() as program:
        program.kill()
    sweep.gate.touch()
    before = {file: file.read_bytes() for file in sweep.pieces}
    limited = ("sh", "-c", 'ulimit -f 8; exec "$0" "$@"', COMMAND, *sweep.words, "--resume")
    with Program(*limited, environment=sweep.cli.environment) as program:
        assert program.wait() == 1
        assert "cannot be written: File too large; what was kept before stays" in program.errors
        assert program.errors.count("\n") == 1
    folder = sweep.pieces[0].parent
    assert {file: file.read_bytes() for file in folder.glob("*piece*")} == before
    assert sweep.table("--resume") == undisturbed


def test_without_resume_a_sweep_begins_anew(sweep: Sweep, undisturbed: bytes) -> None:
    with sweep.begin() as program:
        program.kill()
    sweep.pieces[0].write_bytes(b"damaged")
    assert sweep.table() == undisturbed
    assert sweep.kept == SETS
    done = sweep.cli.run(*sweep.words, "--resume", "--fee-bp", "1")
    assert "nothing of this sweep was kept" in done.stderr and done.returncode == 0
