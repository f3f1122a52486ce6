"""Prometheus metrics of all processes, defined in this one place.

Counters move once a record or batch, never once a tick; what can be asked for is asked for at the scrape.
Labels are partitions, markets, and names of our own: what users write is in none.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.events import BACKFILL, RowKind, TickBatch

FOLD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0)
DELAY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)
REQUEST_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)

TICKS = Counter("tcpd_ticks_folded", "Trades in the journal records that were folded.")
TICKS_COLLECTED = Counter("tcpd_ticks_collected", "Trades that were appended to the journal.")
RECORDS_COLLECTED = Counter("tcpd_records_collected", "Records that were appended to the journal.")
PROVIDER_FAILURES = Counter("tcpd_provider_failures", "Times that a provider failed and was started again.")
FOLD_SECONDS = Histogram("tcpd_fold_seconds", "Time to fold one journal record.", buckets=FOLD_S)
REPEATS = Counter("tcpd_trades_repeated", "Trades that were folded before, by id, time, price and size.")
IDS_REUSED = Counter("tcpd_trades_with_reused_id", "Trades whose id another trade of their market has.")
UNDECIDED = Counter("tcpd_trades_undecided", "Trades that count as new and may be repeats.")
DEAD_LETTERS = Counter("tcpd_dead_letters", "Records and messages that could not be read or folded.")
PUBLISH_DELAY_SECONDS = Histogram(
    "tcpd_publish_delay_seconds",
    "From the time of a journal record to when what followed from it was published to Redis.",
    buckets=DELAY_S,
)
REDIS_CONNECTED = Gauge("tcpd_redis_connected", "1 while the mirror is connected to Redis.")
REQUEST_SECONDS = Histogram(
    "tcpd_api_request_seconds", "API requests by route template.", ["method", "route", "status"],
    buckets=REQUEST_S,
)  # fmt: skip
SOCKET_READERS = Gauge("tcpd_websocket_readers", "Open WebSockets.")
SOCKETS_CUT_OFF = Counter("tcpd_websocket_readers_cut_off", "WebSockets closed because they read too slowly.")

CONTENT_TYPE = CONTENT_TYPE_LATEST
CLOCKS = (RowKind.CLOCK, RowKind.CLOCK | BACKFILL)
"""Kinds of rows that are no trades."""


def exposition() -> bytes:
    """All metrics of this process, in Prometheus' text format."""
    return generate_latest(REGISTRY)


Names = str | tuple[str, ...]
Gauges = Mapping[str, tuple[str, Names, Callable[[], Mapping[Any, float]]]]
"""By name: description, label or labels, and a function of the values by the labels' values, `Names` too."""


class Asked(Collector):
    """Gauges that are asked for at each scrape.

    A function that raises leaves its gauge out: a metric that is missing alarms, an old value does not.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(name, description) for name, (description, _, _) in self._gauges.items()]

    def collect(self) -> Iterator[Metric]:
        for name, (description, labels, values) in self._gauges.items():
            family = GaugeMetricFamily(name, description, labels=_names(labels))
            with suppress(Exception):
                for value, number in values().items():
                    family.add_metric(_names(value), number)
            yield family


def _names(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


@contextmanager
def asked(gauges: Gauges) -> Iterator[None]:
    """While this is open, the gauges stand in the metrics."""
    collector = Asked(gauges)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)


def trades(batch: TickBatch) -> int:
    """How many of its rows are trades."""
    return batch.rows - sum(batch.kind.count(clock) for clock in CLOCKS)


def ages(times: Mapping[str, int]) -> dict[str, float]:
    """Seconds since these times in ns, none below 0."""
    now = time.time_ns()
    return {name: max(0, now - at) / 1e9 for name, at in times.items()}
