"""Parity is able to fail: mistakes put into the backtest, and the same into the fold, are each found."""

import subprocess
import sys

import pytest

from tests.programs import ROOT


@pytest.mark.timeout(900)  # each mutant of compiled code is compiled
def test_a_mistake_in_the_backtest_or_in_the_fold_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.property.mutants"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(": found in world " in line for line in lines) == len(lines) - 1 >= 20
    assert lines[-1] == "no mutant: NOT FOUND"
