"""Outputs carry the hash of the code that made their bytes: all of it, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.worker.fold_code import ROOT, fold_code_hash, fold_sources

LOADED = """
import sys, projections.fold.pipeline
ours = [name for name in sys.modules if name.split(".")[0] in ("streams", "projections")]
print(*(sys.modules[name].__file__ for name in ours))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("streams", "projections"):
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def add(file: Path) -> None:
    with file.open("a") as end:
        end.write("# a line more\n")


def test_it_covers_what_an_import_of_the_fold_loads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {Path(file) for file in done.stdout.split()} == set(fold_sources())


@pytest.mark.parametrize(
    "file",
    [
        "projections/fold/pipeline.py",
        "projections/fold/money.py",
        "projections/strategies/code.py",
        "projections/strategies/kernels.py",
        "streams/causes.py",
        "streams/codec.py",
    ],
)
def test_a_line_in_what_decides_the_bytes_changes_it(copy: Path, file: str) -> None:
    before = fold_code_hash(copy)
    add(copy / file)
    assert fold_code_hash(copy) != before


@pytest.mark.parametrize(
    "file",
    [
        "projections/audit/verify.py",
        "projections/replay.py",
        "projections/aggregate.py",
        "projections/strategies/sma_cross.py",
        "projections/strategies/generate.py",
        "streams/log.py",
        "streams/journal.py",
    ],
)
def test_a_line_elsewhere_does_not(copy: Path, file: str) -> None:
    before = fold_code_hash(copy)
    add(copy / file)
    assert fold_code_hash(copy) == before


def test_what_the_fold_begins_to_import_is_covered(copy: Path) -> None:
    (copy / "projections/fold/fresh.py").touch()
    with (copy / "projections/fold/money.py").open("a") as money:
        money.write("from projections.fold import fresh\n")
    before = fold_code_hash(copy)
    add(copy / "projections/fold/fresh.py")
    assert fold_code_hash(copy) != before


def test_it_is_the_same_wherever_the_product_lies(copy: Path) -> None:
    assert fold_code_hash(copy) == fold_code_hash()
