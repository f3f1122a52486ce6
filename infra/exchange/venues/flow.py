"""One market on its way from a venue: what is let in at the door, and what goes into the journal."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from infra.exchange.provider import FeedReport, Refused
from infra.exchange.venues.markets import OffScaleError, units
from infra.exchange.venues.sequence import MS_NS, Part, Trade, TradeSequence
from streams.events import FeedState, Market, RowKind

KINDS = {"buy": int(RowKind.BUY), "sell": int(RowKind.SELL)}
QUIET_MIN_S, QUIET_MAX_S = 10.0, 300.0
QUIET_DISTANCES = 20
OFF_SCALE_MAX = 10_000
BAD_MAX = 1_000
PACE = 0.1
"""Of the newest distance between two trades in their mean."""


class Message(NamedTuple):
    """What a venue's provider tells the collector at once: parts of markets, in this order.

    Everything up to `clock` (ns of the venue; 0: nothing is promised) of `keys` is in it or came before.
    """

    keys: tuple[str, ...]
    parts: tuple[tuple[int, Part], ...] = ()
    """Each with the place of its market in `keys`."""
    clock: int = 0
    markets: tuple[Market, ...] = ()
    feeds: tuple[FeedReport, ...] = ()
    refused: tuple[Refused, ...] = ()


class Flow:
    """A market's trades, from ccxt's form to what is told of them. Times `now` are in seconds of a clock that
    never goes back."""

    def __init__(self, market: Market, sequence: TradeSequence, now: float, *, promised: int) -> None:
        self.market, self.sequence = market, sequence
        self.promised = promised
        """Up to when everything was promised, ns of the venue."""
        self.refused: list[Refused] = []
        self.off_scale: list[Mapping[str, Any]] = []
        """Trades that are finer than the specification; it may have changed."""
        self.asked = now
        """When the venue was asked last for what may have come behind the newest trade."""
        self.ask_at = now
        """Before then it is not asked again."""
        self.sure = now
        """When everything was known last."""
        self.ended = ""
        """Why nothing of the market is taken any more."""
        self._arrived, self._distance_s = now, QUIET_MAX_S
        self._bad: set[str] = set()
        self._state: tuple[FeedState, str] | None = None

    def arrive(self, told: Mapping[str, Any], now: float, latest: int | None) -> Trade | None:
        """A trade came live; None where it cannot be let in, and its place in the sequence stays empty.
        `latest` (ns): what is later is of the venue's future."""
        trade = self._read(told, latest)
        if trade is None:
            self.sequence.doubt()
            return None
        self.sequence.arrive(trade, int(now * 1e9))
        self._distance_s += PACE * (now - self._arrived - self._distance_s)
        self._arrived = now
        return trade

    def fetched(self, page: Iterable[Mapping[str, Any]], first: int = 0) -> list[Trade]:
        """Trades that the venue answered with, from the id `first` on, by id and each once, without those
        that cannot be let in."""
        found = (trade for told in page if (trade := self._read(told, None)) is not None)
        by_id = {trade.id: trade for trade in found if trade.id >= first}
        return [by_id[id] for id in sorted(by_id)]

    def _read(self, told: Mapping[str, Any], latest: int | None) -> Trade | None:
        """A trade at the market's scales."""
        try:
            time = int(told["timestamp"]) * MS_NS
            if latest is not None and time > latest:
                raise ValueError(f"time {time} is ahead of the venue's clock: at most {latest} is taken")
            price = units(told["price"], self.market.price_scale)
            size = units(told["amount"], self.market.size_scale)
            kind = KINDS.get(str(told["side"]), int(RowKind.TRADE))
            return Trade(int(told["id"]), time, kind, price, size)
        except OffScaleError as error:
            if len(self.off_scale) < OFF_SCALE_MAX:
                self.off_scale.append(told)
            else:
                self._refuse(told, str(error))
        except (ValueError, TypeError, KeyError) as error:
            self._refuse(told, str(error) if type(error) is ValueError else repr(error))
        return None

    def _refuse(self, told: Mapping[str, Any], reason: str) -> None:
        """Once, however often the venue repeats it."""
        venue_id = str(told.get("id") or "")
        if venue_id not in self._bad:
            self._bad = {*self._bad, venue_id} if len(self._bad) < BAD_MAX else {venue_id}
            data = msgspec.json.encode(told.get("info") or dict(told), enc_hook=str)
            self.refused.append(Refused(self.market.key, reason, data, venue_id))

    def specified(self, market: Market, now: float) -> None:
        """The venue describes the market anew: what is here is brought to its scales, and what was too fine
        is let in or refused."""
        price = 10 ** (market.price_scale - self.market.price_scale)
        size = 10 ** (market.size_scale - self.market.size_scale)
        self.sequence.rescale(price, size)
        self.market = market
        again, self.off_scale = self.off_scale, []
        for trade in self.fetched(again):
            self.sequence.arrive(trade, int(now * 1e9))
        still, self.off_scale = self.off_scale, []
        for told in still:
            self._refuse(told, "it is finer than its market's scales, also as the venue tells them now")

    def is_quiet(self, now: float) -> bool:
        """Whether nothing came for so much longer than usual that the venue should be asked."""
        usual = min(max(QUIET_DISTANCES * self._distance_s, QUIET_MIN_S), QUIET_MAX_S)
        return now - max(self._arrived, self.asked) > usual

    @property
    def is_sure(self) -> bool:
        """Whether all that came is handed out, and no more can be missing."""
        return not (self.sequence.holds or self.sequence.doubtful or self.off_scale or self.ended)

    def report(self, state: FeedState, reason: str = "") -> FeedReport | None:
        """What can be vouched for, where that has changed."""
        if (state, reason) == self._state:
            return None
        self._state = state, reason
        return FeedReport(self.market.key, state, self.promised, reason)

    @property
    def is_live(self) -> bool:
        return self._state is not None and self._state[0] == "live"
