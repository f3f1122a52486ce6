"""What a collecting process shows of its sources in Prometheus, by venue and symbol of what it collects."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping

from infra.exchange.asked import parted, venue_of
from infra.exchange.status import DiskStatus, MarketStatus, ProviderStatus, SourceStatus
from infra.process import telemetry

Standings = Callable[[], list[SourceStatus]]
GAPS = ("open", "final", "filled")


def gauges(
    newest: Mapping[str, int], names: Iterable[str], connected: Container[str], standings: Standings
) -> telemetry.Gauges:
    """Asked for at a scrape, in another thread. `newest`: by market, when rows were appended last, ns;
    `names` of all providers."""
    return {
        "tcpd_collected_data_age_seconds": (
            "Since the newest rows of the market were appended to the journal.",
            "market",
            lambda: telemetry.ages(dict(newest)),
        ),
        "tcpd_provider_connected": (
            "1 while the provider's messages are read, 0 while it fails.",
            "provider",
            lambda: {venue_of(name): float(name in connected) for name in names},
        ),
        **_of_markets(standings),
        **_of_venues(standings),
    }


def of_disk(looked: Callable[[], DiskStatus | None]) -> telemetry.Gauges:
    """The same of the disk that the log is on; `looked`: at it, by the newest look."""

    def days() -> dict[tuple[()], float]:
        disk = looked()
        left = None if disk is None else disk.days_left
        return {} if left is None else {(): left}

    return {"tcpd_log_disk_days_left": ("So long the disk lasts as the log grows.", (), days)}


def _of_markets(standings: Standings) -> telemetry.Gauges:
    def markets() -> Iterator[tuple[tuple[str, str], MarketStatus, ProviderStatus | None]]:
        for source in standings():
            for market in source.markets:
                yield parted(market.market), market, source.provider

    market = ("venue", "symbol")
    return {
        "tcpd_source_state": (
            "1 for the state that the market's feed is in.",
            (*market, "state"),
            lambda: {(*key, one.state): 1.0 for key, one, _ in markets()},
        ),
        "tcpd_source_trade_age_seconds": (
            "Since the last trade came live.",
            market,
            lambda: {key: one.age_s for key, one, _ in markets() if one.age_s is not None},
        ),
        "tcpd_source_trades_per_second": (
            "Trades that came live, over the last minute.",
            market,
            lambda: {key: one.trades_s for key, one, _ in markets()},
        ),
        "tcpd_source_gaps": (
            "Gaps that are open, of those final, and filled; the newest of the market.",
            (*market, "kind"),
            lambda: {
                (*key, kind): float(count)
                for key, one, _ in markets()
                for kind, count in zip(GAPS, one.gaps, strict=True)
            },
        ),
        "tcpd_source_repeats": (
            "Trades that came once more, since the provider began.",
            market,
            lambda: {key: float(told.repeats.get(one.market, 0)) for key, one, told in markets() if told},
        ),
        "tcpd_source_refused": (
            "Rows that were left out as dead letters, since the collector began.",
            market,
            lambda: {key: float(one.refused) for key, one, _ in markets()},
        ),
    }


def _of_venues(standings: Standings) -> telemetry.Gauges:
    def told() -> Iterator[tuple[str, ProviderStatus]]:
        for source in standings():
            if source.provider is not None:
                yield venue_of(source.source), source.provider

    return {
        "tcpd_source_clock_skew_seconds": (
            "How far the clock here is ahead of the venue's.",
            "venue",
            lambda: {key: one.skew_ms / 1000 for key, one in told() if one.skew_ms is not None},
        ),
        "tcpd_source_reconnects": (
            "Connections that ended, since the provider began.",
            "venue",
            lambda: {key: float(one.reconnects) for key, one in told()},
        ),
        "tcpd_source_rest_pages": (
            "Pages of trades that were asked for in the last minute.",
            "venue",
            lambda: {key: float(one.rest.pages) for key, one in told()},
        ),
        "tcpd_source_rest_pages_allowed": (
            "Pages of trades that may be asked for in a minute.",
            "venue",
            lambda: {key: float(one.rest.pages_max) for key, one in told()},
        ),
        "tcpd_source_raw_dropped": (
            "Frames that --raw could not keep, since the collector began.",
            "venue",
            lambda: {key: float(one.raw.dropped) for key, one in told() if one.raw is not None},
        ),
        "tcpd_source_error_age_seconds": (
            "Since something went wrong with the source last.",
            "venue",
            lambda: telemetry.ages(
                {venue_of(one.source): one.last_trouble.at for one in standings() if one.last_trouble}
            ),
        ),
        "tcpd_source_journal_bytes_per_day": (
            "That the source writes, by the last day or what is known of it.",
            "venue",
            lambda: {venue_of(one.source): one.bytes_day for one in standings() if one.bytes_day is not None},
        ),
    }
