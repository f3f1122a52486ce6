"""From the text of a generated module to that of its third one: what a sweep shares between its sets.

The second module steps one set over a history. Here each line of `step` that computes an indicator is a loop
of its own, over all the sets of arguments that it is asked for; what comes behind them, `signal` most of all,
is a loop over these columns, for each set of parameters. It is loaded by sweeps alone.

Why: ADR 33.
"""

import ast
import re
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from projections.strategies.code import StrategyCompileError
from projections.strategies.generate import LIVE, code_hash
from projections.strategies.generated import Line

COLUMN = '''

@njit("void(f8[:, ::1], i8[::1], i8, i8, i8[::1], f8[:, ::1], f8[:, ::1], f8[:, ::1])", **entered)
def column_{number}(values, ends, first, last, begins, parameters, state, column):
    """Candles `first` … `last` − 1 into `column`, for each row of `parameters` from that of `begins` on."""
    for u in range(begins.shape[0]):
        p = {parameters}
        {loads}
        for i in range(max(first, begins[u]), last):
            {targets} = {call}
            {outputs}
        {stores}
'''

CHANGES = '''

from numpy import float64, int64, uint64


@inlined
def asked(values, first, i, p, position{columns}):
    """The target after candle `i`."""
    row = uint64(i - first)
    {values}
    {lines}
    return {signal}


@inlined
def stays(values, first, i, count, p, position{columns}):
    """Whether no candle of so many from `i` on changes the target that stands, in any bit."""
    apart, stands = int64(0), float64(position).view(int64)
    for k in range(i, i + count):
        apart |= float64(asked(values, first, k, p, position{columns})).view(int64) ^ stands
    return apart == 0


@njit(
    "i8(f8[:, ::1], i8, i8, i8, i8, b1, i8[::1], i8[:, ::1], f8[:, ::1], f8[::1], i8[::1], f8[::1], i8[::1],"
    " i8[::1], f8[::1]{kinds})", **entered
)
def changes(
    values, first, last, start, stop, careful, begins, which, parameters, positions, bars, targets, rows, at,
    fault{arrays}
):
    """The sets `start` … `stop` − 1, each from the candle of `begins` on: where its target changes, to what.
    Those of set `b` stand in the rows `rows[b]` … `rows[b + 1]` − 1.

    Returns the set where it ended, at a target that is none. Many candles are asked at once, whether one of
    them changes the target that stands, where one does some of them; of a `careful` call each in its turn.
    """
    for b in range(start, stop):
        at[0] = b
        p = {parameters}
        {rows}
        position = positions[b]
        count = rows[b + 1] = rows[b]
        i = max(first, begins[b])
        some = alone = last if careful else i
        while i < last:
            if i >= some and i + {many} <= last:
                if stays(values, first, i, {many}, p, position{columns}):
                    i += {many}
                    continue
                some = i + {many}
            if i >= alone and i + {some} <= last:
                if stays(values, first, i, {some}, p, position{columns}):
                    i += {some}
                    continue
                alone = i + {some}
            at[1] = i
            wanted = asked(values, first, i, p, position{columns})
            i += 1
            if wanted != position:
                if not abs(wanted) <= 1.0:
                    fault[0] = wanted
                    return b
                bars[count] = at[1]
                targets[count] = wanted
                count += 1
                rows[b + 1] = count
                alone = last if careful else i
            position = wanted
        positions[b] = position
    return stop
'''
MANY, SOME = 32, 4
"""Candles that a set is asked at once: so many that the compiler takes vectors, and few around a change."""

Functions: TypeAlias = dict[str, ast.FunctionDef]
"""Those of a module, by name."""


class Shared(NamedTuple):
    """The third module's text, and the lines whose columns are shared."""

    text: str
    lines: tuple[Line, ...]


def shared(text: str) -> Shared | None:
    """What sets of a compiled strategy share, from the text of its first module; None where its step is of a
    form that cannot be cut so. Raises StrategyCompileError for a text without one."""
    before, mark, live = text.rpartition(LIVE)
    parameters = re.search(r"^        p = (Parameters\(.*\))$", live, re.MULTILINE)
    tree = ast.parse(before)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if not mark or parameters is None or "step" not in functions:
        raise StrategyCompileError("its code holds no step that this release can loop over a history")
    cut = _cut(functions["step"], functions)
    if cut is None:
        return None
    lines, others, signal = cut
    given = parameters[1]
    columns = "".join(_column(k, line, given) for k, line in enumerate(lines))
    places = [(k, place, name) for k, line in enumerate(lines) for place, name in enumerate(line.outputs)]
    changes = CHANGES.format(
        many=MANY,
        some=SOME,
        kinds=", f8[:, ::1]" * len(lines),
        arrays="".join(f", c{k}" for k in range(len(lines))),
        columns="".join(f", c{k}, r{k}" for k in range(len(lines))),
        parameters=given,
        rows="\n        ".join(f"r{k} = which[b, {k}] * {len(line.outputs)}" for k, line in enumerate(lines)),
        values="\n    ".join(f"{name} = c{k}[r{k} + {place}, row]" for k, place, name in places),
        lines="\n    ".join(others),
        signal=signal,
    )
    head = f"{before.rstrip()}\nCODE_HASH = {code_hash(text)!r}\n"
    told = tuple(Line(line.arguments, len(line.outputs), len(line.state)) for line in lines)
    return Shared(head + columns + changes, told)


