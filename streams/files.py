"""Looking at folders and files without making or touching any."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote


def existing(path: Path) -> Path:
    """The path, or the nearest of its parents that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def unwritable(folder: Path) -> str:
    """Why no file could be made in a folder, or the folder itself; empty where it could."""
    there = existing(folder)
    if not there.is_dir():
        return f"{there} is a file, a folder is needed"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written"
    return ""


def read_only(database: Path, *, busy_s: float) -> sqlite3.Connection:
    """A connection that makes no file beside a SQLite database that nobody has open."""
    used = database.with_name(f"{database.name}-wal").exists()
    return sqlite3.connect(
        f"file:{quote(str(database))}?{'mode=ro' if used else 'immutable=1'}",
        uri=True,
        timeout=busy_s,
        check_same_thread=False,
    )


def size_text(count_bytes: int) -> str:
    return f"{count_bytes / 1e9:.1f} GB" if count_bytes >= 1e9 else f"{count_bytes / 1e6:.1f} MB"
