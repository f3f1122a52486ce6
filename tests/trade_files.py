"""Small files of trades, and what an import has made of them."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pyarrow import feather

from infra.exchange.files import Imported, ImportOptions, import_files, in_order
from infra.exchange.forms import FileOptions
from infra.exchange.pieces import FileReadError
from infra.exchange.specification import inferred
from infra.exchange.trade_file import BadRowError, TradeFile
from streams import codec
from streams.events import Market, TickBatch
from streams.journal import Reached, scan
from streams.log import Log, LogError
from streams.records import Entry, Position, partition_of
from streams.ticks import Ticks, concatenate, unpack
from streams.topics import JOURNAL, SYSTEM

MARKET = Market(
    venue="v",
    symbol="BTC/USD",
    base="BTC",
    quote="USD",
    settle="USD",
    contract="spot",
    price_scale=2,
    size_scale=3,
    cash_scale=8,
    price_step=1,
    size_step=1,
    min_size=1,
    closed="left",
)
START_MS = 1514764800123


def import_file(
    log: Log,
    path: Path,
    market: Market,
    options: FileOptions | None = None,
    progress: Callable[[float, Path], None] | None = None,
    watermark: int = 0,
    **how: Any,
) -> Imported:
    """Import one file; `how`: see `ImportOptions`."""
    return import_all(log, [path], market, options, progress, watermark, **how)


def import_all(
    log: Log,
    paths: Sequence[Path],
    market: Market,
    options: FileOptions | None = None,
    progress: Callable[[float, Path], None] | None = None,
    watermark: int = 0,
    **how: Any,
) -> Imported:
    state = scan(log, [partition_of(market.key.encode(), log.partitions)])
    state.newest.setdefault(market.key, Reached(watermark))
    files = in_order([TradeFile(path, options) for path in paths])
    done = Imported()
    try:
        import_files(log, files, market, state, ImportOptions(**how), done, progress)
    except (BadRowError, FileReadError):
        assert_adds_up(done)
        raise
    assert_adds_up(done)
    return done


def assert_adds_up(done: Imported) -> None:
    assert done.rows == done.appended + done.there + done.others + done.bad


def market_of(
    path: Path, venue: str, symbol: str, *, options: FileOptions | None = None, **given: Any
) -> Market:
    """As an import infers it."""
    return inferred(venue, symbol, TradeFile(path, options).sample.decimals, **given)[0]


def rows(count: int) -> list[dict]:
    """Trades with repeats, equal times, and a step back in time, as files have them."""
    return [
        {
            "timestamp": START_MS + 700 * (n // 3) - (5000 if n % 17 == 16 else 0),
            "price": round(13873.5 + (n * 7 % 100) / 100, 2),
            "size": round(0.001 * (1 + n % 5), 3),
            "side": "buy" if n % 3 else "sell",
            "id": 1000 + n,
        }
        for n in range(count)
    ]


def write_csv(path: Path, table: list[dict]) -> Path:
    lines = [",".join(table[0]), *(",".join(map(str, row.values())) for row in table)]
    path.write_text("\n".join(lines) + "\n")
    return path


def journal(log: Log, market: Market = MARKET) -> list:
    partition = partition_of(market.key.encode(), log.partitions)
    return [codec.decode_input(r.value) for r in log.read(JOURNAL, partition, 1)]


def batches(log: Log, market: Market = MARKET) -> list[TickBatch]:
    return [i.event for i in journal(log, market) if isinstance(i.event, TickBatch)]


def imported(log: Log, market: Market = MARKET) -> Ticks:
    return concatenate([unpack(batch) for batch in batches(log, market)])


def content(log: Log) -> list[list[int]]:
    ticks = imported(log)
    assert ticks.id is not None
    return [c.tolist() for c in (ticks.kind, ticks.time, ticks.price, ticks.size, ticks.id)]


def letters(log: Log) -> list[str]:
    return [
        event.reason
        for partition in range(log.partitions)
        for record in log.read(SYSTEM, partition)
        for event in codec.decode_output(record.value).events
    ]


def as_csv(path: Path, table: pa.Table) -> None:
    pa_csv.write_csv(table, path)


def as_json_lines(path: Path, table: pa.Table) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def as_json_array(path: Path, table: pa.Table) -> None:
    path.write_text(json.dumps(table.to_pylist(), indent=1))


def as_parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, row_group_size=37)


def as_feather(path: Path, table: pa.Table) -> None:
    feather.write_feather(table, path, chunksize=41)


FORMS = [as_csv, as_json_lines, as_json_array, as_parquet, as_feather]


class DyingLog:
    """A log that a writer loses after some appends."""

    def __init__(self, log: Log, appends: int) -> None:
        self.url, self.partitions, self.left = log.url, log.partitions, appends
        self.read, self.earliest, self._append = log.read, log.earliest, log.append

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        self.left -= 1
        if self.left < 0:
            raise LogError("gone")
        return self._append(entries, sync=sync)
