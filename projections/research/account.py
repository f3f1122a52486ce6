"""A bot's money over bars, compiled: decisions, orders, fills and marks of one bot, in integers.

The second writing of what `projections.fold` does for a bot once its targets are known, and written without
it. Targets come from the strategy's loop: they depend on the candles and never on money. Between two bars
nothing happens but fills; what else happens to a bot (a command, a feed that falls silent) is the driver's
(`projections.research.run`), which calls these functions between two stretches of bars.

At a bar, in this order: orders fill by trades before the row that closed it; the target may change, and is
decided on; the account is marked at the close.
"""

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import from_dtype, njit, types

from projections.research import decide as deciding
from projections.research.columns import I8, NOT_KEPT, TRADE, Floats
from projections.research.decide import (
    BANKRUPT,
    BOT_HALTED,
    BROKE,
    HALTED,
    OVERFLOWS,
    RUNNING,
    STALE_DATA,
    SUPERSEDED,
)
from projections.research.money import (
    BOOL,
    CASH,
    COST,
    FLOAT,
    INLINED,
    INT,
    OPTIONS,
    OVERFLOW,
    POSITION,
    VECTOR,
    WORDS,
    equity,
    rises,
)

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Records: TypeAlias = Any
"""An array of them: numba knows the fields, a type checker does not."""
Record: TypeAlias = Any
"""One of an array, changed in place."""

DECIDE_SHA256: Final = "1f76f0fc1e1f5388c334919c685827f9e04851e8bdd5dd311f088ada4cc0b982"
"""Of the file of `projections.research.decide`: a change there must be a change here, since numba's cache on
disk looks at this file alone."""

BOT: Final = np.dtype(
    [
        (name, np.int64)
        for name in (
            "standing", "overflowed", "steps", "fails", "resumes", "unmarked", "live",
            "short", "on_stale", "mode", "sizing", "sizing_scale",
            "order", "order_number", "order_buy", "order_size", "order_trade", "order_bar",
            "marked", "mark_cash", "mark_position", "mark_equity", "peak", "trips",
            "orders", "told", "changed", "lost", "era", "at",
        )
    ]
    + [("target", np.float64), ("share", np.float64), ("order_target", np.float64)]
)  # fmt: skip
"""A bot beside its account. `order` is the reason of the order that waits, `order_trade` the trade that will
fill it; `fails` the bar at which its strategy fails, −1 for none; `share` the target that its position stands
for; `mark_…` what was marked last; `orders` counts them; `told` counts the events in `out`, `changed` says
whether a change is among the newest; `at` is the journal offset of the command that is obeyed. `lost`: it
needs a trade that the columns do not hold."""

STEP: Final = np.dtype([(name, np.int64) for name in ("place", "end", "close", "trade")])
"""What of a `BAR` the loop reads: a quarter of it, which is half of the time."""

NO_ORDER, BY_SIGNAL, BY_FLATTEN, BY_BANKRUPTCY = range(4)
HOLD, FLATTEN, IGNORE = range(3)
REASONS: Final = {BY_SIGNAL: "signal", BY_FLATTEN: "flatten", BY_BANKRUPTCY: "bankrupt"}
BY_STRATEGY, BY_OTHERS, BY_RESUMING = range(3)
"""Origins of a signal."""
ORIGINS: Final = {BY_STRATEGY: "strategy", BY_OTHERS: "external", BY_RESUMING: "resumed"}
SIGNAL, ORDER, CLOSED, FILL, CHANGE = range(5)
"""Kinds of what happens."""
CANCELLED, REJECTED = range(2)

HAPPENED: Final = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind", "bar", "time", "code", "status", "buy", "size", "price", "order", "trade",
            "fee", "realised", "position", "cost", "cash", "opens", "closes", "era", "at",
        )
    ]
    + [("target", np.float64), ("previous", np.float64)]
)  # fmt: skip
"""What happened to a bot; a kind fills the fields that it has. `bar` is the bar at whose close it was, −1 for
none, and of a fill that of its order; `code` an index of `CODES`. `status` says of a signal whether it is
executed, of an order its reason, of one that ended how, of a change the standing; `order` of a signal its
origin. `trade` is an index of the columns, `at` the journal offset of the command, −1 where there is none."""

MARK: Final = np.dtype([(name, np.int64) for name in ("bar", "cash", "position", "equity", "cost", "peak")])
"""A mark that differs from the one before."""

