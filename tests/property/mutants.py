"""Mistakes put into the backtest, and the same into the fold: parity must find each.

Run by `python -m tests.property.mutants`; a line a mutant, exit code 1 where one is not found. Each lives in
a process of its own: a mutant of compiled code is compiled there, and whatever may call it, into a cache that
is thrown away.
"""

import ast
import importlib.abc
import importlib.util
import inspect
import os
import pickle
import sys
import tempfile
import textwrap
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numba

from infra.strategies.registry import Strategies, load_strategies
from tests.property.worlds import World

WORLDS = 60
FOUND, NOT_FOUND = "found", "NOT FOUND"


class Mutant(NamedTuple):
    """In a module of the backtest, or in a function of the fold, `old` becomes `new`."""

    what: str
    where: str
    old: str
    new: str


BACKTEST = [
    Mutant(
        "a fee is rounded down",
        "money",
        "share(w, amount, m[FEE], m[FEE_BASE], True)",
        "share(w, amount, m[FEE], m[FEE_BASE], False)",
    ),
    Mutant(
        "an entry is rounded for the bot",
        "money",
        "entry = above if rises(m, 1 if buy else -1) else down",
        "entry = down if rises(m, 1 if buy else -1) else above",
    ),
    Mutant(
        "slippage of a purchase is rounded down",
        "money",
        "base, step, 1, 1, True) * step",
        "base, step, 1, 1, False) * step",
    ),
    Mutant(
        "the smallest size is too small",
        "decide",
        "if abs(wanted) < max(m[MIN_SIZE], 1):",
        "if abs(wanted) <= max(m[MIN_SIZE], 1):",
    ),
    Mutant(
        "who holds may not close all",
        "decide",
        "if holds and abs(size) > closing(",
        "if holds and abs(size) >= closing(",
    ),
    Mutant(
        "a refused signal cancels an order that flattens",
        "account",
        "SUPERSEDED, executed != 0)",
        "SUPERSEDED, True)",
    ),
    Mutant("a bot compares while its order waits", "account", " or b.order == BY_SIGNAL:", ":"),
    Mutant("the row that closes fills before it closes", "account", ".place < end:", ".place <= end:"),
    Mutant(
        "nobody is ruined by a fill",
        "account",
        "worth != OVERFLOW and worth <= 0:",
        "worth != OVERFLOW and worth < -(10**15):",
    ),
    Mutant(
        "a trade of the decision's time does not fill",
        "waiting",
        'waiting["decided"][0] <= time[row]:',
        'waiting["decided"][0] < time[row]:',
    ),
    Mutant("late trades fill", "gather", "kind[folded.revising] |= BACKFILL", "kind[folded.revising] |= 0"),
]
FOLD = [
    Mutant(
        "a fee is rounded down",
        "money.fee",
        "-(-value(market, size, price, up=True) * market.fee // E8)",
        "value(market, size, price, up=True) * market.fee // E8",
    ),
    Mutant(
        "an entry is rounded for the bot",
        "money.trade",
        "up=_direction(market, signed) > 0",
        "up=_direction(market, signed) < 0",
    ),
    Mutant(
        "slippage of a purchase is rounded down",
        "money.slipped",
        "-(-price * (E8 + market.slippage) // (E8 * step)) * step",
        "price * (E8 + market.slippage) // (E8 * step) * step",
    ),
    Mutant(
        "the smallest size is too small",
        "decide._sized",
        "if abs(desired) < max(market.min_size, 1):",
        "if abs(desired) <= max(market.min_size, 1):",
    ),
    Mutant(
        "who holds may not close all",
        "decide.decide",
        "rules.holds and abs(decision.size) > closing",
        "rules.holds and abs(decision.size) >= closing",
    ),
    Mutant(
        "a refused signal cancels an order that flattens",
        "orders.signal",
        "flatten=decision.executed",
        "flatten=True",
    ),
    Mutant(
        "a bot compares while its order waits",
        "desk._resumed",
        "bot.order is not None and bot.order.reason == SIGNAL",
        "False",
    ),
    Mutant(
        "the row that closes fills what it decided",
        "matching.fill_waiting",
        "order.row + 1 if",
        "order.row if",
    ),
    Mutant("nobody is ruined by a fill", "matching._fill", "if worth <= 0:", "if worth < -(10**15):"),
    Mutant(
        "a trade of the decision's time does not fill",
        "matching._first_trade",
        "time[rows] >= decided",
        "time[rows] > decided",
    ),
    Mutant(
        "late trades fill",
        "tape.Tape.fold_rows",
        "kind[folded.revising] |= BACKFILL",
        "kind[folded.revising] |= 0",
    ),
]


