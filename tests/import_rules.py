"""A kind of contract for import-linter: what a module may import is listed, all else breaks it.

A list of what is forbidden lets each new module through until somebody thinks of it; this one shuts it out.

Why: ADR 21.
"""

from collections import deque
from collections.abc import Iterable

import grimp
from importlinter import Contract, ContractCheck, fields, output


def within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


class AllowedImports(Contract):
    """`modules` may import one another and `may_import`; what these import in turn may be `indirectly` too.

    A name stands for the module or distribution and all below it. Whatever is imported runs the packages
    above it first, so what their `__init__` import counts as well.
    """

    modules = fields.ListField(subfield=fields.StringField())
    may_import = fields.ListField(subfield=fields.StringField())
    indirectly = fields.ListField(subfield=fields.StringField(), default=())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        inside = {name for name in graph.modules if within(name, self.modules)}
        missing = [name for name in self.modules if not any(within(module, [name]) for module in inside)]
        direct = [*self.modules, *self.may_import]
        further = [*direct, *self.indirectly]
        ways = {module: (module,) for name in sorted(inside) for module in run_by(name, graph)}
        waiting = deque(ways)
        refused: list[tuple[str, ...]] = []
        while waiting:
            importer = waiting.popleft()
            allowed = direct if importer in inside else further
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                if not within(imported, allowed):
                    refused.append((*ways[importer], imported))
                    continue
                for module in run_by(imported, graph):
                    if module not in ways:
                        ways[module] = (*ways[importer], module)
                        waiting.append(module)
        return ContractCheck(
            kept=not refused and not missing, metadata={"refused": refused, "missing": missing}
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        for name in check.metadata["missing"]:
            output.print_error(f"{name} is named by the contract and is no module")
        for way in check.metadata["refused"]:
            output.print_error(f"{' -> '.join(way)} is not allowed")


def run_by(name: str, graph: grimp.ImportGraph) -> list[str]:
    """What an import of this module runs: the packages above it, and itself."""
    parts = name.split(".")
    above = (".".join(parts[:n]) for n in range(1, len(parts)))
    return [*(package for package in above if package in graph.modules), name]
