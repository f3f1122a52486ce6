"""Strategies: built-in ones, users' files, entry points; and their old code, from the archive.

Why: ADR 6, 22.
"""

import ast
import functools
import importlib.util
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import projections.strategies as product
from infra.process.signals import Foreign, note_interrupts
from infra.strategies.archive import ArchiveError, Kept, keep, keep_sources, kept
from infra.strategies.isolated import isolated
from infra.strategies.sources import Sources, StrategyFileError, read_sources
from projections.strategies import BUILT_IN, BaseStrategy
from projections.strategies.code import (
    CompiledCode,
    PandasCode,
    StrategyCode,
    StrategyCompileError,
    error_text,
)
from projections.strategies.generate import Author, code_hash, module_text, source_module
from projections.strategies.generated import Sharing
from projections.strategies.loops import loop_text
from projections.strategies.own_check import check_own_blocks
from projections.strategies.parameters import StrategyDefinitionError
from projections.strategies.sharing import shared

logger = logging.getLogger(__name__)
ENTRY_POINTS = "tcpdashboard.strategies"


class UnknownStrategyError(LookupError):
    """No strategy of this name; the message lists those that exist and those that are broken."""


class Strategies:
    """All strategies by name, and by name and code hash. Compiles on the first step, not before."""

    def __init__(self, kernels_dir: Path) -> None:
        self.kernels_dir = kernels_dir
        self._latest: dict[str, StrategyCode] = {}
        self._sources: dict[str, Sources] = {}
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

    def sources(self, code: StrategyCode) -> Sources:
        """The files of a strategy as it stands now."""
        return self._sources[code.name]

    def get(self, name: str, code_hash: str | None = None) -> StrategyCode | None:
        """The strategy with this code, from the archive where it has changed since; None where it is unknown.

        What is unknown is told of once. Archived code that does not load any more is listed in `broken`.
        """
        code = self._latest.get(name)
        if code_hash is None or (code is not None and code.code_hash == code_hash):
            return code
        if code_hash not in self._archived:
            self._archived[code_hash] = None
            try:
                self._archived[code_hash] = _unarchived(self.kernels_dir, kept(self.kernels_dir, code_hash))
            except StrategyFileError as error:
                self.broken.append(error)
            except ArchiveError as error:
                logger.warning(
                    "strategy %s: code with hash %s is neither today's nor in the archive %s: %s",
                    name, code_hash, self.kernels_dir, error,
                )  # fmt: skip
        code = self._archived[code_hash]
        return code if code is not None and code.name == name else None

    def add(self, file: Path) -> None:
        """Every strategy class of a file; a broken file is listed in `broken` and adds none."""
        found: dict[str, StrategyCode] = {}
        try:
            sources = self._read(file)
            for cls in _classes(self.kernels_dir, sources):
                name = cls.spec.name
                if name in self._latest or name in found:
                    raise _at_class(sources, cls, f"there is already a strategy {name!r}")
                _check_own_blocks(sources, cls)
                found[name] = _code(self.kernels_dir, sources, cls)
        except StrategyFileError as error:
            self.broken.append(error)
        else:
            self._latest |= found
            self._sources |= dict.fromkeys(found, sources)

    @staticmethod
    def _read(file: Path) -> Sources:
        try:
            return read_sources(file)
        except OSError as error:
            raise StrategyFileError(str(file), 1, f"cannot be read: {error}") from error


def load_strategies(kernels_dir: Path, files: Sequence[Path] = ()) -> Strategies:
    """Built-in strategies, those of installed packages by entry point, and those of these files."""
    note_interrupts()
    strategies = Strategies(kernels_dir)
    importlib.invalidate_caches()
    folder = Path(product.__path__[0])
    for name in BUILT_IN:
        strategies.add(folder / f"{name}.py")
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            strategies.add(_module_file(entry.module))
        except ImportError as error:
            reason = f"the entry point {entry.name} of {ENTRY_POINTS} cannot be read: {error}"
            strategies.broken.append(StrategyFileError(entry.value, 1, reason))
    for file in files:
        strategies.add(file)
    return strategies


