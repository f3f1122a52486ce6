"""The page's modules: each is one, its rules hold (`tests/page/`), and text is set as text only."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "api" / "page" / "static"
MODULES = sorted(PAGE.glob("*.js")) + sorted(PAGE.glob("views/*.js"))


def test_every_module_is_one(node: str) -> None:
    assert len(MODULES) > 10
    for module in MODULES:
        subprocess.run([node, "--check", module], check=True)
        imported = re.findall(r'^import .*from "(.*)";$|import\("(\./.*)"\)', module.read_text(), re.M)
        for name in filter(None, sum(imported, ())):
            assert (module.parent / name).is_file(), f"{module.name} imports {name}"


def test_the_rules_of_the_page_hold(node: str) -> None:
    files = sorted((ROOT / "tests" / "page").glob("*.test.js"))
    command = [node, "--test", "--test-timeout=60000", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_nothing_is_set_but_as_text() -> None:
    ways = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage")
    for module in MODULES:
        assert not ways.search(module.read_text(encoding="utf-8")), module.name
    assert "<style" not in (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", (PAGE / "index.html").read_text())
