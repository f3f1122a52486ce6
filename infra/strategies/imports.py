"""What Python text imports, read without running it, and what it reaches so.

Why: ADR 22.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LOADERS = ("imp", "importlib.machinery", "importlib.util", "pkgutil", "runpy", "zipimport")
"""Modules that load code from where no import statement says."""
HARMLESS = ("metadata", "resources")
"""Of `importlib`: they load no code."""
OF_TEXT = ("compile", "eval", "exec")
OF_BUILTINS = ("__import__", *OF_TEXT)


@dataclass(frozen=True)
class Text:
    """A module that was not run. `name` is what it is imported by."""

    name: str
    file: Path
    data: bytes

    @property
    def is_package(self) -> bool:
        return self.file.name == "__init__.py"

    @property
    def package(self) -> str:
        """What its relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        """Raises SyntaxError and what else Python raises of text that is none of its own."""
        return ast.parse(self.data, str(self.file))

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of `tree`."""
        return list(ast.walk(self.tree))

    @cached_property
    def ways(self) -> "_Ways":
        return _Ways(self.nodes)


def reach(names: Iterable[str], find: Callable[[str], Text | None]) -> dict[str, Text]:
    """What `find` has of these modules, of all that they import in turn, and of the packages above them."""
    found: dict[str, Text] = {}
    asked: set[str] = set()
    waiting = list(names)
    while waiting:
        parts = waiting.pop().split(".")
        above = {".".join(parts[:n]): None for n in range(1, len(parts) + 1)}
        for name in [name for name in above if name not in asked]:
            asked.add(name)
            text = find(name)
            if text is not None:
                found[name] = text
                waiting += imports(text)
    return found


def imports(text: Text) -> Iterator[str]:
    """The modules that it may import, wherever in it; of `from a import b` it is `a.b`, which may be none."""
    for node in text.nodes:
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                start = _absolute("." * level + (module or ""), text.package)
                yield from (".".join(filter(None, (start, alias.name))) for alias in aliases)
            case ast.Call() if (name := text.ways.literal(node, text)) is not None:
                yield name
            case ast.Assign(targets=[ast.Name(id="__all__")]) if text.is_package:
                # modules that a star may import
                told = (n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant))
                yield from (f"{text.name}.{name}" for name in told if isinstance(name, str))


def hidden(text: Text) -> Iterator[tuple[int, str]]:
    """The line and the words of each way to run further code that does not show which."""
    shown = {id(n.func) for n in text.nodes if isinstance(n, ast.Call) and text.ways.literal(n, text)}
    for node in text.nodes:
        if id(node) in shown:
            continue
        for name in text.ways.hidden_by(node):
            yield getattr(node, "lineno", 1), name


class _Ways:
    """The names by which a text calls importlib and its own."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self.importlib: set[str] = set()
        self.functions = {"__import__": "__import__"}
        bound: set[str] = set()
        for node in nodes:
            match node:
                case ast.Import(names=aliases):
                    for alias in aliases:
                        bound.add(alias.asname or alias.name)
                        if alias.name.partition(".")[0] == "importlib" and not alias.asname:
                            self.importlib.add("importlib")
                        elif alias.name == "importlib":
                            self.importlib.add(str(alias.asname))
                case ast.ImportFrom(module=module, names=aliases):
                    bound |= {alias.asname or alias.name for alias in aliases}
                    if module == "importlib":
                        called = (a.asname or a.name for a in aliases if a.name == "import_module")
                        self.functions |= dict.fromkeys(called, "import_module")
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    bound.add(name)
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    bound.add(name)
                case _:
                    pass
        self.of_text = set(OF_TEXT) - bound

    def literal(self, call: ast.Call, text: Text) -> str | None:
        """The module that `import_module` or `__import__` is told here by a literal."""
        function = self._function(call.func)
        match call:
            case (
                ast.Call(args=[ast.Constant(value=str(name))], keywords=[])
                | ast.Call(args=[], keywords=[ast.keyword(arg="name", value=ast.Constant(value=str(name)))])
            ):
                return name if function and not name.startswith(".") else None
            case ast.Call(args=[ast.Constant(value=str(name)), ast.Name(id="__package__")], keywords=[]):
                pass
            case ast.Call(
                args=[ast.Constant(value=str(name))],
                keywords=[ast.keyword(arg="package", value=ast.Name(id="__package__"))],
            ):
                pass
            case _:
                return None
        return _absolute(name, text.package) if function == "import_module" else None

    def _function(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name):
                return self.functions.get(name)
            case ast.Attribute(value=ast.Name(id=name), attr="import_module") if name in self.importlib:
                return "import_module"
        return None

    def hidden_by(self, node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names=aliases):
                yield from (a.name for a in aliases if _is_loader(a.name))
            case ast.ImportFrom(module="importlib", names=aliases):
                yield from (
                    f"importlib.{a.name}" for a in aliases if a.name not in (*HARMLESS, "import_module")
                )
            case ast.ImportFrom(module=str(module), level=0) if _is_loader(module):
                yield module
            case ast.Name(id=name, ctx=ast.Load()) if name in self.functions:
                yield self.functions[name]
            case ast.Name(id=name, ctx=ast.Load()) if name in self.of_text:
                yield name
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in self.importlib:
                if attribute not in HARMLESS:
                    yield f"importlib.{attribute}"
            case ast.Attribute(value=ast.Name(id="builtins"), attr=attribute) if attribute in OF_BUILTINS:
                yield attribute
            case _:
                pass


def _is_loader(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in LOADERS)


def _absolute(name: str, package: str) -> str:
    """A name that may begin with dots, from the package in which it is written; "" is the outermost."""
    plain = name.lstrip(".")
    level = len(name) - len(plain)
    if not level:
        return name
    above = package.split(".") if package else []
    return ".".join(filter(None, (*above[: len(above) + 1 - level], plain)))
