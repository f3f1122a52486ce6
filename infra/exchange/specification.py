"""What a market is, said in terms of options: symbol, contract, steps."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from streams.events import Closed, Contract, Market

CASH_SCALE = 8
SIZE_SCALE_DEFAULT = 8
VENUE = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,64}")
_PART = r"(?!\.\.?(?:[/:]|$))([^/:\s\x00-\x1f\x7f]+)"
SYMBOL = re.compile(rf"(?=.{{1,100}}$){_PART}/{_PART}(?::{_PART})?")
"""What stands in the path of a URL as it is: none with more can be asked for at the API."""
_EXPIRY = re.compile(r"(?<=.)-\d{6}$")
_OPTION = re.compile(r".+-\d{6}-[\d.]+-[CP]")


def specification(
    venue: str,
    symbol: str,
    *,
    contract: Contract | None,
    price_step: str,
    size_step: str,
    min_size: str | None = None,
    multiplier: str = "1",
    closed: Closed = "right",
    grace_ms: int = 0,
    fee: int = 0,
    slippage: int = 0,
) -> Market:
    """A market's specification. Steps, minimum and multiplier are decimal texts, rates in 1e-8.

    The contract follows from the symbol unless given: `BASE/QUOTE` is spot, `BASE/QUOTE:BASE` inverse,
    `BASE/QUOTE:QUOTE` linear (ccxt's unified symbols); a date behind it, as in `BTC/USD:BTC-220527`, is that
    of its expiry. Raises `ValueError` naming what is wrong.
    """
    base, quote, settle = _parts(venue, symbol)
    if contract is None:
        contract = "spot" if settle is None else "inverse" if settle == base else "linear"
    price_scale, price_units = _decimal("price step", price_step)
    size_scale, size_units = _decimal("size step", size_step)
    multiplier_scale, multiplier_units = _decimal("multiplier", multiplier)
    least_scale, least = _decimal("minimum size", min_size or size_step)
    scale = max(size_scale, least_scale)
    return Market(
        venue=venue,
        symbol=symbol,
        base=base,
        quote=quote,
        settle=settle or quote,
        contract=contract,
        price_scale=price_scale,
        size_scale=scale,
        cash_scale=CASH_SCALE,
        price_step=price_units,
        size_step=size_units * 10 ** (scale - size_scale),
        min_size=least * 10 ** (scale - least_scale),
        multiplier=multiplier_units,
        multiplier_scale=multiplier_scale,
        closed=closed,
        grace_ms=grace_ms,
        fee=fee,
        slippage=slippage,
    )


def inferred(
    venue: str,
    symbol: str,
    decimals: Mapping[str, int],
    *,
    contract: Contract | None = None,
    price_step: str | None = None,
    size_step: str | None = None,
    closed: Closed = "right",
    fee: int = 0,
    slippage: int = 0,
) -> tuple[Market, str]:
    """A market's specification, and a sentence on what was assumed. A step that is not given is one unit of
    the last of the `decimals` that a price or size was seen with. Raises as `specification`."""
    price = price_step or _unit(decimals["price"])
    # sizes vary more than a sample shows
    size = size_step or _unit(max(decimals["size"], SIZE_SCALE_DEFAULT) if decimals["size"] else 0)
    market = specification(
        venue, symbol, contract=contract, price_step=price, size_step=size,
        closed=closed, fee=fee, slippage=slippage,
    )  # fmt: skip
    assumed = [name for name, given in (("price", price_step), ("size", size_step)) if given is None]
    return market, f"{market.key} is new: {described(market, assumed)}"


def _unit(decimals: int) -> str:
    return str(Decimal(1).scaleb(-decimals))


def _parts(venue: str, symbol: str) -> tuple[str, str, str | None]:
    """Base, quote and settle currency. Raises `ValueError` for names that no market can have."""
    if not VENUE.fullmatch(venue):
        raise ValueError(f"venue {venue!r}: write up to 64 letters, digits and any of _ . -, as bitmex")
    named = SYMBOL.fullmatch(symbol)
    if named is None:
        raise ValueError(
            f"symbol {symbol!r}: write BASE/QUOTE or BASE/QUOTE:SETTLE, as BTC/USDT,"
            " in at most 100 characters that can be seen"
        )
    base, quote, settle = named.groups()
    if settle is None:
        return base, quote, None
    settle = _EXPIRY.sub("", settle)
    if kind := _other_kind(base, quote, settle):
        raise ValueError(
            f"symbol {symbol!r} is {kind}, a kind of contract that there is none of yet; there are spot"
            " (BTC/USDT), linear (BTC/USDT:USDT) and inverse (BTC/USD:BTC), with a date or without"
        )
    return base, quote, settle


def _other_kind(base: str, quote: str, settle: str) -> str | None:
    """Of which kind a contract is that can't be computed."""
    if _OPTION.fullmatch(settle):
        return "an option"
    if settle not in (base, quote):
        return f"a quanto, settled in {settle}, which is neither {base} nor {quote}"
    return None


def check_kind(market: Market) -> None:
    """Raises `ValueError` for a provider's market of a kind that there is none of, and for one whose symbol
    says another settle currency."""
    _, _, settle = _parts(market.venue, market.symbol)
    if settle is not None and settle != market.settle:
        raise ValueError(f"{market.key} is settled in {market.settle}, but its symbol says {settle}")


def described(market: Market, assumed: Sequence[str] = ()) -> str:
    """A sentence on a specification; `assumed` names the steps that nobody gave."""
    steps = (("price", market.price_step, market.price_scale), ("size", market.size_step, market.size_scale))
    shown = ", ".join(
        f"{name} step {Decimal(units).scaleb(-scale):f} ({'assumed' if name in assumed else 'given'})"
        for name, units, scale in steps
    )
    return (
        f"{market.contract}, settled in {market.settle}, {shown}, candles closed {market.closed}, "
        f"fee {market.fee / 1e4:g} bp."
    )


def _decimal(name: str, text: str) -> tuple[int, int]:
    """(scale, units) of a decimal above 0."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{name} {text!r} is no number above 0, such as 0.5")
    scale = max(0, -int(value.normalize().as_tuple().exponent))
    return scale, int(value.scaleb(scale))