ROOM: Final = 32
"""So much may happen at one bar, and more."""
CODES: Final[tuple[str, ...]] = (*deciding.CODES, "strategy_error")
"""The words of `HAPPENED`: those of decisions, and of what ends a bot."""
STRATEGY_ERROR: Final = len(deciding.CODES)


def _read(kind: Any) -> Any:
    """The type of a column that is only read."""
    return types.Array(kind, 1, "C", readonly=True)


_BOT, _HAPPENED, _STEP = from_dtype(BOT), from_dtype(HAPPENED), from_dtype(STEP)
_OUT, _MARKS, _TRADES = _HAPPENED[::1], from_dtype(MARK)[::1], _read(from_dtype(TRADE))


@njit(_HAPPENED(_OUT, _BOT, INT, INT, INT, INT), **INLINED)
def tell(out: Records, b: Record, kind: int, bar: int, time: int, code: int) -> Record:
    """The next event, its own fields still to be filled."""
    one = out[b.told]
    b.told += 1
    one.kind, one.bar, one.time, one.code, one.era, one.at = kind, bar, time, code, b.era, b.at
    return one


@njit(types.void(_BOT, _OUT, INT, INT, INT, BOOL), **INLINED)
def cancel(b: Record, out: Records, bar: int, time: int, code: int, flatten: bool) -> None:
    """Cancel the order that waits; one that is no signal's only where `flatten` says so."""
    if b.order == NO_ORDER or (b.order != BY_SIGNAL and not flatten):
        return
    one = tell(out, b, CLOSED, bar, time, code)
    one.status, one.order = CANCELLED, b.order_number
    b.order = NO_ORDER


@njit(types.void(_BOT, _OUT, INT, INT, INT, INT, INT, INT, FLOAT), **INLINED)
def place(
    b: Record,
    out: Records,
    size: int,
    bar: int,
    time: int,
    price: int,
    trade: int,
    reason: int,
    target: float,
) -> None:
    """A market order over a signed `size`, which the trade at index `trade` will fill."""
    b.orders += 1
    b.order, b.order_number, b.order_buy, b.order_size = reason, b.orders, size > 0, abs(size)
    b.order_trade, b.order_bar, b.order_target = trade, bar, target
    b.lost |= trade == NOT_KEPT
    one = tell(out, b, ORDER, bar, time, 0)
    one.status, one.buy, one.size, one.price, one.order = reason, size > 0, abs(size), price, b.orders


@njit(types.void(_BOT, _OUT, INT, INT, INT, INT), **INLINED)
def change(b: Record, out: Records, standing: int, bar: int, time: int, code: int) -> None:
    """The bot ends as `code` says; its order goes."""
    cancel(b, out, bar, time, BANKRUPT if code == BANKRUPT else BOT_HALTED, True)
    b.standing, b.changed = standing, 1
    tell(out, b, CHANGE, bar, time, code).status = standing


@njit(types.void(_BOT, VECTOR, _OUT, INT, INT, INT, INT), **INLINED)
def go_bankrupt(b: Record, account: I8, out: Records, bar: int, time: int, price: int, trade: int) -> None:
    """Its equity is used up, as a mark or a fill at `price` says: what it holds is closed by a trade."""
    if b.standing != BROKE:
        change(b, out, BROKE, bar, time, BANKRUPT)
    if account[POSITION] != 0 and b.order == NO_ORDER:
        place(b, out, -account[POSITION], bar, time, price, trade, BY_BANKRUPTCY, 0.0)


@njit(types.void(VECTOR, WORDS, VECTOR, _BOT, _TRADES, _OUT), **INLINED)
def _fill(m: I8, w: Words, account: I8, b: Record, trades: Records, out: Records) -> None:
    trade, t = b.order_trade, trades[b.order_trade]
    before, buy = account[POSITION], b.order_buy != 0
    holds = b.on_stale != IGNORE and b.live == 0
    at = t.price if buy or t.sell == 0 else t.sell
    traded, price, size, fee, realised, code = deciding.fill(m, w, account, buy, b.order_size, at, holds)
    b.order = NO_ORDER
    if traded:
        after = account[POSITION]
        crossed = before == 0 or after == 0 or (before > 0) != (after > 0)
        one = tell(out, b, FILL, b.order_bar, t.time, 0)
        one.closes = b.trips if before != 0 and crossed else 0
        b.trips += after != 0 and crossed
        one.opens = b.trips if after != 0 and crossed else 0
        b.share = b.order_target if b.order_target * after > 0.0 else float(np.sign(after))
        one.buy, one.size, one.price, one.fee, one.realised = buy, size, price, fee, realised
        one.order, one.trade = b.order_number, trade
        one.position, one.cost, one.cash = after, account[COST], account[CASH]
        b.unmarked = 1
    if code >= 0:
        one = tell(out, b, CLOSED, b.order_bar, t.time, code)
        one.status, one.order = CANCELLED if traded else REJECTED, b.order_number
    if account[CASH] > 0 and rises(m, account[POSITION]):  # then so is its equity
        return
    worth = equity(m, w, account[CASH], account[POSITION], account[COST], at)
    if worth != OVERFLOW and worth <= 0:
        go_bankrupt(b, account, out, -1, t.time, at, t.next)