class _Call(NamedTuple):
    """An indicator's line of `step`, as text, and the names in it."""

    targets: str
    call: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    state: tuple[str, ...]


def _cut(step: ast.FunctionDef, functions: Functions) -> tuple[list[_Call], list[str], str] | None:
    """Its lines that compute indicators, those behind them, and the signal; None where others need state."""
    calls: list[_Call] = []
    others: list[str] = []
    whole = {argument.arg for argument in step.args.args} - {"values", "i", "p", "position"}
    *body, end = step.body[1:]
    for node in (part for line in body for part in _parted(line, functions)):
        call = _call(node, functions)
        if call is not None:
            calls.append(call)
        elif _names([node]) & whole:
            return None
        else:
            others.append(ast.unparse(node))
    if not isinstance(end, ast.Return) or not isinstance(end.value, ast.Tuple):
        return None
    return calls, others, ast.unparse(end.value.elts[0])


def _parted(line: ast.stmt, functions: Functions) -> list[ast.stmt]:
    """A line that calls a block as the two calls that the block is made of, the second without state."""
    if not isinstance(line, ast.Assign) or not isinstance(line.value, ast.Call):
        return [line]
    block = functions.get(ast.unparse(line.value.func))
    match block.body[1:] if block else []:
        case [
            ast.Assign(targets=[ast.Tuple(kept)], value=ast.Call() as first),
            ast.Assign(targets=[ast.Tuple(outputs)], value=ast.Call() as second),
            ast.Return(value=ast.Tuple(returned)),
        ] if _begins(first) and not _begins(second):
            pass
        case _:
            return [line]
    assert block is not None
    names = dict(zip((a.arg for a in block.args.args), map(ast.unparse, line.value.args), strict=True))
    targets = _targets(line)
    state = dict(zip(map(ast.unparse, returned[len(outputs) :]), targets[len(outputs) :], strict=True))
    if _names(second.args) & {"values", "i", "seen", "ends", *state}:
        return [line]
    names |= {one: f"{targets[0]}_{one}" for one in map(ast.unparse, kept) if one not in state}
    between = [{**names, **state}[ast.unparse(one)] for one in kept]
    return [_line(between, first, names), _line(targets[: len(outputs)], second, names)]


def _begins(call: ast.Call) -> bool:
    """Whether it is told the candles and where in them it is."""
    return [ast.unparse(a) for a in call.args if ast.unparse(a) != "ends"][:3] == ["values", "i", "seen"]


def _line(targets: list[str], call: ast.Call, names: dict[str, str]) -> ast.stmt:
    given = [names.get(ast.unparse(a), ast.unparse(a)) for a in call.args]
    return ast.parse(f"{', '.join(targets)} = {ast.unparse(call.func)}({', '.join(given)})").body[0]


def _targets(line: ast.Assign) -> list[str]:
    target = line.targets[0]
    return [ast.unparse(one) for one in (target.elts if isinstance(target, ast.Tuple) else [target])]


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def _call(line: ast.stmt, functions: Functions) -> _Call | None:
    """None for a line that is no indicator of the candles, of parameters and of its own state alone."""
    if not isinstance(line, ast.Assign) or not isinstance(line.value, ast.Call) or not _begins(line.value):
        return None
    names, call = _targets(line), line.value
    given = [ast.unparse(a) for a in call.args]
    state = tuple(name for name in given if name in names)
    if _names(call.args) - {"values", "ends", "i", "seen", "p", *state}:
        return None
    arguments = _parameters([call], functions)
    outputs = tuple(name for name in names if name not in state and name != "_")
    shifted = ["i - begins[u] + 1" if name == "seen" else name for name in given]
    text = f"{ast.unparse(call.func)}({', '.join(shifted)})"
    return _Call(", ".join(names), text, arguments, outputs, state)


def _parameters(nodes: Iterable[ast.AST], functions: Functions) -> tuple[str, ...]:
    """The parameters that it depends on, also in the functions that are handed all of them."""
    found: dict[str, None] = {}
    for n in (n for node in nodes for n in ast.walk(node)):
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "p":
            found[n.attr] = None
        elif isinstance(n, ast.Call) and "p" in map(ast.unparse, n.args):
            found |= dict.fromkeys(_parameters([functions[ast.unparse(n.func)]], functions))
    return tuple(found)


def _column(number: int, line: _Call, parameters: str) -> str:
    return COLUMN.format(
        number=number,
        parameters=parameters.replace("parameters[b, ", "parameters[u, "),
        loads="\n        ".join(f"{s} = state[u, {k}]" for k, s in enumerate(line.state)),
        targets=line.targets,
        call=line.call,
        outputs="\n            ".join(
            f"column[u * {len(line.outputs)} + {k}, i - first] = {x}" for k, x in enumerate(line.outputs)
        ),
        stores="\n        ".join(f"state[u, {k}] = {s}" for k, s in enumerate(line.state)),
    )
