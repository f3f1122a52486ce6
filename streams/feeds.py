"""What sources vouch for of one market: the account that the fold and those who only look at a journal keep
alike."""

from collections.abc import Iterable

from msgspec import Struct

from streams.events import Feed, FeedState

REASON_LENGTH_MAX = 200


class KnownFeed(Struct, array_like=True):
    """The newest word of a source, see `streams.events.Feed`. `last`: time of its last row since it first
    gave one, ns; 0 for none."""

    source: str
    state: FeedState
    since: int
    reason: str
    last: int = 0


class Feeds:
    """`source`: whose row was the market's last, backfill aside; before the first, who first gave its word.
    Its word counts; a source that never gave one, such as a file, is live."""

    def __init__(self, source: str = "", known: Iterable[KnownFeed] = ()) -> None:
        self.source = source
        self.known = {feed.source: feed for feed in known}

    def note(self, feed: Feed) -> None:
        self.source = self.source or feed.source
        before = self.known.get(feed.source)
        last = before.last if before else 0
        reason = feed.reason[:REASON_LENGTH_MAX]
        self.known[feed.source] = KnownFeed(feed.source, feed.state, feed.since, reason, last)

    def rows(self, source: str, time: int) -> None:
        """Rows up to `time` that are not backfilled have come from a source."""
        self.source = source
        feed = self.known.get(source)
        if feed is not None:
            feed.last = max(feed.last, time)

    @property
    def counting(self) -> KnownFeed | None:
        """The word that counts; None where its source never gave one."""
        return self.known.get(self.source)

    @property
    def live(self) -> bool:
        feed = self.counting
        return feed is None or feed.state == "live"
