"""From a strategy class to the text of one real module: its live step.

The module holds the arithmetic of its blocks as text and takes the author's `signal` from its source, whose
hash it names; so the SHA-256 of the text *is* the identity of the strategy's code, and an archived text runs
unchanged when the product's blocks have moved on. It is a real module file because numba's disk cache hits
nothing else across processes; its name is its hash because that cache does not see a change in another file.
What research loops over has a module of its own, made from this text: `loops.py`.

Why: ADR 6, 29.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from projections.strategies.base import Spec
from projections.strategies.blocks import COLUMNS, Indicator
from projections.strategies.calls import Calls, Row, total
from projections.strategies.parameters import Parameter

HEAD = '''"""Generated from the strategy {name}; not to be edited: its file's name is the hash of its text."""

from __future__ import annotations

NAME = {name!r}
CLASS = {class_name!r}
SOURCE = {source!r}
MODULE = {module!r}
FILES = {files!r}
ABSENT = {absent!r}
VERSIONS = {versions!r}
COMPILED = {compiled!r}
'''

COMPILED = '''VALUE_NAMES = {value_names!r}
STATE_SIZE = {state_size}{higher_line}


def lookback(parameters):
    """Candles of history that a step reads, the current one included."""
    return max([1, {lookbacks}])


from collections import namedtuple
from math import sqrt

from numba import njit

from {source_module}.{module} import {class_name} as Strategy