@njit(types.void(VECTOR, WORDS, VECTOR, _BOT, _TRADES, _OUT, INT), **INLINED)
def fill_before(m: I8, w: Words, account: I8, b: Record, trades: Records, out: Records, end: int) -> None:
    """Fill what waits by trades whose place is before `end`."""
    while b.order != NO_ORDER and b.order_trade >= 0 and trades[b.order_trade].place < end:
        _fill(m, w, account, b, trades, out)


@njit(
    types.void(VECTOR, WORDS, VECTOR, _BOT, _OUT, FLOAT, FLOAT, INT, BOOL, INT, INT, INT, INT, INT),
    **INLINED,
)
def signal(
    m: I8, w: Words, account: I8, b: Record, out: Records, previous: float, target: float, origin: int,
    holds: bool, bar: int, time: int, price: int, trade: int, worth: int,
) -> None:  # fmt: skip
    """Decide on a target, and make the order that it asks for; `worth` is the equity at `price`."""
    executed, code, size = deciding.decided(
        m, w, account, b.standing, holds, b.short != 0, b.mode, b.sizing, b.sizing_scale, target, price, worth
    )
    one = tell(out, b, SIGNAL, bar, time, code)
    one.status, one.order, one.price = executed, origin, price
    one.target, one.previous = target, previous
    cancel(b, out, bar, time, SUPERSEDED, executed != 0)
    if size != 0:
        place(b, out, size, bar, time, price, trade, BY_SIGNAL, target)
    elif executed:
        b.share = target


@njit(types.void(_BOT, VECTOR, _OUT, INT, INT, INT, INT), **OPTIONS)
def flatten(b: Record, account: I8, out: Records, bar: int, time: int, price: int, trade: int) -> None:
    """Close what it holds, where no order waits."""
    if account[POSITION] != 0 and b.order == NO_ORDER:
        place(b, out, -account[POSITION], bar, time, price, trade, BY_FLATTEN, 0.0)


@njit(types.void(_BOT, VECTOR, _OUT, BOOL, INT, INT, INT), **OPTIONS)
def vouched(b: Record, account: I8, out: Records, live: bool, time: int, price: int, trade: int) -> None:
    """From here on somebody vouches for the market's data, or nobody does."""
    if live == (b.live != 0):
        return
    b.live = live
    if live and b.on_stale != IGNORE:
        b.resumes = 1
    if not live and b.on_stale == FLATTEN and b.standing == RUNNING:
        cancel(b, out, -1, time, STALE_DATA, False)
        flatten(b, account, out, -1, time, price, trade)


@njit(BOOL(_BOT, BOOL, BOOL), **INLINED)
def _resumes(b: Record, changed: bool, holds: bool) -> bool:
    """Whether a target that did not change is told again, because it is not what the bot holds."""
    if b.resumes == 0 or b.standing != RUNNING or b.order == BY_SIGNAL:
        return False
    differs = not changed and b.target != b.share
    if differs and holds:
        closes = b.order == NO_ORDER and (b.target * b.share < 0.0 or abs(b.target) < abs(b.share))
        if not closes:
            return False
    if differs or b.order == NO_ORDER:
        b.resumes = 0
    return differs


