"""Strategies on disk: built-in ones, users' files, entry points; their generated modules; their old code.

The folder `kernels` holds, for every code that was ever used, the generated module `<code hash>.py` with
numba's cache beside it, and `sources/<source hash>.py`, the author's file as it was. So a hash recorded in
the journal can be folded again after the file has changed.

Why: ADR 6.
"""

import ast
import functools
import hashlib
import importlib.util
import logging
import os
import re
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import projections.strategies as product
from infra.process.signals import Foreign, note_interrupts
from projections.strategies import BUILT_IN, BaseStrategy
from projections.strategies.code import (
    CompiledCode,
    PandasCode,
    StrategyCode,
    StrategyCompileError,
    error_text,
)
from projections.strategies.generate import code_hash, module_text, source_module

logger = logging.getLogger(__name__)
ENTRY_POINTS = "tcpdashboard.strategies"
PRODUCT = ("streams", "projections", "infra", "api")
SITE_PACKAGES = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}


class StrategyFileError(Exception):
    """A strategy file that cannot be used, with file and line: for its author to mend."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")
        self.file, self.line, self.reason = file, line, reason


class UnknownStrategyError(LookupError):
    """No strategy of this name; the message lists those that exist and those that are broken."""


@dataclass(frozen=True)
class Source:
    """A strategy file as text. `file` is where people find it; it is no part of its identity."""

    file: str
    text: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class Strategies:
    """All strategies by name, and by name and code hash. Compiles on the first step, not before."""

    def __init__(self, kernels_dir: Path) -> None:
        self._kernels_dir = kernels_dir
        self._latest: dict[str, StrategyCode] = {}
        self._archived: dict[str, StrategyCode | None] = {}
        self.broken: list[StrategyFileError] = []

    def __iter__(self) -> Iterator[StrategyCode]:
        return iter(sorted(self._latest.values(), key=lambda code: code.name))

    def latest(self, name: str) -> StrategyCode:
        """The strategy as it stands now. Raises UnknownStrategyError."""
        if name not in self._latest:
            broken = "".join(f"; broken: {error}" for error in self.broken)
            known = ", ".join(sorted(self._latest))
            raise UnknownStrategyError(f"there is no strategy {name!r}; there are: {known}{broken}")
        return self._latest[name]

    def get(self, name: str, code_hash: str | None = None) -> StrategyCode | None:
        """The strategy with this code, from the archive where it has changed since; None where it is unknown.

        What is unknown is told of once. Archived code that does not load any more is listed in `broken`.
        """
        code = self._latest.get(name)
        if code_hash is None or (code is not None and code.code_hash == code_hash):
            return code
        if code_hash not in self._archived:
            try:
                self._archived[code_hash] = _unarchived(self._kernels_dir, code_hash)
            except StrategyFileError as error:
                self.broken.append(error)
                self._archived[code_hash] = None
            if self._archived[code_hash] is None:
                logger.warning(
                    "strategy %s: code with hash %s is neither today's nor in the archive %s",
                    name, code_hash, self._kernels_dir,
                )  # fmt: skip
        code = self._archived[code_hash]
        return code if code is not None and code.name == name else None

    def add(self, source: Source) -> None:
        """Every strategy class of a file; a broken file is listed in `broken` and adds none."""
        found: dict[str, StrategyCode] = {}
        try:
            for cls in _classes(source):
                name = cls.spec.name
                if name in self._latest or name in found:
                    raise _at_class(source, cls, f"there is already a strategy {name!r}")
                found[name] = _code(self._kernels_dir, source, cls)
        except StrategyFileError as error:
            self.broken.append(error)
        else:
            self._latest |= found


def load_strategies(kernels_dir: Path, files: Sequence[Path] = ()) -> Strategies:
    """Built-in strategies, those of installed packages by entry point, and those of these files."""
    note_interrupts()
    strategies = Strategies(kernels_dir)
    folder = Path(product.__path__[0])
    for name in BUILT_IN:
        strategies.add(_read(folder / f"{name}.py"))
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            file = _module_file(entry.module)
            if file is None:
                raise ImportError(f"there is no module {entry.module}")
            strategies.add(_read(file))
        except Exception as error:  # noqa: BLE001 - a package may fail in any way; the others still load
            reason = f"the entry point {entry.name} of {ENTRY_POINTS} cannot be read: {error_text(error)}"
            strategies.broken.append(StrategyFileError(entry.value, 1, reason))
    for file in files:
        try:
            strategies.add(_read(file))
        except (OSError, UnicodeDecodeError) as error:
            strategies.broken.append(StrategyFileError(str(file), 1, f"cannot be read: {error}"))
    return strategies


def _read(file: Path) -> Source:
    return Source(str(file), file.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- the author's file


def _classes(source: Source) -> list[type[BaseStrategy]]:
    module = _imported(source)
    found = [
        value
        for value in dict.fromkeys(v for v in vars(module).values() if isinstance(v, type))
        if issubclass(value, BaseStrategy) and value.__module__ == module.__name__
    ]
    runnable = [c for c in found if c.spec.compiled or c.process_data is not BaseStrategy.process_data]
    if not runnable:
        raise StrategyFileError(source.file, 1, "there is no BaseStrategy class with signal or process_data")
    return runnable


def _imported(source: Source) -> ModuleType:
    """The file as a module named by its hash, so that old and new code stand side by side."""
    name = source_module(source.hash)
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = source.file
    sys.modules[name] = module
    with Foreign():
        try:
            exec(compile(source.text, source.file, "exec"), vars(module))  # noqa: S102 - the user's own strategy
            _settle_helpers(module)
        except BaseException as error:
            del sys.modules[name]
            raise StrategyFileError(source.file, _line(source, error), error_text(error)) from error
    return module


def _line(source: Source, error: BaseException) -> int:
    """The last line of the file that the error went through."""
    if isinstance(error, SyntaxError) and error.filename == source.file:
        return error.lineno or 1
    passed = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == source.file]
    return (passed or [None])[-1] or 1


def _settle_helpers(module: ModuleType) -> None:
    """Give the author's compiled functions the step's options, or they take those of their first caller."""
    for name, value in vars(module).items():
        options = getattr(value, "targetoptions", None)
        if isinstance(options, dict) and hasattr(value, "recompile"):
            if options.get("fastmath") or options.get("parallel"):
                raise ValueError(f"{name} has fastmath or parallel: its results are not repeatable")
            options |= {"error_model": "numpy", "fastmath": False, "nogil": True}
            value.recompile()


def _at_class(source: Source, cls: type, reason: str) -> StrategyFileError:
    """An error at the line where the class stands."""
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return StrategyFileError(source.file, node.lineno, reason)
    return StrategyFileError(source.file, 1, reason)


def _versions(source: Source, packages: Sequence[str]) -> dict[str, str]:
    """What else the results depend on: these packages and all that the file imports, with their versions."""
    versions = {package: metadata.version(package) for package in packages}
    for name in sorted(_imports(source) - set(PRODUCT) - set(packages) - set(sys.stdlib_module_names)):
        file = _module_file(name)
        if file is not None and not SITE_PACKAGES & set(file.parents):
            versions[name] = _content_hash(file)
        else:
            found = metadata.packages_distributions().get(name, ())
            versions |= {package: metadata.version(package) for package in found} or {name: "absent"}
    return versions


def _module_file(name: str) -> Path | None:
    """The file of a module, without importing it; None where there is none."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve()


