"""Files of trades that went wrong on their way: what follows from a seed is always the same file."""

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

START_MS = 1_748_854_801_250
Table = list[dict[str, Any]]

CELLS = (
    "", " ", "nan", "NaN", "inf", "-inf", "-0", "0", "-1", "1e-999999999", "1e999999999", "1e99", "-1e400",
    "0e9999", "1_0", "٣", "9" * 40, "9" * 5_000, "1." + "0" * 400, "0x10", "1,5", '"', '"1', "a\nb", "a\rb",
    "\x00", "\u2028", "\ud800", "null", "true", "False", "buy", "2081-01-01T00:00:00Z",
    "9999-12-31T00:00:00Z",
    "0001-01-01T00:00:00Z", "2025-02-30T00:00:00Z", "2025-06-02T24:00:00Z", "[1]", "{}", "[" * 3_000,
    "1748854801250", "3376684800000", "-5", "18446744073709551616", "9007199254740993", "1e-8", "+1",
    ".5", "5.", "0.00000000000000000000001", "=1+1",
)  # fmt: skip
"""What cells may hold."""


def hostile_file(seed: int) -> bytes:
    rng = Random(seed)
    table = _table(rng)
    for _ in range(rng.randrange(3)):
        rng.choice(TABLES)(rng, table)
    data = rng.choice(WRITERS)(rng, table)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        data = rng.choice(BYTES)(rng, data)
    return rng.choice(WRAPPERS)(data)


def _table(rng: Random) -> Table:
    step, rows = rng.choice((1, 700, 61_000, 86_400_000)), rng.choice((1, 2, 30, 300))
    table = [
        {
            "timestamp": START_MS + step * n,
            "price": f"{100 + rng.randrange(-50, 50) / 4:.2f}",
            "size": f"{rng.randrange(1, 900) / 100}",
            "side": rng.choice(("buy", "sell")),
            "id": 1_000 + n,
        }
        for n in range(rows)
    ]
    if rng.random() < 0.2:
        table = [{"symbol": "AAAUSD"} | row for row in table]
    return table


# ---------------------------------------------------------------- what happens to rows


def _cells(rng: Random, table: Table) -> None:
    for _ in range(rng.choice((1, 1, 5))):
        row = rng.choice(table)
        row[rng.choice(list(row))] = rng.choice(CELLS)


def _astray(rng: Random, table: Table) -> None:
    rng.choice(table)["timestamp"] = START_MS + rng.choice((-1, 1)) * rng.randrange(10**12)


def _shuffled(rng: Random, table: Table) -> None:
    rng.shuffle(table)


def _newest_first(rng: Random, table: Table) -> None:
    table.reverse()


def _repeated(rng: Random, table: Table) -> None:
    table.extend([dict(row) for row in rng.choices(table, k=len(table) // 2)])


def _symbols(rng: Random, table: Table) -> None:
    for row in table:
        row["symbol"] = rng.choice(("AAAUSD", "BBBUSD"))


def _renamed(rng: Random, table: Table) -> None:
    old, new = rng.choice(list(table[0])), rng.choice(("x", "price", "1", "", "created_time", "volume"))
    for row in table:
        if old in row:
            row[new] = row.pop(old)


def _ragged(rng: Random, table: Table) -> None:
    row = rng.choice(table)
    row.pop(rng.choice(list(row)))


TABLES: tuple[Callable[[Random, Table], None], ...] = (
    _cells, _cells, _cells, _astray, _shuffled, _newest_first, _repeated, _symbols, _renamed, _ragged,
)  # fmt: skip

# ---------------------------------------------------------------- how rows are written


def _csv(rng: Random, table: Table) -> bytes:
    text = io.StringIO(newline="")
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    end = rng.choice(("\n", "\n", "\r\n", "\r"))
    writer = csv.writer(text, quoting=quoting, lineterminator=end, delimiter=rng.choice(",,;\t"))
    if rng.random() < 0.8:
        writer.writerow(table[0])
    writer.writerows(row.values() for row in table)
    return text.getvalue().encode(errors="surrogatepass")


def _raw_csv(rng: Random, table: Table) -> bytes:
    lines = [",".join(map(str, table[0])), *(",".join(map(str, row.values())) for row in table)]
    return "\n".join(lines).encode(errors="surrogatepass")


def _json_lines(rng: Random, table: Table) -> bytes:
    rows = [list(row.values()) for row in table] if rng.random() < 0.3 else table
    return "\n".join(map(json.dumps, rows)).encode()


def _json_array(rng: Random, table: Table) -> bytes:
    rows = [list(row.values()) for row in table] if rng.random() < 0.3 else table
    return json.dumps(rows, indent=rng.choice((None, 1))).encode()


def _columnar(rng: Random, table: Table) -> bytes:
    names = list(dict.fromkeys(name for row in table for name in row))
    columns: dict[str, Any] = {}
    for name in names:
        cells = [row.get(name) for row in table]
        try:
            columns[name] = pa.array([None if cell is None else float(cell) for cell in cells])
        except ValueError:
            texts = [None if cell is None else str(cell).encode(errors="replace").decode() for cell in cells]
            columns[name] = pa.array(texts)
    sink = io.BytesIO()
    if rng.random() < 0.5:
        pq.write_table(pa.table(columns), sink, row_group_size=17)
    else:
        feather.write_feather(pa.table(columns), sink)
    return sink.getvalue()


WRITERS: tuple[Callable[[Random, Table], bytes], ...] = (
    _csv, _csv, _raw_csv, _json_lines, _json_lines, _json_array, _columnar,
)  # fmt: skip

# ---------------------------------------------------------------- what happens to bytes


def _flipped(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(1, len(data) + 1)]


def _put_in(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    put = rng.choice(
        (b'"', b"\n", b"\n\n", b"\r", b"\x00", b"\xff\xfe", b"[" * 5_000, b'{"a":' * 5_000, b"x" * 200_000)
    )
    return data[:at] + put + data[at:]


def _twice(rng: Random, data: bytes) -> bytes:
    return data + data


BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (_flipped, _cut, _put_in, _put_in, _twice)


def _as_it_is(data: bytes) -> bytes:
    return data


def _zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trades", data)
    return sink.getvalue()


WRAPPERS: tuple[Callable[[bytes], bytes], ...] = (_as_it_is, _as_it_is, _as_it_is, gzip.compress, _zipped)