@njit(types.void(VECTOR, WORDS, VECTOR, _BOT, _STEP, INT, FLOAT, BOOL, INT, _OUT), **INLINED)
def _step(
    m: I8, w: Words, account: I8, b: Record, bar: Record, i: int, target: float, incomplete: bool,
    worth: int, out: Records,
) -> None:  # fmt: skip
    """The strategy's target behind bar `i`: changed, told again, or its failure."""
    previous, fails = b.target, b.fails == i
    changed = fails or target != previous
    holds = b.on_stale != IGNORE and (incomplete or b.live == 0)
    if not fails:
        b.target = target
    share = b.share
    resumes = _resumes(b, changed, holds)
    if fails:
        b.steps = 0
        if b.standing != BROKE:
            change(b, out, HALTED, i, bar.end, STRATEGY_ERROR)
            b.overflowed = 0
        else:
            tell(out, b, CHANGE, i, bar.end, BANKRUPT).status = BROKE
    elif changed or resumes:
        before, origin = (previous, BY_STRATEGY) if changed else (share, BY_RESUMING)
        signal(m, w, account, b, out, before, target, origin, holds, i, bar.end, bar.close, bar.trade, worth)
    if incomplete and b.steps != 0 and b.on_stale != IGNORE:
        b.resumes = 1


@njit(types.void(VECTOR, _BOT, _STEP, INT, INT, _MARKS, _OUT), **INLINED)
def mark(account: I8, b: Record, bar: Record, i: int, worth: int, marks: Records, out: Records) -> None:
    """The equity `worth` at a bar's close; told in `marks`, where that has room, if it differs from the
    last."""
    if account[POSITION] == 0:
        b.unmarked = 0
    if worth == OVERFLOW:
        if b.overflowed == 0 and b.standing != BROKE:
            change(b, out, HALTED, i, bar.end, OVERFLOWS)
            b.overflowed = 1
        return
    if marks.shape[0] > 0 and (
        b.marked == 0
        or b.mark_equity != worth
        or b.mark_cash != account[CASH]
        or b.mark_position != account[POSITION]
    ):
        if b.marked == 0 or worth > b.peak:
            b.peak = worth
        b.mark_cash, b.mark_position, b.mark_equity = account[CASH], account[POSITION], worth
        one = marks[b.marked]
        b.marked += 1
        one.bar, one.cash, one.position, one.equity = i, account[CASH], account[POSITION], worth
        one.cost, one.peak = account[COST], b.peak
    if worth <= 0:
        go_bankrupt(b, account, out, i, bar.end, bar.close, bar.trade)


@njit(INT(VECTOR, WORDS, VECTOR, _BOT, _STEP, _TRADES, INT, FLOAT, BOOL, _MARKS, _OUT), **INLINED)
def at_bar(
    m: I8, w: Words, account: I8, b: Record, bar: Record, trades: Records, i: int, target: float,
    incomplete: bool, marks: Records, out: Records,
) -> int:  # fmt: skip
    """What happens at bar `i`, and the equity at its close. `out` has `ROOM`."""
    if b.order != NO_ORDER:
        fill_before(m, w, account, b, trades, out, bar.place)
    worth = equity(m, w, account[CASH], account[POSITION], account[COST], bar.close)
    if b.steps != 0 and (target != b.target or b.resumes != 0 or incomplete or b.fails == i):
        _step(m, w, account, b, bar, i, target, incomplete, worth, out)
    if b.unmarked != 0:
        mark(account, b, bar, i, worth, marks, out)
    return worth


@njit(
    INT(
        VECTOR,
        WORDS,
        VECTOR,
        _BOT,
        _read(_STEP),
        _TRADES,
        _read(types.boolean),
        INT,
        INT,
        _read(FLOAT),
        INT,
        INT,
        VECTOR,
        VECTOR,
        _MARKS,
        _OUT,
    ),
    **OPTIONS,
)
def over_bars(
    m: I8, w: Words, account: I8, b: Record, bars: Records, trades: Records, incomplete: Bools,
    first: int, last: int, targets: Floats, shift: int, begun: int, equities: I8, positions: I8,
    marks: Records, out: Records,
) -> int:  # fmt: skip
    """Bars `first` … `last` − 1; returns the bar before which `out` was full, or `last`.

    `targets[i - shift]`, and `equities` and `positions` at `i - begun`, belong to bar `i`; of a bot that does
    not step, targets are not read. `bars` STEP[L] and `incomplete` bool[L] are of all bars; `marks` has no
    rows, or as many.
    """
    for i in range(first, last):
        if b.told + ROOM > out.shape[0]:
            return i
        target = targets[i - shift] if b.steps != 0 else b.target
        equities[i - begun] = at_bar(m, w, account, b, bars[i], trades, i, target, incomplete[i], marks, out)
        positions[i - begun] = account[POSITION]
    return last