def _content_hash(file: Path) -> str:
    """A module that is not installed has no version: the hash of its file, or of all of its package."""
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _imports(source: Source) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


# ---------------------------------------------------------------- the generated module


def _code(kernels_dir: Path, source: Source, cls: type[BaseStrategy]) -> StrategyCode:
    """Today's code of a class, written to the archive."""
    packages = ("numba", "llvmlite", "numpy") if cls.spec.compiled else ("numpy", "pandas")
    text = module_text(cls.spec, cls.__name__, source.hash, _versions(source, packages), kernels_source())
    _keep(kernels_dir / "sources" / f"{source.hash}.py", source.text)
    _keep(kernels_dir / f"{code_hash(text)}.py", text)
    load = functools.partial(_module, kernels_dir, code_hash(text), source)
    return _assembled(cls, code_hash(text), cls.spec.state_size, load, cls.spec.lookback)


def _assembled(
    cls: type[BaseStrategy],
    hash_: str,
    state_size: int,
    load: Callable[[], Any],
    reads: Callable[[Mapping[str, Any]], int],
) -> StrategyCode:
    spec = cls.spec
    file = str(sys.modules[cls.__module__].__file__)  # under which it was compiled
    common = (cls, hash_, spec.name, spec.parameters, spec.value_names)
    if spec.compiled:
        return CompiledCode(*common, state_size, file, Foreign, load, reads)
    return PandasCode(*common, 0, file, Foreign)


