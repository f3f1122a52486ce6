"""Looking at folders and files without making or touching any."""

import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

ROOM_BYTES = 1 << 20
"""With less than this a disk is full: SQLite needs files of its own beside its database."""


def disk_is_full(error: sqlite3.Error, file: Path) -> bool:
    """Whether SQLite failed for want of room, which it may call an I/O error."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return shutil.disk_usage(existing(file)).free < ROOM_BYTES
    return code == sqlite3.SQLITE_FULL


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
