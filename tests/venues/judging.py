"""What must be so of a journal of a venue, whatever happened: judged by what was published, and by nothing of
the product but the form of its events.

A trade is known that the journal has; a gap may be where trades that follow on each other are missing, from
the last known one before them to the first known one behind. What is wrong is told in sentences.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby, pairwise
from typing import NamedTuple

from streams import codec
from streams.events import (
    BACKFILL,
    TIMEFRAMES_NS,
    Candle,
    Clock,
    DeadLetter,
    Gap,
    GapFilled,
    TickBatch,
)
from streams.log import Log
from streams.ticks import is_trade, unpack
from streams.topics import CANDLES, JOURNAL, SYSTEM
from tests.venues.trades import Trade

MS_NS = 1_000_000
SIDES = {1: "buy", 2: "sell"}
FIRST_WORDS = 3
"""Of the sentences on one thing, so many are told."""

Span = tuple[int, int]
"""(start, end] in ns."""


class Row(NamedTuple):
    id: int | None
    """None where the venue's ids are no numbers."""
    time: int
    side: str
    price: Decimal
    size: Decimal


class Seen(NamedTuple):
    """What a journal says of one market."""

    rows: list[Row]
    fetched: list[bool]
    gaps: list[tuple[Span, bool]]
    """Those that are not filled, by time, and whether they are final."""
    promised: int


def row_of(trade: Trade, numbered: bool) -> Row:
    return Row(
        int(trade.id) if numbered else None,
        trade.time * MS_NS,
        trade.side,
        Decimal(trade.price),
        Decimal(trade.size),
    )


def seen(log: Log, numbered: bool) -> dict[str, Seen]:
    """By market key."""
    found: defaultdict[str, Seen] = defaultdict(lambda: Seen([], [], [], 0))
    for record in log.read(JOURNAL, 0):
        match codec.decode_input(record.value).event:
            case TickBatch() as batch:
                _read_batch(batch, found, numbered)
            case Clock() as clock:
                for key in clock.markets:
                    found[key] = found[key]._replace(promised=max(found[key].promised, clock.time))
            case Gap() as gap:
                found[gap.market].gaps[:] = [*without(found[gap.market].gaps, gap), _span(gap)]
            case GapFilled() as gap:
                found[gap.market].gaps[:] = without(found[gap.market].gaps, gap)
            case _:
                pass
    return {key: one._replace(gaps=sorted(one.gaps)) for key, one in found.items()}


def _read_batch(batch: TickBatch, found: dict[str, Seen], numbered: bool) -> None:
    ticks = unpack(batch)
    trade = is_trade(ticks.kind)
    ids = [None] * ticks.rows if ticks.id is None or not numbered else ticks.id.tolist()
    columns = (ticks.market, ticks.kind, ticks.time, ticks.price, ticks.size, trade)
    for id, place, kind, at, price, size, is_row in zip(ids, *(c.tolist() for c in columns), strict=True):
        market = batch.markets[place]
        if not is_row:
            promised = max(found[market.key].promised, at)
            found[market.key] = found[market.key]._replace(promised=promised)
            continue
        row = Row(
            id,
            at,
            SIDES[kind & ~BACKFILL],
            Decimal(price).scaleb(-market.price_scale),
            Decimal(size).scaleb(-market.size_scale),
        )
        found[market.key].rows.append(row)
        found[market.key].fetched.append(bool(kind & BACKFILL))


def _span(gap: Gap) -> tuple[Span, bool]:
    return (gap.start, gap.end), gap.final


def without(gaps: Iterable[tuple[Span, bool]], cut: Gap | GapFilled) -> list[tuple[Span, bool]]:
    """What is left of gaps outside of another, of which the newest word counts."""
    left: list[tuple[Span, bool]] = []
    for (start, end), final in gaps:
        pieces = ((start, min(end, cut.start)), (max(start, cut.end), end))
        left += [((one, other), final) for one, other in pieces if one < other]
    return left


# ------------------------------------------------------------ trades and gaps


def wrong_rows(market: Seen, published: Sequence[Row]) -> Iterator[str]:
    """Each row is a trade that happened, once; live ones come in the venue's order."""
    happened, has = Counter(published), Counter(market.rows)
    yield from (f"{row} is no trade that happened" for row in has - happened if row not in happened)
    yield from (f"{row} is in the journal {has[row]} times" for row in has if has[row] > happened[row] > 0)
    places = {row: place for place, row in enumerate(published)}
    live = [row for row, fetched in zip(market.rows, market.fetched, strict=True) if not fetched]
    order = [places[row] for row in live if row in places]
    for before, after in pairwise(order):
        if before > after and published[before].id is not None:
            yield f"{published[after]} came live behind {published[before]}"


def known(market: Seen, published: Sequence[Row]) -> list[bool]:
    left = Counter(market.rows)
    found: list[bool] = []
    for row in published:
        found.append(left[row] > 0)
        left[row] -= 1
    return found


