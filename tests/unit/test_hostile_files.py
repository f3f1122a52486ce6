"""No file ends a process, and every row of one that is read is accounted for."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = 200


def test_hostile_files_end_in_a_refusal_or_in_rows_that_are_accounted_for() -> None:
    command = [sys.executable, "-m", "tests.fuzz.fuzz_files", "--count", str(FILES), "--seconds", "3000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode} at {done.stdout[-100:]}: {done.stderr[-3000:]}"
    assert f"seed {FILES}\n" in done.stdout
    assert int(done.stdout.split("\n")[-2].split()[0].replace(",", "")) > 10 * FILES
