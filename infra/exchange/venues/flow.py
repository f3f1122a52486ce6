"""One market on its way from a venue: what is let in at the door, and what goes into the journal."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from infra.exchange.provider import FeedReport, Refused
from infra.exchange.venues.holes import MS_NS, Part, Trade
from infra.exchange.venues.markets import OffScaleError, units
from infra.exchange.venues.overlap import OverlapSequence
from infra.exchange.venues.sequence import FOREVER, TradeSequence
from infra.exchange.venues.venue import FLAW
from streams.events import FeedState, Market, RowKind

KINDS = {"buy": int(RowKind.BUY), "sell": int(RowKind.SELL)}
QUIET_MIN_S, QUIET_MAX_S = 10.0, 300.0
QUIET_DISTANCES = 20
EARLIEST = 1_230_768_000_000 * MS_NS
"""2009 began: a time before it is in seconds, or none."""
OFF_SCALE_MAX = 10_000
ANEW = "its trade ids began anew"
BAD_MAX = 1_000
DENIED_LENGTH_MAX = 160
PACE = 0.1
"""Of the newest distance between two trades in their mean."""
BEGINS_S = 5.0
"""So long a new market whose connection has held waits to be told where it begins."""


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

    def __init__(
        self,
        market: Market,
        sequence: TradeSequence | OverlapSequence,
        now: float,
        *,
        promised: int,
        latest: Callable[[], int],
    ) -> None:
        """`latest` says up to when (ns) a trade can be; what is later is of the venue's future."""
        self.market, self.sequence, self._latest = market, sequence, latest
        self._is_ordered = isinstance(sequence, TradeSequence)
        """Whether ids tell where a trade belongs."""
        self.promised = promised
        """Up to when everything was promised, ns of the venue."""
        self._reached = promised
        """The same of the journal, when it was opened."""
        self.refused: list[Refused] = []
        self.off_scale: list[Mapping[str, Any] | None] = []
        """Trades that are finer than the specification, and what came behind them; None for a doubt."""
        self._too_fine: Mapping[str, Any] | None = None
        """One of a page."""
        self.empty_pages = 0
        """How often the venue had no trade at all, where the first has come."""
        self.asked = now
        """When the venue was asked last for what may have come behind the newest trade."""
        self.ask_at = now
        """Before then it is not asked again."""
        self.ask_behind_at = now
        """Before then it is not asked again for what came behind the newest trade, which cannot be let in."""
        self.sure = now
        """When everything was known last."""
        self.left_out = 0
        """Of the trades that were fetched last, how many could not be let in."""
        self.vain = 0
        """How often the venue answered without a trade where it has some."""
        self._opened_at: int | None = None
        """When it was subscribed to first, ns of a clock that nobody sets."""
        self._doubts_before = 0
        """Of those before that."""
        self.denied = ""
        """Why the venue does not let it be collected now; it is tried again."""
        self.denials = 0
        """How often in a row the venue denied trades of it."""
        self.ended = ""
        """Why nothing of the market is taken any more."""
        self._arrived, self._distance_s = now, QUIET_MAX_S
        self._bad: set[str] = set()
        self._state: tuple[FeedState, str] | None = None

    def arrive(self, told: Mapping[str, Any], now: float) -> Trade | None:
        """A trade came live; None where it cannot be let in, and its place in the sequence stays empty."""
        if self.off_scale and not self._is_ordered:
            self._set_aside(told)  # it came behind those, which nothing else tells
            return None
        try:
            trade = self._read(told)
        except OffScaleError:
            self._set_aside(told)
            if self._is_ordered:
                self.sequence.doubt()
            return None
        if trade is None:
            self.sequence.doubt()
            return None
        self.sequence.arrive(trade, int(now * 1e9))
        self._distance_s += PACE * (now - self._arrived - self._distance_s)
        self._arrived = now
        return trade

    def deny(self, words: str) -> None:
        """The venue refuses it, and no other."""
        self.denied = f"the venue refuses it: {words}"[:DENIED_LENGTH_MAX]

    def opened(self, steady_ns: int) -> None:
        """It is subscribed to, and all that comes from now on is its own."""
        if self._opened_at is None:
            self._opened_at, self._doubts_before = steady_ns, self.sequence.doubts
        if isinstance(self.sequence, OverlapSequence):
            self.sequence.is_open = True

    def due(self, now: float) -> list[Part]:
        """What can be told now. A market whose connection has held since it was subscribed to, and which the
        journal does not know, waits so long for the venue to say where it begins; then what came is all."""
        sequence, waited = self.sequence, int((now - BEGINS_S) * 1e9)
        if isinstance(sequence, TradeSequence) and self.is_whole and sequence.waits_since(waited):
            sequence.begin_with_what_came()
        return sequence.due(int(now * 1e9))

    @property
    def is_whole(self) -> bool:
        """Of a market that the journal does not know: whether its connection has held since it was subscribed
        to."""
        return not self._reached and self.sequence.doubts == self._doubts_before

    def began(self, skew: int | None) -> int | None:
        """Before its first trade: up to when (ns of the venue) nothing is asked for, whatever was promised
        since. None where that is not known yet, as long as it is not known how far, in ns, the clock here is
        ahead of the venue's."""
        if self._reached:
            return self._reached
        return None if skew is None or self._opened_at is None else self._opened_at - skew

    def doubt(self) -> None:
        """Trades may have been missed."""
        self.sequence.doubt()
        if self.off_scale and not self._is_ordered:
            self.off_scale.append(None)

    def fetched(self, page: Iterable[Mapping[str, Any]], first: int = 0) -> list[Trade]:
        """Trades that the venue answered with, from the id `first` on, by id and each once, without those
        that cannot be let in."""
        by_id: dict[int, Trade] = {}
        self.left_out = 0
        for told in page:
            try:
                trade = self._read(told)
            except OffScaleError:
                trade = None
                self._set_aside(told)
            if trade is None:
                self.left_out += 1
            elif trade.id >= first:
                by_id[trade.id] = trade
        return [by_id[id] for id in sorted(by_id)]

    def page(self, page: Iterable[Mapping[str, Any]]) -> list[Trade] | None:
        """The same of a venue whose ids tell no order, as it has them: in the place of one that cannot be let
        in stands one of size 0. None where one is finer than the market's scales, which may have changed."""
        found: list[Trade] = []
        for told in page:
            try:
                trade = self._read(told)
            except OffScaleError:
                self._too_fine = told
                return None
            found.append(trade or Trade(_any_id(told), 0, 0, 0, 0))
        return found

    def _read(self, told: Mapping[str, Any]) -> Trade | None:
        """A trade at the market's scales. Raises `OffScaleError`, once."""
        try:
            if FLAW in told:
                raise ValueError(told[FLAW])
            time, latest = int(told["timestamp"]) * MS_NS, self._latest()
            if time < EARLIEST:
                raise ValueError(f"time {time} is of before 2009: at least {EARLIEST} is taken")
            if time > latest:
                raise ValueError(f"time {time} is ahead of the venue's clock: at most {latest} is taken")
            price = units(told["price"], self.market.price_scale, "price")
            size = units(told["amount"], self.market.size_scale, "size")
            kind = KINDS.get(str(told["side"]), int(RowKind.TRADE))
            read_id = _id if self._is_ordered else wide_id
            return Trade(read_id(told["id"]), time, kind, price, size)
        except OffScaleError:
            if str(told.get("id") or "") not in self._bad:
                raise
        except (ValueError, TypeError, KeyError) as error:
            self._refuse(told, str(error) if type(error) is ValueError else repr(error))
        return None

    def _set_aside(self, told: Mapping[str, Any]) -> None:
        """It waits for its market's scales."""
        if len(self.off_scale) < OFF_SCALE_MAX:
            self.off_scale.append(told)
        else:
            self.sequence.doubt()
            self._refuse(told, f"{OFF_SCALE_MAX:,} others wait for their market's scales")

    def _refuse(self, told: Mapping[str, Any], reason: str) -> None:
        """Once, however often the venue repeats it."""
        venue_id = str(told.get("id") or "")
        if venue_id not in self._bad:
            self._bad = {*self._bad, venue_id} if len(self._bad) < BAD_MAX else {venue_id}
            self.refused.append(refusal(self.market.key, told, reason))

    def specified(self, market: Market, now: float) -> None:
        """The venue describes the market anew: what is here is brought to its scales, and what was too fine
        is let in or refused."""
        price = 10 ** (market.price_scale - self.market.price_scale)
        size = 10 ** (market.size_scale - self.market.size_scale)
        self.sequence.rescale(price, size)
        self.market = market
        again, self.off_scale = self.off_scale, []
        for told in again:
            if told is None:
                self.sequence.doubt()
            elif (trade := self._read_again(told)) is not None:
                self.sequence.arrive(trade, int(now * 1e9))
            elif not self._is_ordered:
                self.sequence.doubt()
        if self._too_fine is not None:
            self._read_again(self._too_fine)
            self._too_fine = None

    def _read_again(self, told: Mapping[str, Any]) -> Trade | None:
        """As `_read`; what is still too fine is refused."""
        try:
            return self._read(told)
        except OffScaleError:
            self._refuse(told, "it is finer than its market's scales, also as the venue tells them now")
            return None

    @property
    def is_too_fine(self) -> bool:
        """Whether the venue has a trade that is finer than the specification; it may have changed."""
        return bool(self.off_scale) or self._too_fine is not None

    def wants(self, now: float) -> bool:
        """Whether the venue should be asked for something now."""
        if isinstance(self.sequence, TradeSequence):
            return bool(self.sequence.holes) or self.sequence.doubtful
        return not self.is_too_fine and self.sequence.wants(int(now * 1e9))

    def ends_anew(self) -> bool:
        """End it where a trade's id says that the venue counts from the beginning again; whether that is so
        only now."""
        sequence = self.sequence
        if self.ended or not isinstance(sequence, TradeSequence) or sequence.anew is None:
            return False
        came, last, key = sequence.anew.id, sequence.next_id - 1, self.market.key
        self.ended = f"{ANEW}: {came} came after {last}; `tcpdashboard sources reset {key}` goes on with them"
        return True

    @property
    def is_gone(self) -> bool:
        """Whether it ended as the venue had it no more, which may have it again."""
        return bool(self.ended) and not (isinstance(self.sequence, TradeSequence) and self.sequence.anew)

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


def refusal(key: str, told: Mapping[str, Any], reason: str) -> Refused:
    """Of a trade in ccxt's form; `key` is "" where it is of no market of ours."""
    data = msgspec.json.encode(told.get("info") or dict(told), enc_hook=str)
    return Refused(key, reason, data, str(told.get("id") or ""))


def _id(text: Any) -> int:
    """One that rises. Raises `ValueError` for one below 0 or of more than 64 bits."""
    if not isinstance(text, str) or not text.isdecimal():
        raise ValueError(f"id {text!r} is no whole number of 0 and more")
    if (number := int(text)) >= FOREVER:
        raise ValueError(f"id {text!r} has more than 64 bits")
    return number


def wide_id(text: str) -> int:
    """An id of up to 128 bits: a number or a UUID. Raises `ValueError` for another."""
    number = int(text) if text.isdecimal() else UUID(text).int
    if number >= 2**128:
        raise ValueError(f"id {text!r} has more than 128 bits")
    return number


def _any_id(told: Mapping[str, Any]) -> int:
    """Of a trade that may have none: always the same."""
    try:
        return wide_id(str(told.get("id")))
    except ValueError:
        return zlib.crc32(repr(told.get("info")).encode())
