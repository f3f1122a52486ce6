"""What the wheel ships, and that its flat names are nobody else's."""

import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHARTS = "infra/present/vendor"
PACKAGES = {"streams", "projections", "infra", "api"}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_other_installed_distribution_owns_the_name(name: str) -> None:
    assert set(packages_distributions()[name]) == {"tcpdashboard"}


def source(folder: Path) -> Path:
    """What is committed, and nothing that was made of it."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


def wheel(source: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    return subprocess.run([*command, "-w", target, source], capture_output=True, text=True, check=False)


def test_the_wheel_ships_the_four_packages_with_migrations_deployment_and_page(tmp_path: Path) -> None:
    copy = source(tmp_path / "source")
    # what `make setup` fetches; its content is of no matter to the wheel
    for name in ("lightweight-charts.mjs", "LICENSE"):
        (copy / CHARTS / name).parent.mkdir(exist_ok=True)
        (copy / CHARTS / name).write_text("fetched")
    done = wheel(copy, tmp_path)
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == PACKAGES
    assert any(name.startswith("infra/db/migrations/versions/0001") for name in names)
    assert "infra/db/migrations/env.py" in names
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    shipped = (".py", ".mako")
    wanted = {n for n in tracked if n.endswith(shipped) or n.startswith("infra/deploy/")}
    assert "infra/deploy/.env.example" in wanted
    assert wanted <= set(names)
    page = {name for name in tracked if name.startswith("api/page/static/")}
    assert {name for name in names if name.startswith("api/page/")} == page
    report = {name for name in tracked if name.startswith("infra/research/report.")}
    fetched = {f"{CHARTS}/lightweight-charts.mjs", f"{CHARTS}/LICENSE"}
    assert report | fetched <= set(names)


def test_a_wheel_without_the_charts_is_not_built(tmp_path: Path) -> None:
    done = wheel(source(tmp_path / "source"), tmp_path)
    assert done.returncode != 0
    assert "run `make setup` first" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_the_lock_of_the_page_names_no_place_to_fetch_from() -> None:
    lock = json.loads((ROOT / "api/page/package-lock.json").read_text())
    fetched = {name: package for name, package in lock["packages"].items() if name}
    assert all("integrity" in package and "resolved" not in package for package in fetched.values())
    assert fetched["node_modules/lightweight-charts"]["version"] == "5.2.1"


def test_what_the_readme_imports_in_python_works() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## In Python\n")[1]
    imports, strategy = re.findall(r"```python\n(.*?)```", section, re.S)
    assert "from infra.exchange import DataCollector, DataProvider" in imports
    code = f"{imports}\n{strategy}\nassert {{'fast', 'slow'}} == {{p.name for p in Cross.spec.parameters}}\n"
    subprocess.run([sys.executable, "-c", code], check=True)