Bar = namedtuple("Bar", {columns!r})
Values = namedtuple("Values", {indicators!r})
Parameters = namedtuple("Parameters", {parameters!r})
{constants}
# The same options everywhere: a callee without them inherits those of the caller that happens to compile it
# first. What only passes arrays on needs no reference counts (_nrt), which would cost several times the
# arithmetic.
exact = {{"nogil": True, "error_model": "numpy", "fastmath": False, "forceinline": True}}
inlined = njit(**exact, _nrt=False)
entered = {{"nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False, "cache": True}}

{blocks}

signal = njit(**exact, _nrt=True)(Strategy.signal)


@inlined
def step(values, {ends}i, seen, {higher}p, position, {state}):
    """One candle: the new target, the indicators, the new state."""
    bar = Bar({bar})
{calls}
    x = Values({x})
    return float(signal(bar, x, p, position)), {outputs}{state}


{marked}
@njit("i8({live_types})", **entered)
def live(values, {ends}i, first, {higher}seen, parameters, state, targets, rows, fault):
    """One candle for the bots from `first` on; returns the bot where it ended, at a target that is none."""
    for b in range(first, targets.shape[0]):
        fault[0] = b
        p = Parameters({live_parameters})
        target, {outputs}{state} = step(values, {ends}i, seen[b], {higher}p, targets[b], {live_state})
        if not abs(target) <= 1.0:
            fault[1] = target
            return b
        targets[b] = target
{live_rows}
{live_state_stores}
    return targets.shape[0]
'''
LIVE = "# ---------------------------------------------------------------- live"
"""Begins what the second module does not take."""
LIVE_TYPES = "i8[::1], f8[:, ::1], f8[:, ::1], f8[::1], f8[:, ::1], f8[::1]"
"""Of the arguments that are not candles."""


def code_hash(text: str) -> str:
    """Identity of a strategy's code: the SHA-256 of its generated text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def source_hash(module: str, files: Mapping[str, str], absent: Iterable[str]) -> str:
    """Identity of an author's files: by path, each with its hash, and the modules that are not there."""
    listed = [f"{path} {files[path]}" for path in sorted(files)]
    return hashlib.sha256("\n".join([module, *listed, *sorted(absent)]).encode()).hexdigest()


def source_module(source_hash: str) -> str:
    """The package under which the author's files with this hash are imported."""
    return f"tcpdashboard_source_{source_hash}"


class Author(NamedTuple):
    """An author's class, the module that defines it, and the files of both, by path with their hashes.

    `absent` are modules that these try to import in vain; `versions` names everything else that the result
    depends on (numba, numpy, imported packages) with its version.
    """

    class_name: str
    module: str
    files: Mapping[str, str]
    absent: tuple[str, ...]
    versions: Mapping[str, str]


def module_text(spec: Spec, author: Author, kernels: str) -> str:
    """The module of a strategy; a pandas strategy has a head only.

    `kernels` is the text of the blocks' arithmetic, of which what the strategy uses is taken.
    """
    source = source_hash(author.module, author.files, author.absent)
    head = HEAD.format(
        name=spec.name,
        class_name=author.class_name,
        source=source,
        module=author.module,
        files=dict(sorted(author.files.items())),
        absent=author.absent,
        versions=dict(sorted(author.versions.items())),
        compiled=spec.compiled,
    )
    if not spec.compiled:
        return head
    names = {"class_name": author.class_name, "module": author.module, "source_module": source_module(source)}
    return head + COMPILED.format(**_fields(spec, kernels), **names, marked=LIVE)


def _fields(spec: Spec, kernels: str) -> dict[str, object]:
    state = [f"s{k}" for k in range(spec.state_size)]
    outputs = [f"x{k}" for k in range(len(spec.value_names))]
    above = "f8[:, ::1], i8[::1], i8, i8, " * len(spec.higher)
    calls = Calls(spec.indicators.values())
    return {
        "value_names": spec.value_names,
        "state_size": spec.state_size,
        "ends": "ends, " if spec.timed else "",
        "live_types": f"f8[:, ::1], {'i8[::1], ' if spec.timed else ''}i8, i8, {above}{LIVE_TYPES}",
        "higher_line": f"\nHIGHER = {spec.higher!r}" if spec.higher else "",
        "higher": "".join(f"values_{t}, ends_{t}, first_{t}, last_{t}, " for t in spec.higher),
        "lookbacks": ", ".join(dict.fromkeys(_lookbacks(spec))),
        "columns": COLUMNS,
        "indicators": tuple(spec.indicators),
        "parameters": tuple(p.name for p in spec.parameters),
        "constants": "".join(_constants(spec)),
        "blocks": "\n\n".join([*_used(kernels, _names(spec)), *_own(spec), *calls.functions()]),
        "bar": ", ".join(f"values[i, {k}]" for k in range(len(COLUMNS))),
        "calls": _lines(4, [*_calls(spec, calls), *_higher_calls(spec, calls)]),
        "x": ", ".join(_named_values(spec)),
        "outputs": "".join(f"{name}, " for name in outputs),
        "state": ", ".join(state),
        "live_parameters": _unpacked(spec.parameters, "parameters[b, {}]"),
        "live_state": ", ".join(f"state[b, {k}]" for k in range(len(state))),
        "live_rows": _lines(8, (f"rows[b, {k}] = {name}" for k, name in enumerate(outputs))),
        "live_state_stores": _lines(8, (f"state[b, {k}] = {s}" for k, s in enumerate(state))),
    }


def _lines(indent: int, lines: Iterable[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)


def _lookbacks(spec: Spec) -> Iterator[str]:
    return (total(indicator.reads, "parameters['{}']") for indicator in spec.indicators.values())


def _constants(spec: Spec) -> Iterator[str]:
    for name, indicator in spec.indicators.items():
        if indicator.outputs:
            yield f"Row_{name} = namedtuple({'Row_' + name!r}, {indicator.outputs!r})\n"
    for p in spec.parameters:
        if p.choices:
            yield f"CHOICES_{p.name} = {p.choices!r}\n"


def _names(spec: Spec) -> set[str]:
    """What its step uses of the kernels."""
    chains = [list(indicator.chain()) for indicator in spec.indicators.values()]
    names = {one.block.name for chain in chains for one in chain if not one.block.own}
    return names | ({"NAN"} if spec.higher or any(len(chain) > 1 for chain in chains) else set())


def _own(spec: Spec) -> Iterator[str]:
    return (f"own_{name} = inlined(Strategy.spec.own[{name!r}])\n" for name in spec.own)


def _calls(spec: Spec, calls: Calls) -> Iterator[str]:
    states = count()
    for indicator, outputs in _with_outputs(spec, ""):
        yield calls.call(indicator, outputs, [f"s{next(states)}" for _ in range(indicator.state_size)])


def _higher_calls(spec: Spec, calls: Calls) -> Iterator[str]:
    """Its steps over what is new of higher timeframes; what they gave last stands until then."""
    states = count(sum(i.state_size for i in spec.indicators.values() if not i.frame))
    for timeframe in spec.higher:
        seen = f"s{next(states)}"
        row = Row(f"values_{timeframe}", "k", f"int({seen})", f"ends_{timeframe}")
        steps: list[str] = []
        kept: list[str] = []
        for indicator, outputs in _with_outputs(spec, timeframe):
            last = [f"s{next(states)}" for _ in outputs]
            state = [f"s{next(states)}" for _ in range(indicator.state_size)]
            for output, before in zip(outputs, last, strict=True):
                yield f"{output} = {before} if {seen} > 0.0 else NAN"
                kept.append(f"{before} = {output}")
            steps.append(calls.call(indicator, outputs, state, row))
        yield f"for k in range(first_{timeframe}, last_{timeframe}):"
        yield from (f"    {line}" for line in (f"{seen} += 1.0", *steps))
        yield from kept


def _with_outputs(spec: Spec, timeframe: str) -> Iterator[tuple[Indicator, list[str]]]:
    """The indicators of a timeframe, each with the names of its numbers among all."""
    outputs = count()
    for indicator in spec.indicators.values():
        numbers = [f"x{next(outputs)}" for _ in indicator.outputs or "1"]
        if indicator.frame == timeframe:
            yield indicator, numbers


def _named_values(spec: Spec) -> Iterator[str]:
    outputs = count()
    for name, indicator in spec.indicators.items():
        numbers = [f"x{next(outputs)}" for _ in indicator.outputs or "1"]
        yield f"Row_{name}({', '.join(numbers)})" if indicator.outputs else numbers[0]


def _unpacked(parameters: Iterable[Parameter], place: str) -> str:
    forms = {int: "int({})", float: "{}", bool: "{} != 0.0"}
    return ", ".join(
        f"CHOICES_{p.name}[int({place.format(k)})]" if p.choices else forms[p.type].format(place.format(k))
        for k, p in enumerate(parameters)
    )


def _used(kernels: str, names: set[str]) -> Iterator[str]:
    """The source of these functions and of all that they call, in the order of the file."""
    defined = {name: node for node in ast.parse(kernels).body for name in _defines(node)}
    lines = kernels.split("\n")
    wanted: set[str] = set()
    while names:
        wanted |= names
        names = {n for name in names for n in _mentions(defined[name]) if n in defined} - wanted
    for name, node in defined.items():
        if name in wanted:
            text = _text(lines, node)
            yield f"@inlined\n{text}\n" if isinstance(node, ast.FunctionDef) else f"{text}\n"


def _text(lines: Sequence[str], node: ast.stmt) -> str:
    """As `ast.get_source_segment`, which cuts the whole text into lines each time."""
    *whole, last = lines[node.lineno - 1 : node.end_lineno]
    return "\n".join([*whole, last.encode()[: node.end_col_offset].decode()])


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return []


def _mentions(node: ast.stmt) -> set[str]:
    body = node.body if isinstance(node, ast.FunctionDef) else [node]
    return {n.id for statement in body for n in ast.walk(statement) if isinstance(n, ast.Name)}
