"""The names of the streams."""

JOURNAL = "journal"
CANDLES = "candles"
SIGNALS = "signals"
TRADES = "trades"
BOTS = "bots"
SYSTEM = "system"
SNAPSHOTS = "snapshots"
"""State of the fold, disposable: the only stream that is compacted."""

DERIVED = (CANDLES, SIGNALS, TRADES, BOTS)
"""Streams that `verify` compares."""
PROJECTED = (*DERIVED, SYSTEM)
ALL = (JOURNAL, *PROJECTED, SNAPSHOTS)

GROUP = "tcpdashboard"
"""The consumer group of all workers of a log; on Kafka behind the log's prefix, as a topic."""

PARTITIONS_DEFAULT = 4
RECORD_BYTES_MAX = 900_000
"""No record is larger; Kafka's default limit is 1 MiB."""


def market_key(venue: str, symbol: str) -> str:
    return f"{venue}:{symbol}"
