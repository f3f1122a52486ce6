"""What files hold, without writing anything of it."""

from collections.abc import Sequence
from typing import NamedTuple

from infra.exchange.files import minute_end
from infra.exchange.strays import without_strays
from infra.exchange.trade_file import BadRowError, Others, TradeFile
from streams.events import Market


class Surveyed(NamedTuple):
    """Rows of files by what they are, the ends (ns) of the first and the last candle, the first bad row."""

    rows: int
    trades: int
    others: int
    bad: int
    first: int
    last: int
    first_bad: BadRowError | None


def survey(files: Sequence[TradeFile], market: Market, until: int | None) -> Surveyed:
    """Read all rows. Raises `FileReadError`."""
    trades = others = bad = 0
    times: list[int] = []
    first_bad = None
    for file in files:
        for _, found in without_strays(file, market, until):
            if isinstance(found, Others):
                others += found.rows
            elif isinstance(found, BadRowError):
                bad += 1
                first_bad = first_bad or found
            else:
                trades += found.ticks.rows
                times = [
                    min([*times, int(found.ticks.time.min())]),
                    max([*times, int(found.ticks.time.max())]),
                ]
    first, last = (minute_end(time, market) for time in times or (0, 0))
    return Surveyed(trades + others + bad, trades, others, bad, first, last, first_bad)


def understood(file: TradeFile) -> str:
    """A sentence on how a file is understood."""
    layout, options = file.layout, file.options
    form = "trades" if layout.form is None else layout.form.name
    columns = ", ".join(f"{field}={column}" for field, column in layout.columns.items())
    told = [f"{form}; {columns}; times in {layout.time_unit}"]
    if layout.signed:
        told.append("the sign of a size is the taker's side")
    elif "side" in layout.columns and "maker" not in layout.columns:
        told.append(f"the side is the {layout.side}'s ({'given' if options.side else 'assumed'})")
    if layout.symbol is not None:
        told.append(f"rows of {layout.symbol}")
    if layout.newest_first:
        told.append("newest first, read from its end")
    return "; ".join(told)
