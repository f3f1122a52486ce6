"""The sets of a sweep: every combination of the values of its axes, or some of them by chance."""

import math
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Final, NamedTuple

from projections.strategies.code import StrategyCode
from projections.strategies.parameters import StrategyParameterError, checked
from streams.events import Params

SETS_MAX: Final = 1_000_000
DIGITS: Final = 18
SEED_BITS: Final = 63


class GridError(ValueError):
    """A grid of which no sweep can be made; the message says why, and what can be."""


class Sets(NamedTuple):
    """Checked parameters, in the order of the grid, and how many combinations the strategy refused."""

    valid: list[Params]
    invalid: int


def axis(text: str) -> tuple[str, list[str]]:
    """Name and values of `fast=5:60:5` (60 is one of them), `fast=5:60`, `fast=5,10,20` or `fast=5`.

    Raises `GridError`.
    """
    name, equals, values = text.partition("=")
    if not equals or not name or not values:
        raise GridError(f"{text!r} is no axis: say name=from:to:step, such as fast=5:60:5, or name=5,10,20")
    first, *rest = values.split(":")
    if not rest:
        return name, values.split(",")
    try:
        last, step = map(Decimal, rest if len(rest) > 1 else [*rest, "1"])
        begin = Decimal(first)
    except (InvalidOperation, ValueError):
        raise GridError(f"{text!r} is no axis: from:to:step are numbers, such as fast=5:60:5") from None
    if not all(value.is_finite() for value in (begin, last, step)) or step <= 0:
        raise GridError(f"{text!r}: the step is a number above 0")
    if any(value and not -DIGITS <= value.adjusted() < DIGITS for value in (begin, last, step)):
        raise GridError(f"{text!r}: a number is 0, or from 1e-{DIGITS} to 1e{DIGITS}")
    count = int((last - begin) / step) + 1 if begin <= last else 0
    if not 0 < count <= SETS_MAX:
        raise GridError(f"{text!r} has {count:,} values; it must have 1 to {SETS_MAX:,}")
    return name, [format(begin + k * step, "f") for k in range(count)]


def sets_of(
    code: StrategyCode, grid: Mapping[str, Iterable[object]], chosen: int | None = None, seed: int = 0
) -> Sets:
    """The sets of a grid that the strategy takes; of `chosen` combinations by chance, where that is given.

    Raises `GridError` for a grid that is empty or too large, and where no set is valid, and
    `StrategyParameterError` for a parameter that there is not and a value that it never has.
    """
    axes = axes_of(code, grid)
    total = math.prod(map(len, axes.values()))
    if chosen is not None and chosen < 1:
        raise GridError(f"{chosen} random sets are none: at least 1 is needed")
    if not -(2**SEED_BITS) <= seed < 2**SEED_BITS:
        raise GridError(f"seed {seed}: give a whole number of at most {SEED_BITS} bits, such as 1")
    if min(total, total if chosen is None else chosen) > SETS_MAX:
        raise GridError(
            f"the grid has {total:,} sets, at most {SETS_MAX:,} are run: take larger steps, or some by chance"
        )
    valid: list[Params] = []
    invalid, words = 0, "it has no axis with a value"
    for values in _combined(list(axes.values()), total, chosen, seed):
        try:
            valid.append(code.check(dict(zip(axes, values, strict=True))))
        except StrategyParameterError as error:
            words, invalid = str(error) if not invalid else words, invalid + 1
    if not valid:
        raise GridError(f"no set of the grid is valid: {words}")
    return Sets(valid, invalid)


def axes_of(code: StrategyCode, grid: Mapping[str, Iterable[object]]) -> dict[str, list[object]]:
    """The values of each axis in their own type, each once. Raises `GridError` and
    `StrategyParameterError`."""
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise GridError(f"{name}: {values!r} is no axis: give its values, such as [5, 10, 20]")
    return {
        name: list(dict.fromkeys(checked(code.name, code.parameters, {name: one})[name] for one in values))
        for name, values in grid.items()
    }


def _combined(
    axes: Sequence[Sequence[object]], total: int, chosen: int | None, seed: int
) -> Iterable[tuple[object, ...]]:
    if chosen is None or chosen >= total:
        yield from product(*axes)
        return
    for number in by_chance(total, chosen, seed):
        values: list[object] = []
        rest = number
        for axis in reversed(axes):
            rest, at = divmod(rest, len(axis))
            values.append(axis[at])
        yield tuple(reversed(values))


def by_chance(total: int, chosen: int, seed: int) -> list[int]:
    """So many of the numbers below `total`, rising."""
    chance = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    if total <= sys.maxsize:
        return sorted(chance.sample(range(total), chosen))
    numbers: set[int] = set()
    while len(numbers) < chosen:
        numbers.add(chance.randrange(total))
    return sorted(numbers)
