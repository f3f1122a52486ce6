"""A strategy's code as it stands on disk: the author's file and all that it reaches but installed packages.

Why: ADR 22.
"""

import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import projections.strategies as product
from infra.strategies.imports import OF_TEXT, Text, hidden, imports, reach
from projections.strategies.code import error_text
from projections.strategies.generate import source_hash

PRODUCT = ("streams", "projections", "infra", "api")
PRODUCT_ROOT = Path(product.__path__[0]).resolve().parents[1]
STANDARD = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
INSTALLED = ("site-packages", "dist-packages")
ALONE = "__main__"
"""What an author's file in no package is called, unless another file of its own imports it by its name."""
ABSENT = "absent"


class StrategyFileError(Exception):
    """A strategy file that cannot be used, with file and line: for its author to mend."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")
        self.file, self.line, self.reason = file, line, reason


@dataclass(frozen=True)
class Sources:
    """All files of a strategy. `module` is the author's own; `absent` are modules that were tried in vain.

    `files`: by path below a common folder. `origins`: where each was read, for people; no part of its
    identity. `versions`: of what else its results depend on.
    """

    module: str
    files: Mapping[str, bytes]
    absent: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    versions: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(self.files.items())}

    @functools.cached_property
    def hash(self) -> str:
        return source_hash(self.module, self.hashes, self.absent)

    @property
    def main(self) -> str:
        """The path of the author's file."""
        path = self.module.replace(".", "/")
        return f"{path}.py" if f"{path}.py" in self.files else f"{path}/__init__.py"

    @functools.cached_property
    def texts(self) -> dict[str, Text]:
        """By module."""
        found = (Text(_module(path), Path(path), data) for path, data in self.files.items())
        return {text.name: text for text in found}

    @functools.cached_property
    def elsewhere(self) -> set[str]:
        """The outermost names of the modules that the files import and that are not among them."""
        imported = {name.partition(".")[0] for text in self.texts.values() for name in imports(text)}
        return imported - {name.partition(".")[0] for name in self.texts} - set(self.absent)


def read_sources(file: Path) -> Sources:
    """The author's file and all that it reaches. Raises StrategyFileError, or OSError: it cannot be read."""
    data = file.read_bytes()
    search = _Search(file)
    main = Text(search.module, file, data)
    try:
        found = reach([*imports(main), *([main.name] if "." in main.name else [])], search.find)
        itself = next((text for text in found.values() if text.file == search.file), None)
        texts = [*found.values()] if itself else [*found.values(), main]
        for text in texts:
            _refuse_hidden(text)
    except SyntaxError as error:
        raise StrategyFileError(error.filename or str(file), error.lineno or 1, error_text(error)) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise StrategyFileError(str(file), 1, error_text(error)) from error
    files = {_path(text): text.data for text in sorted(texts, key=lambda text: text.name)}
    origins = {_path(text): str(file if text.file == search.file else text.file) for text in texts}
    absent = tuple(sorted(search.absent))
    return Sources((itself or main).name, files, absent, origins, search.versions())


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _path(text: Text) -> str:
    path = text.name.replace(".", "/")
    return f"{path}/__init__.py" if text.is_package and text.name != ALONE else f"{path}.py"


def _refuse_hidden(text: Text) -> None:
    for line, name in hidden(text):
        mend = "write it as code" if name in OF_TEXT else "write an import statement, or a name as text"
        reason = f"{name} runs code that the file does not name, so its hash could not cover it: {mend}"
        raise StrategyFileError(str(text.file), line, reason)


# ---------------------------------------------------------------- where a module is


class _Found(NamedTuple):
    file: Path | None
    """None: a folder without an `__init__.py`."""
    folders: list[Path]
    """Where its submodules are."""


