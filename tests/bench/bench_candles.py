"""Ticks a second from integer columns to candles of all six timeframes.

Run by `python -m tests.bench.bench_candles`. The fold is also a peer of the yardsticks of
`docs/performance.md`: `batch` of their b1_ticks_to_candles.py, `live` of their b1_live_ticks.py.
"""

from argparse import Namespace
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from projections.aggregate import aggregate_to_timeframe
from projections.fold.by_market import by_market
from projections.fold.candles import CLOSED, TIMEFRAMES, CandleBook
from streams.events import MINUTE_NS, TIMEFRAMES_NS, RowKind
from streams.ticks import Ticks

ROUNDS = 5
DAY_NS = TIMEFRAMES_NS["1d"]
START_NS = 19_723 * DAY_NS
RECORD_ROWS = 100_000
"""Rows of several markets that are split at once: they fit into the processor's cache."""

_NAMES = tuple(CLOSED.fields or ())
Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def book() -> CandleBook:
    return CandleBook(closed="right", grace_ns=0, horizon_ns=180 * MINUTE_NS)


def ticks(rows: int, days: int = 10) -> Columns:
    """A random walk with whole milliseconds, as trades of one market."""
    random = np.random.default_rng(7)
    time = START_NS + np.sort(random.integers(1, days * 86_400_000, rows)) * 1_000_000
    price = 10_000_000 + np.cumsum(random.integers(-3, 4, rows))
    return time, price, random.integers(1, 100_000, rows), random.integers(1, 3, rows).astype(np.uint8)


def cut(columns: Columns, rows: int) -> list[Columns]:
    starts = range(0, len(columns[0]), rows)
    return [tuple(column[start : start + rows] for column in columns) for start in starts]  # type: ignore[misc]  # four columns


def fold(batches: Iterable[Columns]) -> CandleBook:
    candles = book()
    for offset, batch in enumerate(batches):
        candles.fold(*batch, offset)
    return candles


def seconds(run: Callable[[], Any]) -> float:
    """The best of some rounds, after a warm-up."""
    run()
    times = []
    for _ in range(ROUNDS):
        before = perf_counter()
        run()
        times.append(perf_counter() - before)
    return min(times)


def main() -> None:
    print(f"{'work':44s} {'seconds':>9s} {'M ticks/s':>10s} {'µs a call':>10s}")
    many = ticks(10_000_000)
    for rows in (len(many[0]), 10_000, 500, 100, 1):
        some = cut(tuple(column[: 20_000 * rows] for column in many), rows)  # type: ignore[arg-type]  # four columns
        report(f"fold, {rows:,} rows a call", sum(len(b[0]) for b in some), len(some), lambda b=some: fold(b))
    late = cut(many, 100_000)[0]
    late[3][:] |= 0x80
    folded = fold([many])
    state = folded.state()
    report("backfill of closed minutes, 10,000 a call", 100_000, 10, lambda: revise(many, late))
    report("state", 1, 1, folded.state)
    report("restore", 1, 1, lambda: CandleBook.restore(state))
    report("a silent year", 525_600, 1, silent_year)
    million = tuple(column[:1_000_000] for column in many)
    frame = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(million[0], utc=True),
            "price": million[1] / 100,
            "size": million[2] / 10**8,
        }
    )
    report(
        "aggregate_to_timeframe, DataFrame to 1m", 10**6, 1, lambda: list(aggregate_to_timeframe(frame, "1m"))
    )


def report(name: str, rows: int, calls: int, run: Callable[[], Any]) -> None:
    taken = seconds(run)
    print(f"{name:44s} {taken:9.4f} {rows / taken / 1e6:10.2f} {taken / calls * 1e6:10.2f}")


def revise(columns: Columns, late: Columns) -> None:
    candles = CandleBook(closed="right", grace_ns=0, horizon_ns=2 * DAY_NS)
    end = np.array([late[0][-1] + MINUTE_NS])
    time, price, size, kind = columns
    candles.fold(time[:1], price[:1], size[:1], kind[:1], 0)
    candles.fold(end, end, end, np.array([RowKind.CLOCK], np.uint8), 1)
    for batch in cut(late, 10_000):
        candles.fold(*batch, 2)


