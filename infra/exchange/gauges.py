"""What a collecting process shows of its sources in Prometheus."""

from collections.abc import Callable, Mapping

from infra.exchange.asked import venue_of
from infra.process import telemetry


def gauges(newest: Mapping[str, int], connected: Callable[[], Mapping[str, bool]]) -> telemetry.Gauges:
    """Asked for at a scrape, in another thread. `newest`: by market, when rows were appended last, ns."""
    return {
        "tcpd_collected_data_age_seconds": (
            "Since the newest rows of the market were appended to the journal.",
            "market",
            lambda: telemetry.ages(dict(newest)),
        ),
        "tcpd_provider_connected": (
            "1 while the provider's messages are read, 0 while it fails.",
            "provider",
            lambda: {venue_of(name): float(is_connected) for name, is_connected in connected().items()},
        ),
    }
