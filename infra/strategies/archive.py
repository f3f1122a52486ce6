"""The folder `kernels`: every code that was ever used, by its hash, so that its bots can be folded again.

`<code hash>.py` is a generated module, with numba's cache beside it; `sources/<source hash>/` holds copies of
the author's files that it was made of, which its head lists with their hashes. `loops/<hash>.py` is made from
the text of such a module whenever it is missing.

Why: ADR 6, 22, 29.
"""

import ast
import hashlib
import importlib
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import msgspec
from msgspec import Struct

from infra.strategies.sources import ABSENT, Sources
from projections.strategies.generate import code_hash

READ_MAX = 16 << 20
"""No file of code is larger."""


class ArchiveError(Exception):
    """Code that is not in an archive as it was; the message names the file."""


class Head(Struct, frozen=True, kw_only=True, rename="upper"):
    """The constants at the head of a generated module; see `projections.strategies.generate`."""

    name: str
    class_: str = msgspec.field(name="CLASS")
    source: str
    module: str
    files: dict[str, str]
    absent: tuple[str, ...]
    versions: dict[str, str]
    state_size: int = 0


@dataclass(frozen=True)
class Kept:
    """A strategy's code in an archive: the generated module's text and the author's files."""

    text: str
    head: Head
    sources: Sources

    @property
    def hash(self) -> str:
        return code_hash(self.text)


def keep_sources(kernels_dir: Path, sources: Sources) -> Path:
    """Write the author's files that are not there; the folder that holds them."""
    folder = kernels_dir / "sources" / sources.hash
    for path, data in sources.files.items():
        _write(folder / path, data)
    return folder


def keep(kernels_dir: Path, text: str) -> Path:
    """Write a generated module that is not there; its file."""
    file = kernels_dir / f"{code_hash(text)}.py"
    _write(file, text.encode())
    return file


def kept(kernels_dir: Path, hash_: str) -> Kept:
    """The code with this hash. Raises `ArchiveError`."""

    def read(path: str) -> bytes:
        file = kernels_dir / path
        if not file.is_file():
            raise ArchiveError(f"{file} is missing")
        return file.read_bytes()

    return _read(hash_, read, str(kernels_dir))


def export(kernels_dir: Path, hashes: Iterable[str], file: Path) -> list[Kept]:
    """Write the code with these hashes as a zip file: equal bytes of equal code. Raises ArchiveError."""
    found = [kept(kernels_dir, hash_) for hash_ in sorted(hashes)]
    members = {path: data for code in found for path, data in _members(code)}
    with ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(members):
            archive.writestr(ZipInfo(path), members[path], zipfile.ZIP_DEFLATED)
    return found


def take(file: Path, kernels_dir: Path) -> list[Kept]:
    """Put the code of an exported file into the archive. Raises `ArchiveError` before anything is written."""
    try:
        with ZipFile(file) as archive:
            names = set(archive.namelist())

            def read(path: str) -> bytes:
                if path not in names:
                    raise ArchiveError(f"{file} lacks {path}")
                if archive.getinfo(path).file_size > READ_MAX:
                    raise ArchiveError(f"{path} in {file} is larger than any code")
                return archive.read(path)

            hashes = sorted(name.removesuffix(".py") for name in names if "/" not in name)
            found = [_read(hash_, read, str(file)) for hash_ in hashes]
    except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{file} is no archive of strategies: {error}") from None
    if not found:
        raise ArchiveError(f"{file} holds no code of a strategy; `strategies --archive` writes what does")
    for code in found:
        keep_sources(kernels_dir, code.sources)
        keep(kernels_dir, code.text)
    return found


def other_versions(code: Kept) -> Iterator[str]:
    """What this machine has otherwise than the one on which the code was used, a line each."""
    for name, version in code.sources.versions.items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            here = ABSENT
        if here != version:
            yield f"{code.head.name} was used with {name} {version}, here is {here}: its bits may differ"


def _members(code: Kept) -> Iterator[tuple[str, bytes]]:
    yield f"{code.hash}.py", code.text.encode()
    for path, data in code.sources.files.items():
        yield f"sources/{code.sources.hash}/{path}", data


def _read(hash_: str, read: Callable[[str], bytes], where: str) -> Kept:
    """Code by its hash, each file compared with its own. Raises `ArchiveError`."""
    if not re.fullmatch("[0-9a-f]{64}", hash_):
        raise ArchiveError(f"{where}: {hash_!r} is no hash of code")
    data = _checked(f"{hash_}.py", hash_, read, where)
    try:
        head = _head(data)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ArchiveError(f"{where}: {hash_}.py is no code that this release wrote: {error}") from None
    files: dict[str, bytes] = {}
    for path, wanted in head.files.items():
        if not _is_path(path):
            raise ArchiveError(f"{where}: {hash_}.py lists {path!r}, which is no file of a strategy")
        files[path] = _checked(f"sources/{head.source}/{path}", wanted, read, where)
    origins = {path: f"{where}/sources/{head.source}/{path}" for path in files}
    sources = Sources(head.module, files, head.absent, origins, head.versions)
    if head.source != sources.hash:
        raise ArchiveError(f"{where}: the files of {hash_}.py are not those that it was made of")
    return Kept(data.decode(), head, sources)


def _checked(path: str, hash_: str, read: Callable[[str], bytes], where: str) -> bytes:
    data = read(path)
    if hashlib.sha256(data).hexdigest() != hash_:
        raise ArchiveError(f"{path} in {where} is not what it was: its hash is another")
    return data


def _is_path(path: str) -> bool:
    return path.endswith(".py") and all(part.isidentifier() for part in path.removesuffix(".py").split("/"))


def _head(text: bytes) -> Head:
    """Read without importing. Raises ValueError and what `ast.parse` raises."""
    names = {field.encode_name for field in msgspec.structs.fields(Head)}
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in names
    }
    return msgspec.convert(found, Head)


def _write(file: Path, data: bytes) -> None:
    """What is there stays untouched, since numba's cache looks at its time."""
    if file.is_file() and file.read_bytes() == data:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    with os.fdopen(handle, "wb") as new:
        new.write(data)
    os.replace(name, file)
    importlib.invalidate_caches()
