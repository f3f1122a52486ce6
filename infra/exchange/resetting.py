"""A market whose venue counts its trades from the beginning again begins anew, because somebody says so."""

import time

from infra.commands.journal_view import import_state
from infra.exchange.asked import venue_of
from infra.exchange.in_hand import in_hand
from infra.exchange.venues.flow import ANEW
from infra.exchange.venues.known import VENUES, by_venue
from infra.exchange.venues.venue import NumberedVenue
from infra.process.settings import Settings
from streams.events import Gap, IdsReset
from streams.journal import JournalState, JournalWriter, next_epoch
from streams.log import Log
from streams.records import partition_of
from streams.ticks import NO_ID


def reset(settings: Settings, log: Log, feed: str, *, who: str, reason: str) -> IdsReset:
    """Write into the journal that the ids of `VENUE:SYMBOL` began anew. What is missing with ids from before
    can be had no more, which is written too. Raises `ValueError` where they did not, `InHandError` while the
    market is collected, and `LogError`."""
    ((venue, symbols),) = by_venue([feed]).items()
    if not isinstance(VENUES[venue], NumberedVenue):
        raise ValueError(f"{feed}: the trade ids of {venue} are no numbers, so they never begin anew")
    with in_hand(settings.home, venue, symbols, or_else="reset, and start it again"):
        source = f"reset:{feed}"
        state = import_state(log, feed, [source])
        _check(state, feed)
        since = state.traded.get(feed, 0)
        event = IdsReset(market=feed, since=since, who=who, at=time.time_ns(), reason=reason)
        gaps = state.gaps[feed].open if feed in state.gaps else []
        final = [
            Gap(market=feed, start=gap.start, end=gap.end, reason=f"{gap.reason}; {ANEW}", final=True)
            for gap in gaps
            if gap.first_id != NO_ID
        ]
        epoch = next_epoch(state.epochs.get((partition_of(feed.encode(), log.partitions), source), -1))
        JournalWriter(log, source, epoch).append_all([(feed, one) for one in (*final, event)])
        return event


def _check(state: JournalState, feed: str) -> None:
    if feed not in state.markets:
        raise ValueError(f"market {feed!r} is not in the journal; `tcpdashboard sources` has those that are")
    told = state.feeds[feed].known.items() if feed in state.feeds else ()
    words = [known.reason for source, known in told if venue_of(source) == venue_of(feed.partition(":")[0])]
    if not any(word.startswith(ANEW) for word in words):
        raise ValueError(
            f"{feed}: nothing says that its trade ids began anew, and a reset leaves a gap; where they did,"
            " `tcpdashboard sources` says so"
        )
