"""What the journal says of a provider's feed, by market, and what must be written where that changes.

Why: ADR 24.
"""

from collections.abc import Iterable, Mapping

from infra.exchange.provider import FeedReport
from streams.events import Feed
from streams.feeds import Feeds, KnownFeed


class FeedStates:
    """A source that reports no feed has no states, and nothing is written for it.

    `known` is what the journal holds, of all sources, at the start.
    """

    def __init__(self, source: str, known: Mapping[str, Feeds]) -> None:
        self._source = source
        self._told = {key: feeds.known[source] for key, feeds in known.items() if source in feeds.known}

    def __bool__(self) -> bool:
        return bool(self._told)

    def told(self, market: str) -> KnownFeed | None:
        """The newest word on a market."""
        return self._told.get(market)

    def changes(self, reports: Iterable[FeedReport]) -> list[tuple[str, Feed]]:
        """Key and event of every report that says other than the last one."""
        changes: list[tuple[str, Feed]] = []
        for market, state, since, reason in reports:
            told = self._told.get(market)
            if told is not None and (told.state, told.reason) == (state, reason):
                continue
            last = told.last if told else 0
            self._told[market] = KnownFeed(self._source, state, since, reason, last)
            event = Feed(market=market, source=self._source, state=state, since=since, reason=reason)
            changes.append((market, event))
        return changes

    def rows(self, times: Mapping[str, int]) -> None:
        """Rows and promises of markets have come up to `times`, in ns."""
        for market in self._told.keys() & times.keys():
            self._told[market].last = max(self._told[market].last, times[market])

    def down(self, reason: str) -> list[tuple[str, Feed]]:
        """That all are down, each since its last row."""
        return self.changes(
            [
                FeedReport(market, "down", told.last or told.since, reason)
                for market, told in self._told.items()
                if told.state != "down"
            ]
        )
