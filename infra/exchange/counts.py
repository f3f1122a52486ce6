"""What came of a source, counted as it is written; it may be looked at from other threads."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from infra.exchange.lost import Lost
from infra.exchange.recent import DAY_S, GROWTH_KNOWN_S, MINUTE_S, Recent
from infra.exchange.status import MarketStatus, Trouble
from streams.events import BACKFILL, FeedState, Gap, GapFilled, JournalEvent, Market
from streams.gaps import Gaps
from streams.ticks import Ticks, is_trade


class Counts:
    """`gaps` are those of the journal, and are kept so. `now_s` is a clock that never goes back."""

    def __init__(self, gaps: dict[str, Gaps], now_s: float) -> None:
        self._gaps = gaps
        self._trades: dict[str, Recent] = {}
        self._traded_s: dict[str, float] = {}
        self._refused: Counter[str] = Counter()
        self._bytes = Recent(DAY_S, now_s)
        self.trouble: Trouble | None = None
        """With what its provider failed last."""

    def took(
        self, partitions: Mapping[int, Ticks], tables: Mapping[int, Sequence[Market]], now_s: float
    ) -> None:
        """Rows go into the journal; only trades that came live are counted."""
        for partition, rows in partitions.items():
            live = is_trade(rows.kind) & (rows.kind & BACKFILL == 0)
            counts = np.bincount(rows.market[live])
            for index in np.flatnonzero(counts).tolist():
                key = tables[partition][index].key
                self._recent(key, now_s).add(int(counts[index]), now_s)
                self._traded_s[key] = now_s

    def lost(self, lost: Iterable[Lost]) -> None:
        """Something was left out."""
        self._refused.update(one.market for one in lost)

    def wrote(self, events: Iterable[tuple[str, JournalEvent]], size: int, now_s: float) -> None:
        """These are in the journal, in so many bytes of records."""
        self._bytes.add(size, now_s)
        for market, event in events:
            if isinstance(event, Gap | GapFilled):
                with suppress(ValueError):  # the fold makes it a dead letter
                    self._gaps.setdefault(market, Gaps()).note(event)

    def of(self, market: str, feed: tuple[FeedState, str, int], now_s: float) -> MarketStatus:
        """`feed`: state, reason, since when."""
        traded_s = self._traded_s.get(market)
        return MarketStatus(
            market,
            *feed,
            age_s=None if traded_s is None else now_s - traded_s,
            trades_s=self._recent(market, now_s).a_second(now_s),
            refused=self._refused[market],
            gaps=gap_counts(self._gaps.get(market, Gaps())),
        )

    @property
    def refused(self) -> int:
        """What of it belongs to no market."""
        return self._refused[""]

    def bytes_day(self, now_s: float) -> float | None:
        """That go into the journal in a day, by the last one; None where too little is known."""
        known = self._bytes.known_s(now_s) >= GROWTH_KNOWN_S
        return self._bytes.a_second(now_s) * DAY_S if known else None

    def _recent(self, market: str, now_s: float) -> Recent:
        return self._trades.setdefault(market, Recent(MINUTE_S, now_s))


def gap_counts(gaps: Gaps) -> tuple[int, int, int]:
    """How many are open, of those final, and filled."""
    final = sum(gap.final for gap in gaps.open)
    return len(gaps.open), final, len(gaps.known) - len(gaps.open)