def _module_file(name: str) -> Path:
    """The file of a module, without importing it. Raises ImportError."""
    with Foreign():
        try:
            spec = importlib.util.find_spec(name)
        except BaseException as error:  # the packages above it are imported
            raise ImportError(error_text(error)) from error
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no module {name}")
    return Path(spec.origin)


# ---------------------------------------------------------------- the author's classes


def _classes(kernels_dir: Path, sources: Sources) -> list[type[BaseStrategy]]:
    module = _imported(kernels_dir, sources)
    found = [
        value
        for value in dict.fromkeys(v for v in vars(module).values() if isinstance(v, type))
        if issubclass(value, BaseStrategy) and value.__module__ == module.__name__
    ]
    runnable = [c for c in found if c.spec.compiled or c.process_data is not BaseStrategy.process_data]
    if not runnable:
        raise _at(sources, reason="there is no BaseStrategy class with signal or process_data")
    return runnable


def _imported(kernels_dir: Path, sources: Sources) -> ModuleType:
    """The author's module, from copies of all the files, so that old and new code stand side by side."""
    folder = keep_sources(kernels_dir, sources)
    with Foreign():
        try:
            modules = isolated(sources, folder)
            _settle_helpers(modules)
        except BaseException as error:
            raise _failed(sources, folder, error) from error
    return modules[0]


def _failed(sources: Sources, folder: Path, error: BaseException) -> StrategyFileError:
    """An error at the last line of the author's files that it went through."""
    reason = error_text(error).replace(f"{source_module(sources.hash)}.", "")
    if isinstance(error, SyntaxError) and error.filename:
        frames = [(error.filename, error.lineno or 1)]
    else:
        frames = [(f.filename, f.lineno or 1) for f in traceback.extract_tb(error.__traceback__)]
    paths = {str(folder / path): path for path in sources.files}
    passed = [(paths[file], line) for file, line in frames if file in paths]
    return _at(sources, *(passed or [(sources.main, 1)])[-1], reason=reason)


def _at(sources: Sources, path: str = "", line: int = 1, *, reason: str) -> StrategyFileError:
    where = path or sources.main
    return StrategyFileError(sources.origins.get(where, where), line, reason)


def _settle_helpers(modules: Sequence[ModuleType]) -> None:
    """Give the author's compiled functions the step's options, or they take those of their first caller."""
    found = {id(value): (name, value) for module in modules for name, value in vars(module).items()}
    wanted = {"error_model": "numpy", "fastmath": False, "nogil": True}
    for name, value in found.values():
        options = getattr(value, "targetoptions", None)
        if isinstance(options, dict) and hasattr(value, "recompile"):
            if options.get("fastmath") or options.get("parallel"):
                raise ValueError(f"{name} has fastmath or parallel: its results are not repeatable")
            if not wanted.items() <= options.items():
                options |= wanted
                value.recompile()


def _check_own_blocks(sources: Sources, cls: type[BaseStrategy]) -> None:
    with Foreign():
        try:
            check_own_blocks(cls.spec)
        except StrategyDefinitionError as error:
            raise _at_class(sources, cls, str(error)) from None
        except BaseException as error:
            raise _at_class(sources, cls, error_text(error)) from error


def _at_class(sources: Sources, cls: type, reason: str) -> StrategyFileError:
    """An error at the line where the class stands."""
    for node in ast.walk(sources.texts[sources.module].tree):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return _at(sources, line=node.lineno, reason=reason)
    return _at(sources, reason=reason)


# ---------------------------------------------------------------- the generated module


def _code(kernels_dir: Path, sources: Sources, cls: type[BaseStrategy]) -> StrategyCode:
    """Today's code of a class, written to the archive."""
    packages = ("numba", "llvmlite", "numpy") if cls.spec.compiled else ("numpy", "pandas")
    versions = {package: metadata.version(package) for package in packages} | dict(sources.versions)
    author = Author(cls.__name__, sources.module, sources.hashes, sources.absent, versions)
    text = module_text(cls.spec, author, kernels_source())
    keep(kernels_dir, text)
    modules = _Modules(kernels_dir, code_hash(text), sources.main)
    return _assembled(cls, code_hash(text), cls.spec.state_size, modules, cls.spec.lookback)


