"""Own blocks: how an author declares one.

    @block(reads="n + 1")
    def momentum(values, i, seen, column, n: int):
        return values[i, column] - values[i - n, column] if seen > n else math.nan

A block is a function of one candle in the form of `kernels.py`: the price history, the row of the candle, how
many candles the bot has seen; then `column` where it reads one, windows (annotated with int), other numbers,
`end` where it asks when the candle ended; then its state, each a float that begins at 0.0. It returns its
numbers and its new state, all in one tuple, or its one number where it has no state. numba compiles it
together with the strategy. What it is held against before that stands in `own_check.py`.
"""

import inspect
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

from projections.strategies.blocks import Block, Indicator
from projections.strategies.parameters import StrategyDefinitionError

LED = ["values", "i", "seen"]
"""What every block is given first."""


def block(
    *, reads: str | int, needs: str | int | None = None, outputs: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Indicator]]:
    """Makes a function a block: called with a column or an indicator, and numbers or names of parameters, and
    with `timeframe=` as any, it gives an indicator.

    `reads`: how many candles it reads back, the current one included: a sum such as `"n + 1"`. `needs`: after
    how many its numbers do not depend on older ones, where that is another number: `"60 * n"`, with one
    factor for all windows. `outputs` names its numbers where they are several. Raises
    StrategyDefinitionError for a function of another form.
    """

    def declared(function: Callable[..., Any]) -> Callable[..., Indicator]:
        made = _declared(function, reads, needs, outputs)
        asked = [name for name in made.arguments if name != "end"]
        form = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in asked]
        )

        def indicator(*args: Any, timeframe: str = "", **named: Any) -> Indicator:
            try:
                bound = form.bind(*args, **named).arguments | {"end": "end"}
            except TypeError as error:
                raise StrategyDefinitionError(f"own block {made.name}{form}: {error}") from None
            return Indicator(made, tuple(bound[name] for name in made.arguments), timeframe=timeframe)

        return indicator

    return declared


def _declared(
    function: Callable[..., Any], reads: str | int, needs: str | int | None, outputs: tuple[str, ...]
) -> Block:
    name = getattr(function, "__name__", repr(function))
    if not isinstance(function, FunctionType):
        raise StrategyDefinitionError(
            f"own block {name} must be a plain function; it is compiled as it is used"
        )
    parameters = list(inspect.signature(function).parameters.values())
    if [p.name for p in parameters[:3]] != LED:
        raise StrategyDefinitionError(f"own block {name}: its first arguments must be {', '.join(LED)}")
    state = [p for p in parameters[3:] if p.default is not p.empty]
    for p in state:
        if p.default != 0.0:
            raise StrategyDefinitionError(
                f"own block {name}: {p.name}={p.default!r} is its state, which begins at 0.0"
            )
    arguments = tuple(p.name for p in parameters[3:] if p.default is p.empty)
    _, read, least = _sum(name, "reads", str(reads), arguments)
    settles = (1, read, least) if needs is None else _sum(name, "needs", str(needs), arguments)
    counted = {p.name for p in parameters[3:] if p.annotation in (int, "int")} | {*read, *settles[1]}
    windows = tuple(a for a in arguments if a in counted and a not in ("column", "end"))
    return Block(function, arguments, windows, tuple(outputs), len(state), (read, least), settles)


def _sum(name: str, what: str, text: str, arguments: tuple[str, ...]) -> tuple[int, tuple[str, ...], int]:
    """Of `30 * slow + 30 * signal + 1`: 30, both windows, and 1."""
    terms = [re.fullmatch(r"(?:(\d+)\s*\*\s*)?(\w+)", term.strip()) for term in text.split("+")]
    found = [(term[1], term[2]) for term in terms if term]
    windows = {word: int(times or 1) for times, word in found if word in arguments}
    numbers = [int(word) for times, word in found if word.isdigit() and times is None]
    factors = {1, *windows.values()} if what == "reads" else set(windows.values())
    if len(windows) + len(numbers) < len(terms) or len(factors) > 1 or not sum(numbers) + len(windows):
        raise StrategyDefinitionError(
            f"own block {name}: {what}={text!r} must be a sum of windows and numbers, such as 'n + 1'"
            f"{' or 60 * n' if what == 'needs' else ''}; its arguments are {', '.join(arguments) or 'none'}"
        )
    return max(factors, default=1), tuple(windows), sum(numbers)
