"""A strategy's files as modules of their own, beside others of the same names: today's, old, and Python's.

They are the submodules of a package that is named by the hash of all of them. An import within them that says
the name of one of them gives that one; one of anything that they do not name in an import is refused.

Why: ADR 22.
"""

import builtins
import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec
from importlib.util import resolve_name, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from infra.strategies.imports import Text
from infra.strategies.sources import Sources
from projections.strategies.generate import source_module


def isolated(sources: Sources, folder: Path) -> list[ModuleType]:
    """The modules of these files, of which copies stand in `folder`: the author's first.

    Raises whatever they raise; none of them is then loaded.
    """
    package = _Package.of(sources, folder)
    try:
        main = importlib.import_module(f"{package.name}.{sources.module}")
    except BaseException:
        package.forget()
        raise
    return [main, *(module for module in package.loaded() if module is not main)]


class _Package:
    """The package of one strategy's files, with the `__import__` that they see."""

    known: dict[str, "_Package"] = {}  # noqa: RUF012 - as `sys.modules`, whose names these are

    def __init__(self, sources: Sources, folder: Path) -> None:
        self.name = source_module(sources.hash)
        self.sources, self.folder = sources, folder
        self.builtins = vars(builtins) | {"__import__": self._import}

    @classmethod
    def of(cls, sources: Sources, folder: Path) -> "_Package":
        name = source_module(sources.hash)
        if name not in cls.known:
            cls.known[name] = cls(sources, folder)
        return cls.known[name]

    def loaded(self) -> list[ModuleType]:
        return [module for name, module in list(sys.modules.items()) if name.startswith(f"{self.name}.")]

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]
        del self.known[self.name]

    def spec(self, name: str) -> ModuleSpec | None:
        """How a module of it is loaded."""
        inner = name.partition(".")[2]
        text = self.sources.texts.get(inner)
        if text is not None:
            file, place = self.folder / text.file, [str(self.folder / text.file.parent)]
            loader = _Loader(text, file, self.builtins)
            return spec_from_file_location(
                name, file, loader=loader, submodule_search_locations=place if text.is_package else None
            )
        if inner and not any(module.startswith(f"{inner}.") for module in self.sources.texts):
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(self.folder.joinpath(*inner.split(".")))]
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` as these modules see it."""
        top = name.partition(".")[0]
        if level or _is_interpreters(top):
            return _told(self.name, name, globals, locals, fromlist, level)
        if top in self._mine:
            module = _told(self.name, f"{self.name}.{name}", globals, locals, fromlist, 0)
            return module if fromlist else sys.modules[f"{self.name}.{top}"]
        if top in self.sources.absent:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        if top not in self.sources.elsewhere and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is imported in a way that the strategy's files do not show", name=name)
        module = builtins.__import__(name, globals, locals, fromlist or (), 0)
        return self._importlib() if module is importlib else module

    @functools.cached_property
    def _mine(self) -> set[str]:
        return {name.partition(".")[0] for name in self.sources.texts}

    def _importlib(self) -> ModuleType:
        """`importlib`, whose `import_module` is that of these modules."""

        def import_module(name: str, package: str | None = None) -> ModuleType:
            whole = resolve_name(name, package)
            if whole.partition(".")[0] == self.name:
                return importlib.import_module(whole)
            return self._import(whole, fromlist=("__name__",))

        own: Any = ModuleType("importlib")
        vars(own).update(vars(importlib) | {"import_module": import_module})
        return own


def _told(package: str, name: str, *more: Any) -> ModuleType:
    """Import, and speak of the author's modules by their own names where one is missing."""
    try:
        return builtins.__import__(name, *more)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(f"{package}."):
            raise
        missing = error.name.removeprefix(f"{package}.")
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing) from None


def _is_interpreters(name: str) -> bool:
    """Whether Python takes a module from within itself, whatever files there are."""
    return BuiltinImporter.find_spec(name) is not None or FrozenImporter.find_spec(name) is not None


class _Loader(Loader):
    def __init__(self, text: Text, file: Path, names: dict[str, Any]) -> None:
        self._text, self._file, self._builtins = text, file, names

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the text that was hashed, whatever the file holds by now."""
        vars(module)["__builtins__"] = self._builtins
        exec(compile(self._text.data, str(self._file), "exec", dont_inherit=True), vars(module))  # noqa: S102 - the user's own strategy


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = _Package.known.get(fullname.partition(".")[0])
        return None if package is None else package.spec(fullname)


sys.meta_path.insert(0, _Finder())  # before the one that would read the folders
