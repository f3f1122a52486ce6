"""The hash of the code that decides the bytes of derived records; their headers carry it.

That code is all of ours that an import of the fold runs. A strategy's own code is none of it: each bot names
the hash of its own.

Why: ADR 21.
"""

import ast
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

FOLD = "projections.fold.pipeline"
OURS = ("projections", "streams")
ROOT = Path(__file__).parents[2]


def fold_code_hash(root: Path = ROOT) -> str:
    """SHA-256 over the sources below `root`, each with its name."""
    digest = sha256()
    for source in fold_sources(root):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def fold_sources(root: Path = ROOT) -> list[Path]:
    """Every file that the fold imports, directly or indirectly, with the packages above it; in order."""
    found: set[Path] = set()
    waiting = [FOLD]
    while waiting:
        parts = waiting.pop().split(".")
        for n in range(1, len(parts) + 1):
            source = _source(root.joinpath(*parts[:n]))
            if source is not None and source not in found:
                found.add(source)
                waiting += _imports(source)
    return sorted(found)


def _source(module: Path) -> Path | None:
    files = (module / "__init__.py", module.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _imports(source: Path) -> Iterator[str]:
    """What may be a module of ours among the names that the file imports."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in OURS)
