"""How a source stands, by what its provider tells, what was written of it, and what it fails with."""

import time

from infra.exchange.asked import parted
from infra.exchange.feed import Feed
from infra.exchange.status import ProviderStatus, SourceStatus, Trouble
from streams.events import FeedState

ASKING = "its markets are asked for"
BEGINNING = "nothing is known of it yet"


def standing(feed: Feed, failing: str, now_s: float) -> SourceStatus:
    """`failing`: what its provider fails with, "" while it delivers; `now_s` of the clock by which it is
    counted."""
    told = _told(feed)
    states = ((key, _state(feed, key, failing, reports=told is not None)) for key in feed.keys)
    return SourceStatus(
        feed.writer.source,
        time.time_ns(),
        [feed.counts.of(key, state, now_s) for key, state in states if state],
        told,
        feed.counts.trouble,
        feed.counts.refused,
        feed.counts.bytes_day(now_s),
    )


def _told(feed: Feed) -> ProviderStatus | None:
    """What a provider says costs nobody anything but its own."""
    try:
        return feed.provider.status()
    except Exception as error:  # noqa: BLE001 - whatever it makes of it
        feed.counts.trouble = Trouble(f"its status: {error!r}", time.time_ns())
        return None


def _state(feed: Feed, key: str, failing: str, *, reports: bool) -> tuple[FeedState, str, int] | None:
    """State, reason and since when; None for a market of another provider."""
    told = feed.states.told(key)
    since = told.since if told else 0
    if failing:
        return "down", failing, since
    if reason := feed.refused.get(key) or feed.provider.why_not.get(parted(key)[1]):
        return "down", reason, since
    if not feed.has(key):
        return None if feed.has_markets else ("catching_up", ASKING, 0)
    if told:
        return told.state, told.reason, since
    return ("catching_up", BEGINNING, 0) if reports else ("live", "", 0)
