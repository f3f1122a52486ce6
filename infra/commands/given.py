"""What people give in words, read: sizing, amounts, parameters."""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from streams.events import TIMEFRAMES_NS, Sizing, Timeframe

DIGITS_MAX = 40
SCALE_MAX = 18
VALUE_MAX = 2**63 - 1


class RefusedError(ValueError):
    """A command that cannot be given; the message names what is wrong and what to do."""


def sizing_of(text: str) -> Sizing:
    """`amount:X`, `cash:X` or `equity:F`. Raises `RefusedError`."""
    mode, _, number = text.partition(":")
    if mode not in ("amount", "cash", "equity"):
        raise RefusedError(f"sizing {text!r}: write amount:X, cash:X or equity:F, such as equity:0.5")
    value = _decimal(number, f"sizing {text!r}")
    if mode == "equity" and value > 1:
        raise RefusedError(f"sizing {text!r}: at most equity:1, since nothing is leveraged")
    scale = max(0, -int(value.normalize().as_tuple().exponent))
    return Sizing(mode, _scaled(value, scale, f"sizing {text!r}"), scale)


def integer_of(text: str, scale: int, what: str) -> int:
    """A positive decimal in units of 10**-scale, exactly. Raises `RefusedError`."""
    return _scaled(_decimal(text, what), scale, what)


def timeframe_of(text: str) -> Timeframe:
    """Raises `RefusedError`."""
    if text not in TIMEFRAMES_NS:
        raise RefusedError(f"timeframe {text!r}: choose one of {', '.join(TIMEFRAMES_NS)}")
    return cast(Timeframe, text)


def params_of(pairs: Iterable[str]) -> dict[str, Any]:
    """`name=value` pairs as a dict of texts, which a strategy's check parses. Raises `RefusedError`."""
    params: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or not value or name in params:
            raise RefusedError(f"parameter {pair!r}: write each once as name=value, such as fast=20")
        params[name] = value
    return params


def _decimal(text: str, what: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > DIGITS_MAX:
        raise RefusedError(f"{what}: {text!r} must be a number above 0 that fits 64 bits")
    return value


def _scaled(value: Decimal, scale: int, what: str) -> int:
    numerator, denominator = value.as_integer_ratio()
    scaled, rest = divmod(numerator * 10**scale, denominator)
    if rest or scale > SCALE_MAX:
        raise RefusedError(f"{what}: {value} has more than {min(scale, SCALE_MAX)} decimals; round it")
    if scaled > VALUE_MAX:
        raise RefusedError(f"{what}: {value} is beyond 64 bits at {scale} decimals; take less")
    return scaled
