"""The text of a generated module that calls blocks, and the functions of blocks over other blocks.

A block over another one is a function with a loop. It steps the inner block anew over the last values that
count, from the state before them, which is all that is kept: so a bot holds a few floats, however long the
window, and the outer block reads numbers by index, as it reads prices. A block that depends on its window
alone begins there from nothing; one that fades goes on from its own state.

Why: ADR 36.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from projections.strategies.blocks import COLUMNS, Argument, Block, Indicator, Number

HEAD = """import numpy as np

nested = njit(**exact, _nrt=True)
"""


class Row(NamedTuple):
    """Where a step is: the candles, the index of the last, how many were seen, and when candles end."""

    values: str = "values"
    i: str = "i"
    seen: str = "seen"
    ends: str = "ends"


STEP = Row()


class Calls:
    """Calls of these indicators, and the functions of those that are over others."""

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        self._names: dict[Indicator, str] = {}
        for one in (one for indicator in indicators for one in indicator.chain() if one.inner):
            self._names.setdefault(replace(one, output=""), f"over_{len(self._names)}")

    def call(self, indicator: Indicator, outputs: list[str], state: list[str], row: Row = STEP) -> str:
        """`<outputs>, <state> = <block>(values, i, seen, <arguments>, <state>)`."""
        if indicator.output:
            outputs = [outputs[0] if name == indicator.output else "_" for name in indicator.block.outputs]
        over = self._names.get(replace(indicator, output=""))
        if over is None:
            return _step(indicator, outputs, state, row, row.i)
        given = [row.values, *([row.ends] if indicator.timed else []), row.i, row.seen, "p", *state]
        return f"{', '.join(outputs + state)} = {over}({', '.join(given)})"

    def functions(self) -> Iterator[str]:
        """The text of the functions, the inner ones first."""
        yield from [HEAD] if self._names else []
        for indicator, name in self._names.items():
            assert indicator.inner is not None
            yield self._function(name, indicator, indicator.inner)

    def _function(self, name: str, indicator: Indicator, inner: Indicator) -> str:
        block = indicator.block
        outputs = [f"x{k}" for k in range(len(block.outputs) or 1)]
        kept = [f"s{k}" for k in range(indicator.state_size)]
        before, own = kept[: inner.state_size], kept[inner.state_size :]
        moving = [f"u{k}" for k in range(len(before))]
        begin = [*(f"{x} = NAN" for x in outputs), *_moved(moving, before)]
        each, last = list[str](), list[str]()
        if block.fades:
            here = Row("window", "count - 1", f"int({own[0]})")
            last = [f"{own[0]} += 1.0", _step(indicator, outputs, own[1:], here, "i")]
            last = ["if count > 0:", *_indented(4, last)]
        else:
            own = [f"t{k}" for k in range(block.state_size)]
            begin += [f"{t} = 0.0" for t in own]
            each = [_step(indicator, outputs, own, Row("window", "count - 1", "count"), "k")]
        keep = [f"if k == i - rows + 1: {line}" for line in _moved(before, moving)]
        ends = "ends, " if indicator.timed else ""
        lines = [
            "@nested",
            f"def {name}(values, {ends}i, seen, {', '.join(['p', *kept])}):",
            f'    """{block.name} over {inner.block.name}, whose state is that before its last values."""',
            f"    rows = {total(indicator.rows, 'p.{}')}",
            "    window = np.empty((rows, 1))",
            "    count = 0",
            *_indented(4, begin),
            "    for k in range(i - min(seen, rows) + 1, i + 1):",
            *_indented(8, [self.call(inner, ["value"], moving, Row(i="k", seen="seen - i + k")), *keep]),
            "        if count > 0 or value == value:",
            "            window[count, 0] = value",
            "            count += 1",
            *_indented(12, each),
            *_indented(4, last),
            f"    return {', '.join(outputs + kept)}",
            "",
        ]
        return "\n".join(lines)


def _indented(by: int, lines: Iterable[str]) -> list[str]:
    return [" " * by + line for line in lines]


def _moved(to: list[str], of: list[str]) -> list[str]:
    return [f"{', '.join(to)} = {', '.join(of)}"] if to else []


def _step(indicator: Indicator, outputs: list[str], state: list[str], row: Row, end: str) -> str:
    arguments = [
        _argument(kind, given, f"{row.ends}[{end}]")
        for kind, given in zip(indicator.block.arguments, indicator.arguments, strict=True)
    ]
    where = [row.values, row.i, row.seen]
    return (
        f"{', '.join(outputs + state)} = {called(indicator.block)}({', '.join([*where, *arguments, *state])})"
    )


def called(block: Block) -> str:
    """The name of its function in the module."""
    return f"own_{block.name}" if block.own else block.name


def _argument(kind: str, given: Argument, end: str) -> str:
    if isinstance(given, Indicator):
        return "0"
    if kind == "column":
        return str(COLUMNS.index(str(given)))
    if kind == "end":
        return end
    return f"p.{given}" if isinstance(given, str) else repr(given)


def total(windows: tuple[tuple[Number, ...], int], parameter: str) -> str:
    """A sum of windows and a number; `parameter` is the form of one that a parameter holds."""
    given, more = windows
    terms = [parameter.format(w) if isinstance(w, str) else str(w) for w in given or (0,)]
    return " + ".join([*terms, str(more)])
