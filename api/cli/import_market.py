"""The market that an import writes to: as it is known, as the options say, or as its files look."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from api.cli.failures import CommandFailedError

if TYPE_CHECKING:
    from infra.exchange.trade_file import TradeFile
    from streams.events import Market

Given = dict[str, Any]
"""What the options say of a market: contract, price_step, size_step, closed, fee, slippage; None: nothing."""
BASIS_POINT = 10_000


def specified(
    files: Sequence["TradeFile"], known: "Market | None", name: tuple[str, str], given: Given
) -> tuple["Market", str]:
    """The market, and a sentence on one that is new. `name`: venue and symbol."""
    from infra.exchange.specification import inferred

    decimals = {what: max(file.sample.decimals[what] for file in files) for what in ("price", "size")}
    if known is not None:
        return _respecified(decimals, known, given), ""
    return inferred(
        *name, decimals, **{option: value for option, value in given.items() if value is not None}
    )


def _respecified(decimals: dict[str, int], known: "Market", given: Given) -> "Market":
    """The known market with what the options change: fees and steps may, its nature may not."""
    from msgspec.structs import replace

    from infra.exchange.specification import inferred

    for option in ("contract", "closed"):
        if given[option] not in (None, getattr(known, option)):
            raise CommandFailedError(
                f"market {known.key} is known with --{option} {getattr(known, option)}, which cannot change;"
                " leave the option out, or import under another --venue"
            )
    asked = {option: given[option] for option in ("price_step", "size_step") if given[option] is not None}
    market = known
    if asked:
        new, _ = inferred(known.venue, known.symbol, decimals, contract=known.contract, **asked)
        for name in ("price", "size"):
            if f"{name}_step" in asked:
                market = replace(market, **_step(known, new, name))
    rates = {option: given[option] for option in ("fee", "slippage") if given[option] is not None}
    return replace(market, **rates)


def _step(known: "Market", new: "Market", name: str) -> dict[str, int]:
    """Step and scale of price or size as asked for; the scale only grows."""
    old, asked = getattr(known, f"{name}_scale"), getattr(new, f"{name}_scale")
    scale = max(old, asked)
    step = getattr(new, f"{name}_step") * 10 ** (scale - asked)
    changes = {f"{name}_scale": scale, f"{name}_step": step}
    if name == "size":
        same = step == known.size_step * 10 ** (scale - old)
        changes["min_size"] = known.min_size * 10 ** (scale - old) if same else step
    return changes


def rate(text: str, option: str) -> int:
    """A rate in 1e-8 of basis points in text."""
    try:
        rate = Decimal(text) * BASIS_POINT
    except ArithmeticError:
        rate = Decimal("NaN")
    if not rate.is_finite() or not 0 <= rate < BASIS_POINT * BASIS_POINT or rate != int(rate):
        raise typer.BadParameter(f"{option} {text!r}: basis points from 0, at most 4 decimals")
    return int(rate)