def _assembled(
    cls: type[BaseStrategy],
    hash_: str,
    state_size: int,
    modules: "_Modules",
    reads: Callable[[Mapping[str, Any]], int],
) -> StrategyCode:
    spec = cls.spec
    file = str(sys.modules[cls.__module__].__file__)  # under which it was compiled
    common = (cls, hash_, spec.name, spec.parameters, spec.value_names)
    if spec.compiled:
        return CompiledCode(
            *common, state_size, file, Foreign, modules.step, modules.loops, modules.sharing, reads
        )
    return PandasCode(*common, 0, file, Foreign)


def _unarchived(kernels_dir: Path, code: Kept) -> StrategyCode:
    """Code from the archive. Raises StrategyFileError where it does not load any more."""
    cls = getattr(_imported(kernels_dir, code.sources), code.head.class_)
    modules = _Modules(kernels_dir, code.hash, code.sources.main)
    # the archived module says itself how much state it keeps and how far it reads: today's blocks may differ
    return _assembled(cls, code.hash, code.head.state_size, modules, lambda p: modules.step().lookback(p))


@functools.cache
def kernels_source() -> str:
    """The text of the blocks' arithmetic, which goes into the generated modules."""
    files = [Path(product.__path__[0]) / f"{name}.py" for name in ("kernels", "kernels_of_bars")]
    return "\n\n".join(file.read_text(encoding="utf-8") for file in files)


class _Modules(NamedTuple):
    """The generated modules of a code in the archive; `main` is the path of the author's file."""

    kernels_dir: Path
    code_hash: str
    main: str

    def step(self) -> Any:
        return _module(self.kernels_dir / f"{self.code_hash}.py", self.main)

    def loops(self) -> Any:
        text = loop_text((self.kernels_dir / f"{self.code_hash}.py").read_text(encoding="utf-8"))
        return _module(keep(self.kernels_dir / "loops", text), self.main)

    def sharing(self) -> Sharing | None:
        cut = shared((self.kernels_dir / f"{self.code_hash}.py").read_text(encoding="utf-8"))
        if cut is None:
            return None
        module: Any = _module(keep(self.kernels_dir / "loops", cut.text), self.main)
        columns = tuple(getattr(module, f"column_{k}") for k in range(len(cut.lines)))
        return Sharing(cut.lines, columns, module.changes)


def _module(file: Path, main: str) -> ModuleType:
    loaded = _loaded(file, main)
    if isinstance(loaded, StrategyCompileError):
        raise StrategyCompileError(*loaded.args)
    return loaded


@functools.cache
def _loaded(file: Path, main: str) -> ModuleType | StrategyCompileError:
    """Import a generated module; numba compiles its entry or has it cached. A failure is kept too.

    `main`: the path of the author's file.
    """
    from numba.core.errors import NumbaError  # noqa: PLC0415 - a third of a second, for those who step

    name = f"tcpdashboard_kernel_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with Foreign():
        try:
            spec.loader.exec_module(module)
        except NumbaError as error:
            del sys.modules[name]
            return StrategyCompileError(_compile_reason(main, str(error)))
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception):  # a full disk, say: not the author's fault
                raise
            return StrategyCompileError(error_text(error))
    return module


def _compile_reason(main: str, text: str) -> str:
    """numba's reason and the line in the author's file; without paths, since it gets recorded."""
    said = (line.strip() for line in text.splitlines())
    reason = next((s for s in said if s and not s.startswith("Failed in nopython mode")), "no reason given")
    lines = re.findall(rf'{re.escape(Path(main).name)}", line (\d+)', text)
    return f"line {lines[0]}: {reason}" if lines else reason