def _unarchived(kernels_dir: Path, hash_: str) -> StrategyCode | None:
    """Code by its hash from the archive; None where it, or its source, is not there as it was."""
    text = _kept(kernels_dir / f"{hash_}.py", hash_)
    if text is None:
        return None
    head = _literals(text)
    file = kernels_dir / "sources" / f"{head['SOURCE']}.py"
    author = _kept(file, head["SOURCE"])
    if author is None:
        return None
    source = Source(str(file), author)
    cls = getattr(_imported(source), head["CLASS"])
    load = functools.partial(_module, kernels_dir, hash_, source)
    # the archived module says itself how much state it keeps and how far it reads: today's blocks may differ
    return _assembled(cls, hash_, head.get("STATE_SIZE", 0), load, lambda p: load().lookback(p))


def _kept(file: Path, hash_: str) -> str | None:
    """The text of an archived file, if it still has this hash."""
    if not re.fullmatch("[0-9a-f]{64}", hash_) or not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    return text if hashlib.sha256(text.encode()).hexdigest() == hash_ else None


def _literals(text: str) -> dict[str, Any]:
    """The constants at the head of a generated module, without importing it."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("NAME", "CLASS", "SOURCE", "STATE_SIZE")
    }


@functools.cache
def kernels_source() -> str:
    """The text of the blocks' arithmetic, which goes into the generated modules."""
    return (Path(product.__path__[0]) / "kernels.py").read_text(encoding="utf-8")


def _keep(file: Path, text: str) -> None:
    """Write what is not there; what is there stays untouched, since numba's cache looks at its time."""
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as new:
        new.write(text)
    os.replace(name, file)
    importlib.invalidate_caches()


def _module(kernels_dir: Path, hash_: str, source: Source) -> ModuleType:
    loaded = _loaded(kernels_dir, hash_, source)
    if isinstance(loaded, StrategyCompileError):
        raise StrategyCompileError(*loaded.args)
    return loaded


@functools.cache
def _loaded(kernels_dir: Path, hash_: str, source: Source) -> ModuleType | StrategyCompileError:
    """Import a generated module; numba compiles its live step or has it cached. A failure is kept too."""
    from numba.core.errors import NumbaError  # noqa: PLC0415 - a third of a second, for those who step

    _imported(source)
    name = f"tcpdashboard_kernel_{hash_}"
    spec = importlib.util.spec_from_file_location(name, kernels_dir / f"{hash_}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with Foreign():
        try:
            spec.loader.exec_module(module)
        except NumbaError as error:
            del sys.modules[name]
            return StrategyCompileError(_compile_reason(source, str(error)))
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception):  # a full disk, say: not the author's fault
                raise
            return StrategyCompileError(error_text(error))
    return module


def _compile_reason(source: Source, text: str) -> str:
    """numba's reason and the line in the author's file; without paths, since it gets recorded."""
    said = (line.strip() for line in text.splitlines())
    reason = next((s for s in said if s and not s.startswith("Failed in nopython mode")), "no reason given")
    lines = re.findall(rf'{re.escape(Path(source.file).name)}", line (\d+)', text)
    return f"line {lines[0]}: {reason}" if lines else reason
