"""The hash of the code that decides the bytes of derived records; their headers carry it.

That code is all of ours that an import of the fold runs. A strategy's own code is none of it: each bot names
the hash of its own.

Why: ADR 21.
"""

from hashlib import sha256
from pathlib import Path

from infra.strategies.imports import Text, reach

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

    def find(name: str) -> Text | None:
        path = root.joinpath(*name.split("."))
        files = (path / "__init__.py", path.with_suffix(".py")) if name.partition(".")[0] in OURS else ()
        file = next((file for file in files if file.is_file()), None)
        return None if file is None else Text(name, file, file.read_bytes())

    return sorted(text.file for text in reach([FOLD], find).values())
