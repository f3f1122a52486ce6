"""Exact money: value, cost, fee and profit of spot, linear and inverse positions, in integers.

Every kind of contract locks the whole value of a position: opening moves its entry value from cash to
`cost`, closing moves it back with the profit. So for every account, to the unit,

    cash + cost + fees − realised = initial cash

and nothing is leveraged. A product is rounded once, to the market's cash scale, against the bot: what it
pays or owes up, what it gets down; the cost of a part is reduced in proportion and rounded down.

Sources of the formulas: BitMEX "XBT value = contracts × multiplier / price" for inverse contracts; for
linear ones value = contracts × multiplier × price.

Why: ADR 4.
"""

from collections.abc import Callable
from typing import NamedTuple

from streams.events import E8, Market

INT64_MAX = 2**63 - 1


class MoneyOverflowError(ArithmeticError):
    """An amount does not fit 64 bits; the order is refused or the record becomes a dead letter."""


class Account(NamedTuple):
    """A bot's money in units of 10**-cash_scale; `position` is signed, in units of 10**-size_scale.

    `cost` is the entry value locked in the position, `realised` the profit gross of `fees`.
    """

    cash: int
    position: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0

    def check(self) -> "Account":
        """The account itself. Raises `MoneyOverflowError`."""
        for name, amount in zip(self._fields, self, strict=True):
            fitting(amount, name)
        return self


def fitting(amount: int, name: str) -> int:
    """The amount itself. Raises `MoneyOverflowError`."""
    if abs(amount) > INT64_MAX:
        raise MoneyOverflowError(f"{name} of {amount} exceeds 64 bits")
    return amount


def value(market: Market, size: int, price: int, *, up: bool) -> int:
    """Value of `size` ≥ 0 at `price`, in the settle currency, rounded up or down. Raises
    `MoneyOverflowError`."""
    numerator, denominator = _ratio(market, price)
    return fitting(-(-size * numerator // denominator) if up else size * numerator // denominator, "value")


def size_for(market: Market, cash: int, price: int) -> int:
    """The largest size, in steps, whose value (rounded up) is ≤ `cash`; 0 when there is none. Raises
    `MoneyOverflowError`."""
    if cash <= 0:
        return 0
    numerator, denominator = _ratio(market, price)
    return floor_to_step(cash * denominator // numerator, market.size_step)


def floor_to_step(size: int, step: int) -> int:
    """The largest multiple of `step` that is not above `size`. Raises `MoneyOverflowError`."""
    return fitting(size, "size") // step * step


def fee(market: Market, size: int, price: int) -> int:
    """Fee of a trade, rounded up. Raises `MoneyOverflowError`."""
    return -(-value(market, size, price, up=True) * market.fee // E8)


def slipped(market: Market, price: int, *, buy: bool) -> int:
    """The price after slippage, rounded to the price step against the bot; a sell never below one step."""
    step = market.price_step
    if buy:
        return -(-price * (E8 + market.slippage) // (E8 * step)) * step
    return max(price * (E8 - market.slippage) // (E8 * step) * step, step)


def affordable(market: Market, account: Account, size: int, price: int, *, buy: bool) -> int:
    """The part of a market order of `size` that fits: whatever closes, and what opens without leverage.

    What opens is limited so that its value and fee fit the cash left after the close, and that the value of
    the whole position stays within equity. Raises `MoneyOverflowError`.
    """
    closes = closing(account, size, buy=buy)
    after = trade(market, account, closes, price, buy=buy).account if closes else account
    opening = size - closes
    if not opening:
        return closes
    room = after.cash
    if after.position and _direction(market, after.position) < 0:
        held = value(market, abs(after.position), price, up=True)
        room = min(room, after.cash + 2 * (after.cost - held))
    if value(market, opening, price, up=True) + fee(market, opening, price) > room:
        opening = min(opening, size_for(market, max(room, 0) * E8 // (E8 + market.fee), price))
        while opening > 0 and value(market, opening, price, up=True) + fee(market, opening, price) > room:
            opening -= market.size_step
    return closes + max(opening, 0)


def closing(account: Account, size: int, *, buy: bool) -> int:
    """The part of a trade of `size` that closes what is held."""
    reduces = account.position < 0 if buy else account.position > 0
    return min(size, abs(account.position)) if reduces else 0


class Traded(NamedTuple):
    account: Account
    fee: int
    realised: int


def trade(market: Market, account: Account, size: int, price: int, *, buy: bool) -> Traded:
    """The account after a trade of `size` > 0 at `price`. Raises `MoneyOverflowError`."""
    cash, position, cost, realised, fees = account
    gain = 0
    closes = closing(account, size, buy=buy)
    if closes:
        direction = _direction(market, position)
        part = cost * closes // abs(position)
        gain = direction * (value(market, closes, price, up=direction < 0) - part)
        cash += part + gain
        cost -= part
        position += closes if buy else -closes
    opening = size - closes
    if opening:
        signed = opening if buy else -opening
        entry = value(market, opening, price, up=_direction(market, signed) > 0)
        cash -= entry
        cost += entry
        position += signed
    paid = fee(market, size, price)
    after = Account(cash - paid, position, cost, realised + gain, fees + paid)
    return Traded(after.check(), paid, gain)


def equity(market: Market, account: Account, price: int) -> int:
    """Cash, cost and unrealised profit at `price`. Raises `MoneyOverflowError`."""
    return equity_at(market, price)(account)


def equity_at(market: Market, price: int) -> Callable[[Account], int]:
    """`equity` at one price, for many accounts."""
    numerator, denominator = _ratio(market, price)
    long_rises = _direction(market, 1) > 0

    def equity_of(account: Account) -> int:
        cash, position, cost, _, _ = account
        if not position:
            return cash
        worth = abs(position) * numerator
        if (position > 0) == long_rises:
            total = cash + fitting(worth // denominator, "value")
        else:
            total = cash + 2 * cost - fitting(-(-worth // denominator), "value")
        return fitting(total, "equity")

    return equity_of


def _ratio(market: Market, price: int) -> tuple[int, int]:
    """Value of one unit of size as numerator and denominator."""
    if market.contract == "inverse":
        return (
            market.multiplier * 10 ** (market.cash_scale + market.price_scale),
            price * 10 ** (market.size_scale + market.multiplier_scale),
        )
    return (
        price * market.multiplier * 10**market.cash_scale,
        10 ** (market.price_scale + market.size_scale + market.multiplier_scale),
    )


def _direction(market: Market, position: int) -> int:
    """+1 where profit is exit value − entry value, −1 where it is the reverse."""
    long = position > 0
    return 1 if long != (market.contract == "inverse") else -1
