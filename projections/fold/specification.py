"""A market's specification: what it may be, and what of it may change."""

from projections.fold.turn import CommandError
from streams.events import E8, Market

SCALE_MAX = 18
FIXED = (
    "base", "quote", "settle", "contract", "multiplier", "multiplier_scale",
    "closed", "grace_ms", "horizon_min",
)  # fmt: skip
"""What never changes: recorded candles and money were made with it."""


def check_specification(market: Market) -> None:
    """Raises `CommandError` naming the field that no market can have."""
    limits = {
        "price_scale": (0, SCALE_MAX), "size_scale": (0, SCALE_MAX), "cash_scale": (0, SCALE_MAX),
        "multiplier_scale": (0, SCALE_MAX),
        "price_step": (1, 2**53), "size_step": (1, 2**53), "min_size": (1, 2**53), "multiplier": (1, 2**53),
        "grace_ms": (0, 3_600_000), "horizon_min": (0, 10_080), "fee": (0, E8 - 1), "slippage": (0, E8 - 1),
    }  # fmt: skip
    for field, (low, high) in limits.items():
        value = getattr(market, field)
        if not low <= value <= high:
            raise CommandError(f"market {market.key}: {field} is {value}, it must be from {low} to {high}")


def check_settled(market: Market) -> None:
    """Raises `CommandError` for a market that no bot can be on: its position would never be closed."""
    settle, dash, date = market.symbol.partition(":")[2].rpartition("-")
    if settle and dash and len(date) == 6 and date.isascii() and date.isdecimal():
        raise CommandError(
            f"no_settlement: {market.key} ends at a date, and its expiry is no event yet, so no bot can be on"
            " it; its candles are kept like all others"
        )


def check_change(old: Market, new: Market) -> None:
    """Raises `CommandError` naming what of a recorded specification can't change so."""
    for field in FIXED:
        if getattr(old, field) != getattr(new, field):
            raise CommandError(
                f"{new.key}: {field} can't change from {getattr(old, field)!r} to "
                f"{getattr(new, field)!r}; record it as a market of another name"
            )
    for field in ("cash_scale", "price_scale", "size_scale"):
        grown(getattr(old, field), getattr(new, field), f"{new.key}: {field}")


def grown(old: int, new: int, what: str) -> int:
    """The factor from a decimal scale to a larger one. Raises `CommandError` for a smaller one."""
    if not 0 <= old <= new:
        raise CommandError(f"{what} can only grow, from 0: {old} → {new}")
    return 10 ** (new - old)