def allowed(published: Sequence[Row], has: Sequence[bool]) -> list[tuple[Span, list[Row]]]:
    """Where gaps may be, each with the trades that are missing there; none where ids jumped."""
    spans: list[tuple[Span, list[Row]]] = []
    places = iter(range(len(published)))
    for is_known, group in groupby(places, key=lambda place: has[place]):
        run = list(group)
        if not is_known:
            start = _before(published[run[0] - 1].time) if run[0] else 0
            end = published[run[-1] + 1].time if run[-1] + 1 < len(published) else 2**62
            spans.append(((start, end), [published[place] for place in run]))
    for one, other in pairwise(published):
        if one.id is not None and other.id is not None and other.id > one.id + 1:
            spans.append(((_before(one.time), max(other.time, _before(one.time) + 1)), []))
    return sorted(spans, key=lambda span: span[0])


def _before(time: int) -> int:
    """In front of the trade's millisecond."""
    return time // MS_NS * MS_NS - 1


def wrong_gaps(market: Seen, published: Sequence[Row], has: Sequence[bool]) -> Iterator[str]:
    """Each missing trade lies in a gap, and no gap is longer than it must be.

    Where ids tell no order, also a gap between two trades that follow on each other: a page of REST that no
    longer has the first of them proves nothing of what lies between.
    """
    spans = allowed(published, has)
    for row, is_known in zip(published, has, strict=True):
        if not is_known and not any(start < row.time <= end for (start, end), _ in market.gaps):
            yield f"{row} is missing, and no gap says so"
    for gap, final in market.gaps:
        if not final:
            yield f"gap {gap} is left open"
        if not _lies_in(gap, [span for span, _ in spans]) and not _is_between_neighbours(gap, published):
            yield f"gap {gap} is longer than what is missing: {[span for span, _ in spans]}"


def _is_between_neighbours(gap: Span, published: Sequence[Row]) -> bool:
    start, end = gap
    return any(
        one.id is None and _before(one.time) <= start and end <= max(other.time, _before(one.time) + 1)
        for one, other in pairwise(published)
    )


def _lies_in(gap: Span, spans: Iterable[Span]) -> bool:
    start, end = gap
    for one, other in sorted(spans):
        if one <= start < other:
            start = other
    return start >= end


# ------------------------------------------------------------ candles

Bar = tuple[Decimal, Decimal, Decimal, Decimal, Decimal, int, bool]
"""Open, high, low, close, volume, trades, incomplete."""


def bars(rows: Sequence[Row], gaps: Iterable[Span], until: int) -> dict[tuple[str, int], Bar]:
    """By timeframe and end, those that have ended by `until`; of trades in the venue's order."""
    found: dict[tuple[str, int], Bar] = {}
    gaps = list(gaps)
    for timeframe, length in TIMEFRAMES_NS.items():
        groups = defaultdict[int, list[Row]](list)
        for row in rows:
            groups[row.time // length].append(row)
        last = rows[0].price
        for number in range(min(groups), until // length):
            begin, end = number * length, (number + 1) * length
            here = groups[number]
            prices = [row.price for row in here] or [last]
            last = prices[-1]
            volume = sum((row.size for row in here), Decimal(0))
            missing = any(start + 1 < end and stop >= begin for start, stop in gaps)
            found[timeframe, end] = (
                prices[0], max(prices), min(prices), last, volume, len(here), missing,
            )  # fmt: skip
    return found


def folded(log: Log) -> dict[str, dict[tuple[str, int], Bar]]:
    """The newest candles that were recorded, by market key, timeframe and end."""
    found: defaultdict[str, dict[tuple[str, int], Bar]] = defaultdict(dict)
    for record in log.read(CANDLES, 0):
        for event in codec.decode_output(record.value).events:
            if isinstance(event, Candle):
                prices = (
                    Decimal(price).scaleb(-event.price_scale)
                    for price in (event.open, event.high, event.low, event.close)
                )
                volume = Decimal(event.volume).scaleb(-event.size_scale)
                bar = (*prices, volume, event.trades, event.incomplete)
                found[record.key.decode()][event.timeframe, event.timestamp] = bar
    return found


def wrong_bars(
    recorded: Mapping[tuple[str, int], Bar], right: Mapping[tuple[str, int], Bar]
) -> Iterator[str]:
    for place in sorted(recorded.keys() | right.keys(), key=lambda place: (place[1], place[0])):
        if recorded.get(place) != right.get(place):
            yield f"candle {place} is {_told(recorded.get(place))}, should be {_told(right.get(place))}"


def _told(bar: Bar | None) -> str:
    return "not there" if bar is None else " ".join(map(str, bar))


def wrong_letters(log: Log) -> Iterator[str]:
    """The fold has nothing to complain of."""
    for record in log.read(SYSTEM, 0):
        for event in codec.decode_output(record.value).events:
            if isinstance(event, DeadLetter) and event.offset >= 0:
                yield f"dead letter of the fold: {event.reason}"


def first(words: Iterable[str]) -> list[str]:
    told = list(words)
    more = [f"... and {len(told) - FIRST_WORDS} more"] if len(told) > FIRST_WORDS else []
    return told[:FIRST_WORDS] + more
