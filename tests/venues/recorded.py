"""What exchanges sent, of `../shared/data`."""

import gzip
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.venues.fake import FakeVenue
from tests.venues.trades import Frame, Trade

BINANCE_DAYS = ("raw_ws/spot_btcusdt_20240808.gz", "raw_ws/spot_btcusdt_20240809.gz")
BINANCE_TRADES = "trades_ids/binance_spot_BTCUSDT_20240808T2354_0005.parquet"
SAMPLE = "raw_ws/cryptofeed_sample_A.tar.xz"


def raw_frames(venue: FakeVenue, *files: Path) -> list[Frame]:
    """The frames with trades of raw files: a line is the receive time in ns, a space, and the text."""
    frames: list[Frame] = []
    for file in files:
        with gzip.open(file, "rt") as lines:
            texts = (line.partition(" ")[2].strip() for line in lines)
            frames += _with_trades(venue, texts)
    return frames


def _with_trades(venue: FakeVenue, texts: Iterator[str]) -> list[Frame]:
    found = ((text, venue.read(text)) for text in texts if text.startswith("{"))
    return [Frame(trades, text) for text, trades in found if trades]


def binance_frames(venue: FakeVenue, shared_data: Path) -> list[Frame]:
    """19,904 trades of BTCUSDT in 11 minutes across a midnight, as they came."""
    return raw_frames(venue, *(shared_data / day for day in BINANCE_DAYS))


def binance_trades(shared_data: Path) -> list[Trade]:
    """The same, of the file that says what is right."""
    rows = pq.read_table(shared_data / BINANCE_TRADES).to_pylist()
    return [
        Trade(
            "BTCUSDT",
            str(row["trade_id"]),
            row["trade_time_ms"],
            row["price"],
            row["qty"],
            "sell" if row["buyer_is_maker"] else "buy",
        )
        for row in rows
    ]


def okx_frames(venue: FakeVenue, shared_data: Path) -> list[Frame]:
    """74 trades of three instruments: spot, a swap and a future."""
    texts = (line.partition(": ")[2].strip() for line in _sample(shared_data, "OKX.ws.1.0"))
    return _with_trades(venue, texts)


def binance_listing(shared_data: Path) -> list[dict[str, Any]]:
    """1,695 markets."""
    line = _sample(shared_data, "BINANCE.0")[0]
    return json.loads(line[line.index("{") :])["symbols"]


def okx_listing(shared_data: Path) -> list[dict[str, Any]]:
    """Spot, swaps, futures and options."""
    answers = [
        line[line.index("{") :] for line in _sample(shared_data, "OKX.0") if line.startswith("https://")
    ]
    return [row for answer in answers for row in json.loads(answer)["data"]]


@cache
def _sample(shared_data: Path, name: str) -> list[str]:
    with tarfile.open(shared_data / SAMPLE) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read().decode().splitlines()


def on_market(trades: list[Trade], market: str) -> list[Trade]:
    return [trade._replace(market=market) for trade in trades]
