"""What the wheel ships, and that its flat names are nobody else's."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"streams", "projections", "infra", "api"}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_other_installed_distribution_owns_the_name(name: str) -> None:
    assert set(packages_distributions()[name]) == {"tcpdashboard"}


def test_the_wheel_ships_exactly_the_four_packages_with_migrations_and_deployment(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
    ]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    subprocess.run([*command, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == PACKAGES
    assert any(name.startswith("infra/db/migrations/versions/0001") for name in names)
    assert "infra/db/migrations/env.py" in names
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shipped = (".py", ".mako")
    wanted = {n for n in tracked.stdout.split() if n.endswith(shipped) or n.startswith("infra/deploy/")}
    assert "infra/deploy/.env.example" in wanted
    assert wanted <= set(names)


def test_what_the_readme_imports_in_python_works() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    imports, strategy = blocks
    assert "from infra.exchange import DataCollector, DataProvider" in imports
    code = f"{imports}\n{strategy}\nassert {{'fast', 'slow'}} == {{p.name for p in Cross.spec.parameters}}\n"
    subprocess.run([sys.executable, "-c", code], check=True)
