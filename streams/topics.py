"""The names of the streams, and of the markets that their records are keyed by."""

import re

JOURNAL = "journal"
CANDLES = "candles"
SIGNALS = "signals"
TRADES = "trades"
BOTS = "bots"
SYSTEM = "system"
RESEARCH = "research"
"""The ledger of trials, which nothing folds, projects or compares; all of it stands in partition 0."""
SNAPSHOTS = "snapshots"
"""State of the fold, disposable: the only stream that is compacted."""

DERIVED = (CANDLES, SIGNALS, TRADES, BOTS)
"""Streams that `verify` compares."""
PROJECTED = (*DERIVED, SYSTEM)
SHOWN = (JOURNAL, *PROJECTED, RESEARCH)
"""Streams whose events people read."""
ALL = (*SHOWN, SNAPSHOTS)

GROUP = "tcpdashboard"
"""The consumer group of all workers of a log; on Kafka behind the log's prefix, as a topic."""

PARTITIONS_DEFAULT = 4
RECORD_BYTES_MAX = 900_000
"""No record is larger; Kafka's default limit is 1 MiB."""


VENUE = r"[A-Za-z0-9_.-]{1,64}"
SYMBOL = r"[^\s\x00-\x1f\x7f]{1,100}"
_MARKET = re.compile(f"{VENUE}:{SYMBOL}")


def market_key(venue: str, symbol: str) -> str:
    return f"{venue}:{symbol}"


def is_market_key(key: str) -> bool:
    return _MARKET.fullmatch(key) is not None