def silent_year() -> None:
    candles = book()
    time, one = np.array([START_NS, START_NS + 525_600 * MINUTE_NS]), np.ones(2, np.int64)
    candles.fold(time, one, one, np.zeros(2, np.uint8), 0)


# ---------------------------------------------------------------- as a peer of the yardsticks


def _yardstick(opt: Namespace, days: int | None = None) -> tuple[np.ndarray, list[Columns]]:
    """The yardsticks' trades as integers at two and four decimals: symbol of each row, and columns."""
    import gen  # type: ignore[import-not-found]  # of the yardsticks, which put their folder on the path

    data = gen.trades(opt.n, opt.symbols, path=opt.data, **({} if days is None else {"days": days}))
    symbol = data["sym"][: opt.n].astype(np.uint16)
    columns = (
        data["ts_ns"][: opt.n].copy(),
        np.rint(data["price"][: opt.n] * 100).astype(np.int64),
        np.rint(data["size"][: opt.n] * 10_000).astype(np.int64),
        np.ones(len(symbol), np.uint8),
    )
    return symbol, [columns]


def _split(symbol: np.ndarray, columns: Columns) -> Iterable[tuple[int, Columns]]:
    """The rows of each market, in blocks as journal records would hold them."""
    markets = int(symbol.max()) + 1
    for start in range(0, len(symbol), RECORD_ROWS):
        time, price, size, kind = (column[start : start + RECORD_ROWS] for column in columns)
        block = Ticks(symbol[start : start + RECORD_ROWS], kind, time, price, size, None)
        for market, rows in enumerate(by_market(block, markets)):
            yield market, rows[:4]


def batch(opt: Namespace) -> Callable[[], str]:
    """Always all six timeframes; the check counts those asked for, and the trades of the candles still
    open."""
    symbol, [columns] = _yardstick(opt)
    frames = len(TIMEFRAMES) if opt.frames == 6 else 1
    end = np.array([(int(columns[0][-1]) // DAY_NS + 1) * DAY_NS])
    clock = np.array([RowKind.CLOCK], np.uint8)

    def run() -> str:
        books = [book() for _ in range(opt.symbols)]
        closed = []
        parts = [(0, columns)] if opt.symbols == 1 else _split(symbol, columns)
        for market, rows in parts:
            closed.append(books[market].fold(*rows, 0).closed)
        closed += [candles.fold(end, end, end, clock, 1).closed for candles in books]
        return _check(_table(closed), frames)

    return run


def _table(closed: list[np.ndarray]) -> np.ndarray:
    """All candles as rows of integers."""
    return np.concatenate([part.view(np.int64) for part in closed]).reshape(-1, len(_NAMES))


def _check(table: np.ndarray, frames: int) -> str:
    names = [_NAMES.index(name) for name in ("timeframe", "trades", "volume", "close")]
    timeframe, trades, volume, close = (table[:, i] for i in names)
    shown = (timeframe < frames) & (trades > 0)
    return f"{shown.sum()} {volume[shown].sum() / 10_000:.1f} {close[shown].sum() / 100:.0f}"


def live(opt: Namespace) -> Callable[[], dict[str, str]]:
    """Batches of 100 rows of one market, split before the clock starts; the check counts 1m candles."""
    symbol, [columns] = _yardstick(opt, opt.days)
    batches = []
    for market in range(opt.symbols):
        mine = tuple(column[symbol == market] for column in columns)
        batches += [(market, part) for part in cut(mine, 100)]  # type: ignore[arg-type]  # four columns

    def run() -> dict[str, str]:
        books = [book() for _ in range(opt.symbols)]
        table = _table([books[market].fold(*rows, 0).closed for market, rows in batches])
        count, _, close = _check(table, 1).split()
        return {"check": f"{count} {close}"}

    return run


if __name__ == "__main__":
    main()
