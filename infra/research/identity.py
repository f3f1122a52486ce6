"""Hashes of what a result is made of: the product's code, and the bars with their fills."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from projections.research.run import Prepared

ROOT = Path(__file__).parents[2]
COLUMNS = ("streams", "projections/fold", "projections/research")
"""What columns are made by."""
RESULTS = (*COLUMNS, "projections/strategies", "infra/research")
"""What results are made by."""
PACKAGES = ("llvmlite", "numba", "numpy")


@cache
def code_hash(root: Path = ROOT, parts: tuple[str, ...] = COLUMNS) -> str:
    """SHA-256 over the sources that columns depend on, or those of other parts, and some more."""
    digest = sha256()
    for source in sorted(file for part in parts for file in (root / part).rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def product_hash() -> str:
    """SHA-256 over all that results depend on but the strategy: our sources, and what compiles them."""
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    return sha256("\n".join([code_hash(ROOT, RESULTS), *versions]).encode()).hexdigest()


def data_hash(prepared: Prepared, higher: Sequence[str] = ()) -> str:
    """SHA-256 over bars, fills, events and specifications, whatever the costs, and over the candles of these
    higher timeframes."""
    columns = prepared.columns
    eras = [replace(era, fee=0, slippage=0) for era in columns.eras]
    head = (columns.market, columns.timeframe, columns.assumed, eras, columns.events)
    digest = sha256(msgspec.msgpack.encode(head))
    for table in (prepared.bars, columns.trades):
        digest.update(np.ascontiguousarray(table).data)
    for timeframe in higher:
        candles = prepared.of(timeframe)
        for column in (candles.ends, candles.values):
            digest.update(column.data)
    return digest.hexdigest()
