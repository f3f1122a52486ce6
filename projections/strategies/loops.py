"""From the text of a generated module to that of its second one: what research loops over a history.

It holds the same blocks, signal and step, and its own loop in the place of the live step. So a new loop is
another file here, and the code of every running bot stays what it was. An archived text gives its loop too.

Why: ADR 29.
"""

import ast
import re

from projections.strategies.code import StrategyCompileError
from projections.strategies.generate import LIVE, code_hash

LOOP = '''

@njit("i8(f8[:, ::1], {ends_type}i8, i8, i8, {types})", **entered)
def loop(values, {ends}first, last, seen, {higher}parameters, state, position, targets, rows, fault):
    """Candles `first` … `last` − 1 for a bot that has seen `seen` before; returns where it ended."""
    p = {parameters}
    {loads}
    for i in range(first, last):
        fault[0] = i
        position, {outputs}{state} = step(values, {ends}i, seen + i - first + 1, {new}p, position, {state})
        if not abs(position) <= 1.0:
            fault[1] = position
            return i
        targets[i] = position
        {rows}
    {stores}
    return last
'''
TYPES = "f8[::1], f8[::1], f8, f8[::1], f8[:, ::1], f8[::1]"
"""Of the arguments that are not candles."""


def loop_text(text: str) -> str:
    """The second module of a compiled strategy, from the text of its first, which it names by its hash.

    Raises StrategyCompileError for a text of another form.
    """
    shared, mark, live = text.rpartition(LIVE)
    parameters = re.search(r"^        p = (Parameters\(.*\))$", live, re.MULTILINE)
    if not mark or parameters is None:
        raise StrategyCompileError("its code holds no step that this release can loop over a history")
    head = {
        node.targets[0].id: node.value
        for node in ast.parse(shared).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    state = [f"s{k}" for k in range(ast.literal_eval(head["STATE_SIZE"]))]
    outputs = [f"x{k}" for k in range(len(ast.literal_eval(head["VALUE_NAMES"])))]
    timed = "\ndef step(values, ends, " in shared
    higher = ast.literal_eval(head["HIGHER"]) if "HIGHER" in head else ()
    loop = LOOP.format(
        types="f8[:, ::1], i8[::1], i8[::1], " * len(higher) + TYPES,
        higher="".join(f"values_{t}, ends_{t}, upto_{t}, " for t in higher),
        new="".join(f"values_{t}, ends_{t}, upto_{t}[i], upto_{t}[i + 1], " for t in higher),
        ends="ends, " if timed else "",
        ends_type="i8[::1], " if timed else "",
        parameters=parameters[1].replace("parameters[b, ", "parameters["),
        loads="\n    ".join(f"{s} = state[{k}]" for k, s in enumerate(state)),
        outputs="".join(f"{name}, " for name in outputs),
        state=", ".join(state),
        rows="\n        ".join(f"rows[i, {k}] = {name}" for k, name in enumerate(outputs)),
        stores="\n    ".join(f"state[{k}] = {s}" for k, s in enumerate(state)),
    )
    return f"{shared.rstrip()}\nCODE_HASH = {code_hash(text)!r}\n{loop}"