class Unchecked(World):
    """A world of a wrong fold: its own checks would find what parity is to find."""

    def _check(self, event: Any) -> None:
        try:
            super()._check(event)
        except AssertionError:
            self.happened["unbalanced"] += 1

    def _balanced(self) -> None:
        """Nothing is asked."""


def lived(strategies: Strategies, kind: type[World] = World) -> Iterator[World]:
    for seed in range(WORLDS):
        world = kind(seed, strategies, Counter())
        world.live()
        yield world


def differing(worlds: Iterable[World], strategies: Strategies) -> str:
    """The first difference of these worlds, or that there is none."""
    from tests.parity import compared

    for number, world in enumerate(worlds):
        for bot_id, one in compared(world.journal, strategies, world.derived).items():
            if one.differs is not None:
                kind, at = one.differs.kind, one.differs.number
                return f"{FOUND} in world {number}, bot {bot_id}: {kind} {at}"
    return NOT_FOUND


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module of the backtest with a changed text.

    What is compiled after its imports, which alone can call it, is kept in `folder`, not beside the sources.
    """

    def __init__(self, mutant: Mutant, folder: str) -> None:
        self._name, self._mutant = f"projections.research.{mutant.where}", mutant
        self._folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._name:
            return None
        file = Path("projections/research") / f"{self._mutant.where}.py"
        return importlib.util.spec_from_file_location(name, file.resolve(), loader=self)

    def exec_module(self, module: ModuleType) -> None:
        file = module.__file__ or ""
        text = _replaced(Path(file).read_text(encoding="utf-8"), self._mutant)
        tree = ast.parse(text)
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, file, "exec"), vars(module))  # noqa: S102 - a text of ours
        numba.config.CACHE_DIR = self._folder  # type: ignore[attr-defined] - it is there
        exec(compile(text, file, "exec"), vars(module))  # noqa: S102 - a text of ours


def _replaced(text: str, mutant: Mutant) -> str:
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.where}: {mutant.old!r} stands there {text.count(mutant.old)} times")
    return text.replace(mutant.old, mutant.new)


def mutate_backtest(mutant: Mutant, worlds: Sequence[World], strategies: Strategies) -> str:
    with tempfile.TemporaryDirectory() as folder:
        sys.meta_path.insert(0, _Changed(mutant, folder))
        return differing(worlds, strategies)


def mutate_fold(mutant: Mutant, strategies: Strategies) -> str:
    module, *names = mutant.where.split(".")
    found: Any = importlib.import_module(f"projections.fold.{module}")
    space = vars(found)
    for name in names:
        found = getattr(found, name)
    text = _replaced(textwrap.dedent(inspect.getsource(found)), mutant)
    made: dict[str, Any] = {}
    exec(compile(text, module, "exec"), space, made)  # noqa: S102 - a text of ours
    found.__code__ = made[names[-1]].__code__
    return differing(lived(strategies, Unchecked), strategies)


def apart(work: Callable[[], str]) -> str:
    """What `work` says in a process of its own, which leaves nothing behind."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = work()
        except BaseException:  # noqa: BLE001 - told by the parent
            said = traceback.format_exc()
        os.write(writer, pickle.dumps(said[-4_000:]))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = str(pickle.loads(pipe.read()))  # noqa: S301 - of our own child
    os.waitpid(child, 0)
    return said


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        strategies = load_strategies(Path(folder))
        worlds = list(lived(strategies))
        told = {
            f"backtest: {one.what}": apart(lambda one=one: mutate_backtest(one, worlds, strategies))
            for one in BACKTEST
        }
        none = differing(worlds, strategies)  # from here on the backtest is loaded, as it is
        told |= {f"fold: {one.what}": apart(lambda one=one: mutate_fold(one, strategies)) for one in FOLD}
    for what, said in told.items():
        print(f"{what}: {said}")
    print(f"no mutant: {none}")
    return int(none != NOT_FOUND or any(not said.startswith(FOUND) for said in told.values()))


if __name__ == "__main__":
    sys.exit(main())
