"""What the documents name exists: files, links, and the places where something is decided."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILE = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|js|mjs|md|csv|toml))`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PLACE = re.compile(r"`([\w/]+\.py)`: ((?:`\w+`(?:, | \([\w ]+\), )?)+)")
RULE = re.compile(r"[Dd]esign rules? (\d+)")
ADR = re.compile(r"ADR (\d+(?:, \d+)*)")


def _id(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.fixture(params=DOCUMENTS, ids=_id)
def document(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_file_that_is_named_exists(document: Path) -> None:
    named = FILE.findall(document.read_text())
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_every_link_leads_somewhere(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


def test_what_is_decided_somewhere_is_defined_there() -> None:
    places = PLACE.findall((ROOT / "docs" / "architecture.md").read_text())
    missing = [
        f"{file}: {name}"
        for file, names in places
        for name in re.findall(r"`(\w+)`", names)
        if name not in _defined(ROOT / file)
    ]
    assert len(places) > 15
    assert not missing


def test_every_decision_that_is_cited_has_its_page_and_every_page_is_listed() -> None:
    pages = {int(page.name[:4]): page.name for page in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    cited = {int(n) for text in _texts() for numbers in ADR.findall(text) for n in numbers.split(", ")}
    listed = (ROOT / "docs" / "adr" / "README.md").read_text()
    assert cited <= set(pages)
    assert not [name for name in pages.values() if f"({name})" not in listed]


def test_every_rule_that_is_cited_is_written_down() -> None:
    written = re.findall(r"(?m)^(\d)\. \*\*", (ROOT / "docs" / "design.md").read_text())
    cited = {number for text in _texts() for number in RULE.findall(text)}
    assert written == list("1234567")
    assert cited
    assert cited <= set(written)


def _texts() -> list[str]:
    folders = ("streams", "projections", "infra", "api", "tests")
    code = [file for folder in folders for file in (ROOT / folder).rglob("*.py") if file != Path(__file__)]
    return [file.read_text() for file in [*code, *DOCUMENTS]]


def _defined(file: Path) -> set[str]:
    """Names of the functions, classes and constants of a module, methods included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found
