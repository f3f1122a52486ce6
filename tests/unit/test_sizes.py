"""What a person reads in a sitting: no product file above 450 lines, no function above 50."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    file for package in ("streams", "projections", "infra", "api") for file in (ROOT / package).rglob("*.py")
]
FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 50


def long_functions(text: str, *, with_signature: bool) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node if with_signature else node.body[0]
            lines = (node.end_lineno or 0) - first.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append((node.name, lines))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_is_read_in_a_sitting(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= FILE_LINES_MAX
    # a command's signature is the table of its options
    assert not long_functions(text, with_signature=ROOT / "api/cli" not in file.parents)


def test_the_lines_of_a_function_are_counted_with_its_signature() -> None:
    text = "def short(\n    a,\n):\n    return a\n\n\ndef long(\n    a,\n):\n" + "    a += 1\n" * 48
    assert long_functions(text, with_signature=True) == [("long", 51)]
    assert long_functions(text, with_signature=False) == []