class _Search:
    """Finds what an author's file imports, as Python does where the file is run: beside it first."""

    def __init__(self, file: Path) -> None:
        self.file = file.resolve()
        base, self.module = _place(self.file)
        self._own = self.module.partition(".")[0] if "." in self.module else ""
        self._path = ([] if base is None else [base]) + [Path(entry) for entry in sys.path]
        self._folders: dict[str, list[Path]] = {}
        """Of the author's packages, and of folders that may hold some."""
        self._mine: set[str] = set()
        self._installed: set[str] = set()
        self.absent: set[str] = set()

    def find(self, name: str) -> Text | None:
        """The module, if it is none of an installed distribution, of Python's own, or of ours."""
        above, _, last = name.rpartition(".")
        if not above:
            found = _looked_up(last, self._path) or _elsewhere(name)
            if found is None:
                self.absent.add(name)
        else:
            found = _looked_up(last, self._folders.get(above, []))
        if found is None:
            return None
        if found.file is None:
            self._folders[name] = found.folders
            return None
        return self._text(name, found.file, found.folders)

    def _text(self, name: str, file: Path, folders: list[Path]) -> Text | None:
        top, real = name.partition(".")[0], file.resolve()
        if real == self.file:
            file = real
        elif top != self._own and top not in self._mine and _is_given(top, real):
            self._installed.add(top)
            return None
        self._mine.add(top)
        if top in self._installed:
            reason = f"{top} is a folder of files of yours and of installed ones: give yours another name"
            raise StrategyFileError(str(file), 1, reason)
        if file.suffix != ".py":
            reason = (
                f"{name} is no Python text, and cannot be kept with the strategy: install it as a package"
            )
            raise StrategyFileError(str(file), 1, reason)
        self._folders[name] = folders
        return Text(name, file, file.read_bytes())

    def versions(self) -> dict[str, str]:
        """Of the installed distributions that were found, and of what is not there."""
        others = self._installed - set(PRODUCT) - set(sys.stdlib_module_names)
        named = {name for top in others for name in _distributions(top, tuple(sys.path))}
        return {dist: metadata.version(dist) for dist in named} | dict.fromkeys(self.absent, ABSENT)


def _place(file: Path) -> tuple[Path | None, str]:
    """The folder from which a file is imported, and the name under which; ours need none."""
    if any(PRODUCT_ROOT / name in file.parents for name in PRODUCT):
        return None, ALONE
    folder, names = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, folder.name)
        folder = folder.parent
    alone = not names or names == [file.stem]
    return folder, ALONE if alone else ".".join(names)


def _looked_up(last: str, folders: list[Path]) -> _Found | None:
    """A module by its last name in folders, as `importlib.machinery.FileFinder` looks for it."""
    bare: list[Path] = []
    for folder in folders:
        inner = folder / last
        suffixes = (*EXTENSION_SUFFIXES, ".py")
        files = [inner / "__init__.py", *(folder / f"{last}{suffix}" for suffix in suffixes)]
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            return _Found(file, [inner])
        if inner.is_dir():
            bare.append(inner)
    return _Found(None, bare) if bare else None


def _elsewhere(name: str) -> _Found | None:
    """What the interpreter has by other ways: built in, or by a finder of its own."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # it is loaded and says of itself that it has none
        return None
    if spec is None:
        return None
    file = Path(spec.origin) if spec.origin and spec.has_location else None
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    return _Found(file if file and file.is_file() else None, folders)


def _is_given(top: str, file: Path) -> bool:
    """Whether a file belongs to us, to Python itself, or to an installed distribution."""
    if top in PRODUCT and PRODUCT_ROOT / top in file.parents:
        return True
    inside = any(name in file.parts for name in INSTALLED)
    if not inside and any(folder in file.parents for folder in STANDARD):
        return True
    return any(_holds(name, file) for name in _distributions(top, tuple(sys.path)))


@functools.cache
def _distributions(top: str, _path: tuple[str, ...]) -> tuple[str, ...]:
    """Those that hold modules of this outermost name."""
    try:
        metadata.distribution(top)
    except metadata.PackageNotFoundError:  # to look through all takes a quarter of a second
        return tuple(metadata.packages_distributions().get(top, ()))
    return (top,)


@functools.cache
def _holds(distribution: str, file: Path) -> bool:
    """Whether a file lies where a distribution was installed: not if it is only pointed to, to be edited."""
    found = metadata.distribution(distribution)
    folder = Path(str(found.locate_file(""))).resolve()
    installed = folder.name in INSTALLED or found.read_text("RECORD") is not None
    return installed and folder in file.parents
