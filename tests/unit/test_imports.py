"""The contracts of `pyproject.toml` let through what they list, and nothing that is put beside it."""

import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("streams", "projections", "infra", "api")
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"

LINES = {
    "streams.agents.watchdog": "from streams.agents.watchdog import Watchdog",
    "streams.locks": "from streams import locks",
    "infra.db.rows": "import infra.db.rows",
    "redis": "import redis",
    "time": "import time",
    "os": "def late():\n    from os import environ",
}
MODULES = {
    "streams": "streams/topics.py",
    "strategies": "projections/strategies/kernels.py",
    "fold": "projections/fold/money.py",
    "research": "projections/research/__init__.py",
    "projections": "projections/audit/verify.py",
}
REACHED = {
    "streams": "streams/__init__.py",
    "strategies": "projections/__init__.py",
    "fold": "projections/strategies/kernels.py",
    "research": "projections/__init__.py",
    "projections": "streams/log.py",
}
"""By contract, a file that it does not speak of and that what it speaks of runs."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("static", "__pycache__")
        )
    (tmp_path / "tests").mkdir()
    for name in ("pyproject.toml", "tests/import_rules.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def add(file: Path, line: str) -> None:
    with file.open("a") as end:
        end.write(f"\n\n{line}\n")


def lint(root: Path, *options: str) -> str:
    """What import-linter says of the tree at `root`, on one line."""
    command = [sys.executable, "-c", LINT, "--no-logo", "--no-cache", *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == int(" 0 broken" not in done.stdout), done.stdout + done.stderr
    return " ".join(done.stdout.split())


def dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_the_contracts_are_kept(copy: Path) -> None:
    assert " 0 broken" in lint(copy)


@pytest.mark.parametrize("imported", LINES)
@pytest.mark.parametrize("contract", MODULES)
def test_what_a_contract_does_not_list_breaks_it(copy: Path, contract: str, imported: str) -> None:
    add(copy / MODULES[contract], LINES[imported])
    assert f"{dotted(MODULES[contract])} -> {imported} is not allowed" in lint(copy, "--contract", contract)


@pytest.mark.parametrize("contract", MODULES)
def test_what_is_reached_on_the_way_breaks_it_too(copy: Path, contract: str) -> None:
    add(copy / REACHED[contract], LINES["time"])
    assert f"{dotted(REACHED[contract])} -> time is not allowed" in lint(copy, "--contract", contract)


@pytest.mark.parametrize("contract", MODULES)
def test_a_new_module_beside_it_is_shut_out(copy: Path, contract: str) -> None:
    (copy / "streams/fresh.py").touch()
    add(copy / MODULES[contract], "import streams.fresh")
    assert f"{dotted(MODULES[contract])} -> streams.fresh is not allowed" in lint(
        copy, "--contract", contract
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_a_new_module_needs_its_layer(copy: Path, package: str) -> None:
    (copy / package / "fresh.py").touch()
    assert f"{package}.fresh" in lint(copy)


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph(*PACKAGES)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_a_circle_between_files_breaks_a_contract(copy: Path) -> None:
    add(copy / "projections/fold/money.py", "import projections.fold.desk")
    assert "No cycles are allowed in projections.fold." in lint(copy)
