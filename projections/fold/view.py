"""A pipeline as others may see it. What is seen is the fold's own and never changed here. It is whole between
two records; during one, watermarks say how far that has come.

Why: ADR 18.
"""

from collections.abc import Collection, Mapping

import numpy as np
from msgspec import Struct

from projections.fold.bots import Bot
from projections.fold.tape import Tape
from projections.fold.turn import Account
from streams.events import Market
from streams.feeds import Feeds
from streams.gaps import Gaps


class Source(Struct):
    """What has been folded of a source: its epoch, and the sequence that is due next."""

    epoch: int
    due: int


class MarketView:
    """One market of a partition."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    @property
    def specification(self) -> Market:
        return self._tape.market

    @property
    def watermark(self) -> int:
        """How far its time has come, ns; below 1 before the first row."""
        return self._tape.candles.watermark

    @property
    def newest_id(self) -> int:
        """The highest trade id of 64 bits that was folded since ids began anew, `NO_ID` for none."""
        return self._tape.seen.newest_id

    def newest_wide(self, count: int) -> tuple[tuple[int, int], ...]:
        """Time and key of trades with ids of 128 bits among the newest that were folded, the newest last."""
        return self._tape.seen.newest_wide(count)

    @property
    def newest_trade(self) -> int:
        """The time of the latest trade that has an id, ns; −1 for none."""
        return self._tape.seen.newest_time

    @property
    def ids_since(self) -> int:
        """The time of the last trade before ids began anew, ns; −1 where they never did."""
        return self._tape.seen.since

    @property
    def account(self) -> Account:
        """Of all its trades so far."""
        return Account(self._tape.repeats, self._tape.seen.reused, self._tape.seen.undecided)

    @property
    def gaps(self) -> Gaps:
        """What may be missing, and what was filled in."""
        return self._tape.gaps

    @property
    def feeds(self) -> Feeds:
        """What its sources vouch for."""
        return self._tape.feeds

    @property
    def bots(self) -> Mapping[int, Bot]:
        return self._tape.bots.bots

    def forming(self) -> np.void | None:
        """The open 1m candle as a row of the kernel; None where there is none."""
        return self._tape.candles.forming()


class View:
    """One partition: offset of the last record folded, the home's identity, bots registered (in partition 0
    only), the newest requests of commands, by source epoch and the sequence that is due, and the markets by
    key."""

    def __init__(
        self,
        applied: int,
        home: str,
        registered: int,
        requests: Collection[str],
        sources: Mapping[str, Source],
        tapes: Mapping[str, Tape],
    ) -> None:
        self.applied, self.home, self.registered = applied, home, registered
        self.requests, self.sources = requests, sources
        self.markets = {key: MarketView(tape) for key, tape in list(tapes.items())}
