"""Parameters of a strategy: declared as annotated class attributes, checked, packed for the kernel."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

Value: TypeAlias = int | float | bool | str
T = TypeVar("T", int, float, bool, str)
TYPES: dict[object, type] = {
    int: int, float: float, bool: bool, str: str,
    "int": int, "float": float, "bool": bool, "str": str,
}  # fmt: skip
INT_MAX = 2**53
"""Parameters reach the kernel as float64, which holds every integer up to here."""


class StrategyParameterError(ValueError):
    """A parameter that a strategy does not take; the message names strategy, parameter, value and range."""


class StrategyDefinitionError(TypeError):
    """A strategy class that is written wrongly; the message names the class and the attribute."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: `type` is int, float, bool or str; a number has a closed range, a string its choices.

    `attribute` is where it is declared: the name, with an underscore behind it where that is taken.
    """

    name: str
    attribute: str
    type: type
    default: Value
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    description: str = ""

    @property
    def range_text(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.type]
        if self.low is not None and self.high is not None:
            return f"{kind} from {self.low} to {self.high}"
        if self.low is not None:
            return f"{kind} of at least {self.low}"
        return kind if self.high is None else f"{kind} of at most {self.high}"

    def convert(self, value: object) -> Value:
        """The value in the parameter's own type; text is parsed. Raises ValueError where that cannot be."""
        converted = _converted(self.type, value)
        if isinstance(converted, int | float) and not isinstance(converted, bool):
            low, high = (-INT_MAX, INT_MAX) if self.type is int else (-math.inf, math.inf)
            low = low if self.low is None else self.low
            high = high if self.high is None else self.high
            if not math.isfinite(converted) or not low <= converted <= high:
                raise ValueError
        if self.type is str and converted not in self.choices:
            raise ValueError
        return converted


def _converted(kind: type, value: object) -> Value:
    if isinstance(value, np.generic):
        return _converted(kind, cast(object, value.item()))
    if isinstance(value, str) and kind is bool:
        return {"true": True, "false": False}[value.lower()]
    if isinstance(value, str):
        return cast(Value, kind(value))
    if isinstance(value, bool) or kind is bool:
        if kind is bool and isinstance(value, bool):
            return value
        raise ValueError
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    if kind is str or not isinstance(value, int | float):
        raise ValueError
    return cast(Value, kind(value))


def param(
    default: T,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    description: str = "",
) -> T:
    """A parameter with default and range: `fast: int = param(20, low=1, high=1000)`; text needs `choices`."""
    declared = Parameter("", "", type(default), default, low, high, tuple(choices), description)
    return cast(T, declared)


def declared_parameters(cls: type) -> tuple[Parameter, ...]:
    """The annotated attributes of a class and its bases that have a default, in order of declaration.

    A trailing underscore is no part of the name: `signal_: int = param(9)` declares the parameter `signal`.
    """
    found: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            kind = TYPES.get(annotation)
            if kind is not None and name in base.__dict__ and name != "name" and name[0] != "_":
                found[name] = _named(cls, name, kind, base.__dict__[name])
    names = [p.name for p in found.values()]
    for name in names:
        if names.count(name) > 1:
            raise StrategyDefinitionError(f"{cls.__name__} declares two parameters named {name}")
    return tuple(found.values())


def _named(cls: type, attribute: str, kind: type, value: object) -> Parameter:
    plain = attribute.rstrip("_")
    spec = value if isinstance(value, Parameter) else Parameter("", "", kind, cast(Value, value))
    named = replace(spec, name=attribute if iskeyword(plain) else plain, attribute=attribute, type=kind)
    if kind is str and not named.choices:
        raise StrategyDefinitionError(
            f"{cls.__name__}.{attribute} is text: declare it as param(default, choices=(…))"
        )
    try:
        return replace(named, default=named.convert(named.default))
    except (ValueError, KeyError, OverflowError):
        raise StrategyDefinitionError(
            f"{cls.__name__}.{attribute}: its default {spec.default!r} is not {named.range_text}"
        ) from None


def checked(strategy: str, parameters: Sequence[Parameter], given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters in their own types, with defaults, sorted by name. Raises StrategyParameterError."""
    names = {p.name for p in parameters}
    for name in given:
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise StrategyParameterError(
                f"strategy {strategy} has no parameter {name!r}; its parameters are: {known}"
            )
    values: dict[str, Value] = {}
    for p in sorted(parameters, key=lambda p: p.name):
        value = given.get(p.name, p.default)
        try:
            values[p.name] = p.convert(value)
        except (ValueError, KeyError, OverflowError):
            raise StrategyParameterError(
                f"strategy {strategy}: parameter {p.name}={value!r} must be {p.range_text}"
            ) from None
    return values


def packed(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> npt.NDArray[np.float64]:
    """Checked values as f8[P] in order of declaration; text is its index among the choices."""
    return np.array(
        [p.choices.index(cast(str, values[p.name])) if p.type is str else values[p.name] for p in parameters],
        dtype=np.float64,
    )
