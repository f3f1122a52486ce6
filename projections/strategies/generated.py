"""What the generated modules of a strategy hold: see `generate`, `loops` and `sharing`."""

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Kernels(Protocol):
    """A generated module; see `generate.py`."""

    live: Callable[..., int]


class Loops(Protocol):
    """The second generated module of a strategy; see `loops.py`."""

    loop: Callable[..., int]


class Line(NamedTuple):
    """A line of `step` that computes an indicator, of its `arguments` alone, the names of parameters: into so
    many `outputs`, with a state of so many floats."""

    arguments: tuple[str, ...]
    outputs: int
    state: int


class Sharing(NamedTuple):
    """The third generated module of a strategy; see `sharing.py`. A function of `columns` for each line."""

    lines: tuple[Line, ...]
    columns: tuple[Callable[..., None], ...]
    changes: Callable[..., int]
