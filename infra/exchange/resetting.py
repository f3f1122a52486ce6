"""A market whose venue counts its trades from the beginning again begins anew, because somebody says so."""

import time

from infra.commands.journal_view import import_state
from infra.exchange.asked import parted, venue_of
from infra.exchange.in_hand import in_hand
from infra.exchange.venues.flow import ANEW
from infra.exchange.venues.known import VENUES, by_venue
from infra.exchange.venues.venue import NumberedVenue
from infra.process.settings import Settings
from streams.events import Feed, Gap, IdsReset
from streams.feeds import KnownFeed
from streams.journal import JournalState, JournalWriter, next_epoch
from streams.log import Log
from streams.records import partition_of
from streams.ticks import NO_ID

WAS_RESET = "it was reset: its next start goes on with the new trade ids"


def reset(settings: Settings, log: Log, feed: str, *, who: str, reason: str) -> IdsReset:
    """Write into the journal that the ids of `VENUE:SYMBOL` began anew. What is missing with ids from before
    can be had no more, which is written too, as is what its feed says now. Raises `ValueError` where they did
    not, `InHandError` while the market is collected, and `LogError`."""
    ((venue, symbols),) = by_venue([feed]).items()
    if not isinstance(VENUES[venue], NumberedVenue):
        raise ValueError(f"{feed}: the trade ids of {venue} are no numbers, so they never begin anew")
    with in_hand(settings.home, venue, symbols, or_else="reset, and start it again"):
        source = f"reset:{feed}"
        state = import_state(log, feed, [source])
        said = _said(state, feed)
        since = state.traded.get(feed, 0)
        event = IdsReset(market=feed, since=since, who=who, at=time.time_ns(), reason=reason)
        gaps = state.gaps[feed].open if feed in state.gaps else []
        final = [
            Gap(market=feed, start=gap.start, end=gap.end, reason=f"{gap.reason}; {ANEW}", final=True)
            for gap in gaps
            if gap.first_id != NO_ID
        ]
        epoch = next_epoch(state.epochs.get((partition_of(feed.encode(), log.partitions), source), -1))
        words = [
            Feed(market=feed, source=known.source, state="down", since=known.since, reason=WAS_RESET)
            for known in said
        ]
        JournalWriter(log, source, epoch).append_all([(feed, one) for one in (*final, event, *words)])
        return event


def _said(state: JournalState, feed: str) -> list[KnownFeed]:
    """By which sources the ids began anew."""
    if feed not in state.markets:
        raise ValueError(f"market {feed!r} is not in the journal; `tcpdashboard sources` has those that are")
    told = state.feeds[feed].known.values() if feed in state.feeds else ()
    venue, _ = parted(feed)
    said = [known for known in told if venue_of(known.source) == venue and known.reason.startswith(ANEW)]
    if not said:
        raise ValueError(
            f"{feed}: nothing says that its trade ids began anew, and a reset leaves a gap; where they did,"
            " `tcpdashboard sources` says so"
        )
    return said
