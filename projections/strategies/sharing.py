"""From the text of a generated module to that of its third one: what a sweep shares between its sets.

The second module steps one set over a history. Here each line of `step` that computes an indicator is a loop
of its own, over all the sets of arguments that it is asked for; what comes behind them, `signal` most of all,
is a loop over these columns, for each set of parameters. It is loaded by sweeps alone.

Why: ADR 33.
"""

import ast
import re
from typing import NamedTuple

from projections.strategies.code import StrategyCompileError
from projections.strategies.generate import LIVE, code_hash
from projections.strategies.generated import Line

COLUMN = '''

@njit("void(f8[:, ::1], i8, i8, i8[::1], f8[:, ::1], f8[:, ::1], f8[:, ::1])", **entered)
def column_{number}(values, first, last, begins, parameters, state, column):
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

@njit(
    "i8(f8[:, ::1], i8, i8, i8, i8[::1], i8[:, ::1], f8[:, ::1], f8[::1], i8[:, ::1], f8[:, ::1], i8[::1],"
    "{kinds} i8[::1], f8[::1])", **entered
)
def changes(
    values, first, last, start, begins, which, parameters, positions, bars, targets, counts,
    {columns}at, fault,
):
    """The sets from `start` on, each from the candle of `begins` on: where its target changes, and to what.

    Returns the set where it ended, at a target that is none.
    """
    for b in range(start, begins.shape[0]):
        at[0] = b
        p = {parameters}
        {rows}
        position = positions[b]
        count = 0
        for i in range(max(first, begins[b]), last):
            at[1] = i
            {values}
            {lines}
            wanted = {signal}
            if wanted != position:
                if not abs(wanted) <= 1.0:
                    fault[0] = wanted
                    return b
                bars[b, count] = i
                targets[b, count] = wanted
                count += 1
                counts[b] = count
            position = wanted
        positions[b] = position
    return begins.shape[0]
'''


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
    steps = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "step"]
    if not mark or parameters is None or not steps:
        raise StrategyCompileError("its code holds no step that this release can loop over a history")
    cut = _cut(steps[0])
    if cut is None:
        return None
    lines, others, signal = cut
    given = parameters[1]
    columns = "".join(_column(k, line, given) for k, line in enumerate(lines))
    places = [(k, place, name) for k, line in enumerate(lines) for place, name in enumerate(line.outputs)]
    changes = CHANGES.format(
        kinds=" f8[:, ::1]," * len(lines),
        columns="".join(f"c{k}, " for k in range(len(lines))),
        parameters=given,
        rows="\n        ".join(f"r{k} = which[b, {k}] * {len(line.outputs)}" for k, line in enumerate(lines)),
        values="\n            ".join(
            f"{name} = c{k}[r{k} + {place}, i - first]" for k, place, name in places
        ),
        lines="\n            ".join(others),
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


def _cut(step: ast.FunctionDef) -> tuple[list[_Call], list[str], str] | None:
    """Its lines that compute indicators, those behind them, and the signal."""
    calls: list[_Call] = []
    others: list[str] = []
    for node in step.body[1:]:
        if isinstance(node, ast.Return):
            assert isinstance(node.value, ast.Tuple)
            return calls, others, ast.unparse(node.value.elts[0])
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            return None
        call = _call(node.targets[0], node.value)
        if call is not None:
            calls.append(call)
        elif "seen" in {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}:
            return None
        else:
            others.append(ast.unparse(node))
    return None


def _call(target: ast.expr, call: ast.Call) -> _Call | None:
    """None for a line that is no indicator of the candles and of its own state alone."""
    given = [ast.unparse(argument) for argument in call.args]
    if given[:3] != ["values", "i", "seen"]:
        return None
    names = tuple(ast.unparse(e) for e in (target.elts if isinstance(target, ast.Tuple) else [target]))
    state = tuple(name for name in given[3:] if name in names)
    plain = [a for a in call.args[3:] if not (isinstance(a, ast.Name) and a.id in state)]
    arguments = tuple(a.attr for a in plain if isinstance(a, ast.Attribute))
    if any(not isinstance(a, ast.Attribute | ast.Constant | ast.UnaryOp) for a in plain):
        return None
    outputs = tuple(name for name in names if name not in state)
    shifted = [*given[:2], "i - begins[u] + 1", *given[3:]]
    text = f"{ast.unparse(call.func)}({', '.join(shifted)})"
    return _Call(", ".join(names), text, arguments, outputs, state)


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
