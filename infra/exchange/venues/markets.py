"""From a market as ccxt describes it to its specification, and from its decimal texts to units."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from msgspec.structs import replace

from infra.exchange.specification import specification
from streams.events import Contract, Market

DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE = 2, 3, 4
"""What the numbers of `precision` mean, by ccxt's own constants; ccxt itself takes seconds to import."""
NEAR_MAX = 5
VALUE_MAX = 2**53
"""Units of a price or a size that a row of the journal has room for."""
DIGITS_MAX = 15
"""Behind the first digit of so many."""
EXACT = Context(prec=1_000, traps=[InvalidOperation, Inexact])
OPTION = "is an option, a kind of contract that there is none of yet"
_OPTION = re.compile(r":\w+-\d{6}-[\d.]+-[CP]$")
_RATE = Decimal(10**8)


Markets = Mapping[str, Mapping[str, Any]]
"""What a venue has, as ccxt describes it, by its symbol."""


class MarketsUnreadError(RuntimeError):
    """A venue's list of markets could not be read: nothing is known of what it has."""


class UnknownSymbolError(ValueError):
    """A venue has no market of this symbol, or one of a kind that there is none of."""


class OffScaleError(ValueError):
    """A decimal that is finer than its market's scale."""


def loaded(venue: str, kinds: Iterable[str], markets: Any, symbols: Iterable[str]) -> Markets:
    """What `load_markets` gave. Raises `MarketsUnreadError` where there is nothing, and where one of the
    symbols is not there and none of its kind is, of the `kinds` that the venue has: of an answer without a
    market ccxt makes no error."""
    found: Markets = markets if isinstance(markets, Mapping) else {}
    wanted = {kind for symbol in symbols if symbol not in found for kind in _kinds(symbol)}
    missing = [
        kind for kind in kinds if kind in wanted and not any(told.get(kind) for told in found.values())
    ]
    if missing or not found:
        kind = "".join(f" {kind}" for kind in missing[:1])
        raise MarketsUnreadError(f"{venue}: its list of markets came without a{kind} market in it")
    return found


def _kinds(symbol: str) -> Sequence[str]:
    """ccxt's names for what a market of a symbol is."""
    pair, is_contract, settled = symbol.partition(":")
    if not is_contract:
        return ("spot",)
    settle, is_dated, _ = settled.partition("-")
    is_linear = pair.endswith(f"/{settle}")
    return ("future" if is_dated else "swap", "linear" if is_linear else "inverse")


def market_of(venue: str, found: Markets, symbol: str, *, precision_mode: int, grace_ms: int) -> Market:
    """The specification of a market of `found`, ccxt's by symbol. Raises `UnknownSymbolError` for a symbol
    that is not there, with the nearest that are, and for an option, a quanto and what has no steps."""
    told = found.get(symbol)
    if told is None and _OPTION.search(symbol):
        raise UnknownSymbolError(f"{venue}:{symbol}: {OPTION}")
    if told is None:
        raise UnknownSymbolError(
            f"symbol {symbol!r} does not exist at {venue}{near(symbol, found)};"
            f" `tcpdashboard sources symbols {venue}` lists what it has"
        )
    precision, limits = told.get("precision") or {}, told.get("limits") or {}
    try:
        market = specification(
            venue,
            symbol,
            contract=_contract(told),
            price_step=step(precision.get("price"), precision_mode),
            size_step=step(precision.get("amount"), precision_mode),
            min_size=_above_zero((limits.get("amount") or {}).get("min")),
            multiplier=str(told.get("contractSize") or "1"),
            closed="left",
            grace_ms=grace_ms,
            fee=int(Decimal(str(told.get("taker") or 0)) * _RATE),
        )
    except ValueError as error:
        raise UnknownSymbolError(f"{venue}:{symbol}: {error}") from None
    settle = told.get("settle") or market.settle
    status = "halted" if told.get("active") is False else "trading"
    return replace(market, settle=settle, status=status, venue_id=str(told.get("id") or ""))


def _contract(told: Mapping[str, Any]) -> Contract:
    if told.get("option"):
        raise ValueError(OPTION)
    if told.get("spot"):
        return "spot"
    linear, inverse = bool(told.get("linear")), bool(told.get("inverse"))
    settle, own = told.get("settle"), told.get("quote" if linear else "base")
    if told.get("quanto") or linear == inverse or settle != own:
        raise ValueError(f"is a quanto, settled in {settle}, a kind of contract that there is none of yet")
    return "linear" if linear else "inverse"


def step(precision: Any, mode: int) -> str:
    """The step that a number of `precision` means, as a decimal text. Raises `ValueError` where it is none.

    Of significant digits: the step at prices from 1 to 10; a finer price makes its market's scale grow.
    """
    try:
        value = Decimal(str(precision))
        if mode == DECIMAL_PLACES:
            value = Decimal(1).scaleb(-int(value))
        elif mode == SIGNIFICANT_DIGITS:
            value = Decimal(1).scaleb(1 - int(value)) if value >= 1 else Decimal(0)
    except (ArithmeticError, ValueError):
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        raise ValueError(f"its step {precision!r} is no step, such as 0.01")
    return f"{value:f}"


def _above_zero(least: Any) -> str | None:
    try:
        return str(least) if least is not None and Decimal(str(least)) > 0 else None
    except InvalidOperation:
        return None


def near(name: str, known: Iterable[str]) -> str:
    """The nearest names, as the end of a sentence; "" where none is near."""
    found = difflib.get_close_matches(name.upper(), list(known), NEAR_MAX, 0.6)
    return f"; near are {', '.join(found)}" if found else ""


def listed(found: Markets, word: str = "") -> Sequence[str]:
    """The symbols of a venue that can be collected now and have a word in them, in any case; by name."""
    return sorted(
        symbol
        for symbol, told in found.items()
        if word.lower() in symbol.lower() and told.get("active") is not False and _is_of_our_kinds(told)
    )


def _is_of_our_kinds(told: Mapping[str, Any]) -> bool:
    try:
        _contract(told)
    except ValueError:
        return False
    return True


def units(text: Any, scale: int, of: str) -> int:
    """A decimal text in units of its market's scale, never rounded; it is the `of` of a trade. Raises
    `OffScaleError` for a finer one, `ValueError` for none above 0."""
    try:
        value = EXACT.scaleb(Decimal(text), scale)
        if value.adjusted() > DIGITS_MAX:
            raise ValueError
        if (whole := int(value)) > VALUE_MAX:
            raise ValueError
    except (ArithmeticError, TypeError, ValueError):
        raise ValueError(f"{of} {text!r} is no number that there is room for") from None
    if whole != value:
        raise OffScaleError(f"{of} {text} has more than {scale} decimals, its market's scale")
    if whole <= 0:
        raise ValueError(f"{of} {text} is not above 0")
    return whole
