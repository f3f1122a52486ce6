"""A file that is there only when all is in it."""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """Write a file, which appears or changes when all is written. A link stays, and a device or a pipe is
    written to, never replaced. Raises OSError."""
    file = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
