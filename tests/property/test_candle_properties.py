"""The compiled candles equal a plain reference, however the input is cut and wherever the fold is
restarted."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.fold import kernel
from projections.fold.candles import CLOSED, TIMEFRAMES, CandleBook
from projections.fold.kernel_records import CANDLE
from streams.events import BACKFILL, MINUTE_NS, TIMEFRAMES_NS, CandleFlag, RowKind

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
START = 17_600 * DAY - 7 * MINUTE_NS  # seven minutes before a midnight: candles of every timeframe close
LENGTHS = list(TIMEFRAMES_NS.values())
NOT_CONTENT = ("row", "first_offset", "last_offset")


@dataclass(frozen=True)
class Row:
    time: int
    kind: int
    price: int = 0
    size: int = 0


@dataclass(frozen=True)
class Gap:
    start: int
    end: int
    filled: bool


@dataclass(frozen=True)
class Trade:
    time: int
    arrival: int
    price: int
    size: int
    offset: int


@dataclass
class Reference:
    """The rules in plain Python: trades are kept, and every candle is made of its trades each time.

    `closes`: of all closed minutes. `changed`: closed candles that the record changed and did not tell yet.
    `unsettled`: the first minute whose change did not reach the empty ones behind it yet.
    """

    closed: str
    grace: int
    horizon: int
    watermark: int = -1
    first_end: int | None = None
    next_end: int = 0
    arrivals: int = 0
    trades: dict[int, list[Trade]] = field(default_factory=lambda: defaultdict(list))
    closes: dict[int, int] = field(default_factory=dict)
    changed: set[tuple[int, int]] = field(default_factory=set)
    unsettled: int | None = None
    incomplete: dict[int, bool] = field(default_factory=dict)
    revision: dict[tuple[int, int], int] = field(default_factory=dict)
    empty_offset: dict[tuple[int, int], int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def minute_of(self, time: int) -> int:
        if self.closed == "left":
            return time // MINUTE_NS * MINUTE_NS + MINUTE_NS
        return -(-time // MINUTE_NS) * MINUTE_NS

    def minutes(self, frame: int, end: int) -> list[int]:
        ends = range(end - LENGTHS[frame] + MINUTE_NS, end + MINUTE_NS, MINUTE_NS)
        return [minute for minute in ends if minute in self.closes]

    def around(self, frame: int, minute: int) -> int:
        return -(-minute // LENGTHS[frame]) * LENGTHS[frame]

    def candle(self, row: int, frame: int, end: int) -> tuple[int, ...]:
        minutes = self.minutes(frame, end)
        trades = sorted(
            itertools.chain(*(self.trades[m] for m in minutes)), key=lambda t: (t.time, t.arrival)
        )
        flags = CandleFlag.INCOMPLETE if any(self.incomplete[m] for m in minutes) else CandleFlag(0)
        head = (row, frame, end, self.revision[frame, end])
        if not trades:
            price, offset = self.closes[minutes[-1]], self.empty_offset[frame, end]
            return (*head, end, *[price] * 3, end, price, 0, 0, int(flags | CandleFlag.EMPTY), offset, offset)
        prices, offsets = [t.price for t in trades], [t.offset for t in trades]
        return (
            *head,
            *(trades[0].time, prices[0], max(prices), min(prices), trades[-1].time, prices[-1]),
            *(sum(t.size for t in trades), len(trades), int(flags), min(offsets), max(offsets)),
        )

    def fold(self, rows: list[Row], offset: int) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
        out: list[tuple[int, ...]] = []
        late: list[int] = []
        revising: list[int] = []
        for i, row in enumerate(rows):
            if not row.kind & BACKFILL:
                while self.first_end is not None and self.closes_by(row):
                    out += self.close(i, offset)
                self.watermark = max(self.watermark, row.time)
            if row.kind == RowKind.CLOCK:
                continue
            minute = self.minute_of(row.time)
            if self.first_end is None:
                self.first_end = self.next_end = minute
            trade = Trade(row.time, self.arrivals, row.price, row.size, offset)
            self.arrivals += 1
            if minute >= self.next_end:
                self.trades[minute].append(trade)
            elif self.revisable(minute):
                revising.append(i)
                self.trades[minute].append(trade)
                self.unsettled = min(minute, self.unsettled or minute)
                for frame in range(6):
                    if self.is_closed(frame, minute):
                        self.change(frame, self.around(frame, minute))
            else:
                late.append(i)
        self.settle(offset)
        out += self.told(len(rows), sorted(self.changed))
        return out, late, revising

    def change(self, frame: int, end: int) -> None:
        if (frame, end) not in self.changed:
            self.changed.add((frame, end))
            self.revision[frame, end] += 1

    def told(self, row: int, some: list[tuple[int, int]]) -> list[tuple[int, ...]]:
        told = [self.candle(row, *one) for one in some if one in self.changed]
        self.changed.difference_update(some)
        return told

    def settle(self, offset: int) -> None:
        """Closed minutes without trades have the close of the last one before that has some."""
        if self.unsettled is None:
            return
        price = 0
        for minute in range(self.unsettled, self.next_end, MINUTE_NS):
            price = self.last_price(minute, price)
            if price != self.closes[minute] and not self.trades[minute]:
                for frame in range(6):
                    end = self.around(frame, minute)
                    if self.is_closed(frame, minute) and not any(
                        self.trades[m] for m in self.minutes(frame, end)
                    ):
                        self.empty_offset[frame, end] = offset
                        self.change(frame, end)
            self.closes[minute] = price
        self.unsettled = None

    def last_price(self, minute: int, before: int) -> int:
        made = sorted(self.trades[minute], key=lambda t: (t.time, t.arrival))
        return made[-1].price if made else before

    def closes_by(self, row: Row) -> bool:
        if row.kind == RowKind.CLOCK or self.closed == "left":
            return row.time >= self.next_end + self.grace
        return row.time > self.next_end + self.grace

    def close(self, row: int, offset: int) -> list[tuple[int, ...]]:
        self.settle(offset)
        end, told = self.next_end, []
        self.closes[end] = self.last_price(end, self.closes.get(end - MINUTE_NS, 0))
        self.incomplete[end] = self.missing(end)
        self.next_end += MINUTE_NS
        for frame, length in enumerate(LENGTHS):
            around = self.around(frame, end)
            if self.begins(frame, end):  # in the place of an older one, which is told if it has changed
                told += self.told(row, [(frame, around - (self.horizon // length + 2) * length)])
            if around != end:
                break
            self.revision[frame, end] = 0
            self.empty_offset[frame, end] = offset
            told.append(self.candle(row, frame, end))
        return told

    def begins(self, frame: int, end: int) -> bool:
        """Whether the candle that closes at `end` is the first part of the longer one around it."""
        if frame == 0:
            return True
        part, start = LENGTHS[frame - 1], self.around(frame, end) - LENGTHS[frame]
        return not any((frame - 1, e) in self.revision for e in range(start + part, end, part))

    def revisable(self, minute: int) -> bool:
        assert self.first_end is not None
        return self.first_end <= minute < self.next_end and minute > self.watermark - self.horizon

    def is_closed(self, frame: int, minute: int) -> bool:
        return self.around(frame, minute) < self.next_end

    def revised(self, row: int, frame: int, minute: int) -> tuple[int, ...]:
        end = self.around(frame, minute)
        self.revision[frame, end] += 1
        return self.candle(row, frame, end)

    def missing(self, minute: int) -> bool:
        first, last = (-MINUTE_NS, -1) if self.closed == "left" else (1 - MINUTE_NS, 0)
        edges = {minute + first, *(g.start + 1 for g in self.gaps), *(g.end + 1 for g in self.gaps)}
        return any(self.is_missing(t) for t in edges if minute + first <= t <= minute + last)

    def is_missing(self, time: int) -> bool:
        said = [g for g in self.gaps if g.start < time <= g.end]
        return bool(said) and not said[-1].filled

    def gap(self, gap: Gap, offset: int) -> list[tuple[int, ...]]:
        self.gaps.append(gap)
        out: list[tuple[int, ...]] = []
        for minute in sorted(self.closes):
            missing = self.missing(minute)
            if self.first_end is None or not self.revisable(minute) or missing == self.incomplete[minute]:
                continue
            closed = [frame for frame in range(6) if self.is_closed(frame, minute)]
            flags = {f: self.flag(f, minute) for f in closed}
            self.incomplete[minute] = missing
            for frame in closed:
                if self.flag(frame, minute) != flags[frame]:
                    self.empty_offset[frame, self.around(frame, minute)] = offset
                    out.append(self.revised(0, frame, minute))
        return out

    def flag(self, frame: int, minute: int) -> bool:
        return any(self.incomplete[m] for m in self.minutes(frame, self.around(frame, minute)))


def columns(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    integers = [np.array([getattr(r, name) for r in rows], np.int64) for name in ("time", "price", "size")]
    return integers[0], integers[1], integers[2], np.array([r.kind for r in rows], np.uint8)


def steps() -> st.SearchStrategy[int]:
    """Time from row to row: mostly seconds, to and over edges of minutes, seldom back or far ahead."""
    near = st.integers(-5, 8).map(lambda n: n * 15 * SECOND)
    edge = st.integers(-1, 1)
    far = st.sampled_from(
        [-20 * MINUTE_NS, -3 * MINUTE_NS, 7 * MINUTE_NS, 65 * MINUTE_NS, 250 * MINUTE_NS, DAY]
    )
    return st.integers(0, 19).flatmap(lambda die: far if die == 19 else edge if die > 15 else near)


@st.composite
def gaps(draw: st.DrawFn, time: int) -> Gap:
    start = time + draw(st.integers(-16, 8)) * 15 * SECOND
    length = draw(st.sampled_from([1, 30, 60, 90, 400])) * SECOND
    return Gap(start, start + length, filled=draw(st.booleans()))


@st.composite
def histories(draw: st.DrawFn) -> list[Row | Gap]:
    time, history = START, []
    for step in draw(st.lists(steps(), min_size=10, max_size=40)):
        time += step
        die = draw(st.integers(0, 15))
        if die > 13:
            earlier = [item for item in history if isinstance(item, Gap) and not item.filled]
            again = [Gap(gap.start, gap.end, filled=True) for gap in earlier]
            history.append(draw(st.sampled_from(again) | gaps(time) if again else gaps(time)))
        elif die > 11:
            history.append(Row(time, RowKind.CLOCK))
        else:
            kind = BACKFILL | 1 if die > 9 else die % 3
            history.append(Row(time, kind, draw(st.integers(1, 9)), draw(st.integers(1, 99))))
    return history


configurations = st.fixed_dictionaries(
    {
        "closed": st.sampled_from(["right", "left"]),
        "grace_ns": st.sampled_from([0, 0, 5 * SECOND, 90 * SECOND, 600 * SECOND]),
        "horizon_ns": st.sampled_from([0, 3 * MINUTE_NS, 180 * MINUTE_NS, 2 * DAY]),
    }
)


def batches(history: list[Row | Gap], cuts: list[int]) -> list[list[Row] | Gap]:
    """Runs of rows, cut before the given places and at gaps."""
    parts: list[list[Row] | Gap] = []
    for i, item in enumerate(history):
        if isinstance(item, Gap):
            parts.append(item)
        elif parts and isinstance(parts[-1], list) and i not in cuts:
            parts[-1].append(item)
        else:
            parts.append([item])
    return parts


def fold(book: CandleBook, part: list[Row] | Gap, offset: int) -> tuple[np.ndarray, list[int], list[int]]:
    if isinstance(part, Gap):
        told = (book.gap_filled if part.filled else book.gap)(part.start, part.end, offset)
    else:
        told = book.fold(*columns(part), offset)
    return told.closed, told.late.tolist(), told.revising.tolist()


@settings(max_examples=150, deadline=None)
@given(histories(), configurations, st.sets(st.integers(0, 40)))
def test_candles_late_and_revising_rows_equal_the_plain_reference(history, configuration, cuts):
    book = CandleBook(**configuration)
    reference = Reference(configuration["closed"], configuration["grace_ns"], configuration["horizon_ns"])
    for offset, part in enumerate(batches(history, sorted(cuts))):
        closed, late, revising = fold(book, part, offset)
        if isinstance(part, Gap):
            expected = reference.gap(part, offset), [], []
        else:
            expected = reference.fold(part, offset)
        assert ([tuple(c) for c in closed.tolist()], late, revising) == expected
        assert book.watermark == reference.watermark


@settings(max_examples=80, deadline=None)
@given(histories(), configurations, st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_any_split_of_the_input_gives_the_same_candles(history, configuration, cuts, other_cuts):
    def candles(places):
        book = CandleBook(**configuration)
        parts = [fold(book, part, 0)[0] for part in batches(history, sorted(places))]
        return first_and_last(np.concatenate(parts)), without_revisions(book)

    assert candles(cuts) == candles(other_cuts)


def first_and_last(told: np.ndarray) -> tuple[list, dict]:
    """The content of candles as they were told first, and in the end: how often they are told in between
    depends on the batches."""
    content = [name for name in CLOSED.names if name not in (*NOT_CONTENT, "revision")]
    last = {(c["timeframe"], c["end"]): c[content].tolist() for c in told}
    return told[told["revision"] == 0][content].tolist(), last


def without_revisions(book: CandleBook) -> list[bytes]:
    """A book's state, but for how often its candles were told."""
    form, *fields, opened, rings, gaps = msgspec.msgpack.decode(book.state())
    candles = np.frombuffer(opened + rings, CANDLE).copy()
    candles["revision"] = 0
    return [form, *fields, candles.tobytes(), gaps]


@settings(max_examples=80, deadline=None)
@given(histories(), configurations, st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_a_restart_anywhere_gives_the_same_candles_and_the_same_bytes(history, configuration, cuts, restarts):
    straight, restarted = CandleBook(**configuration), CandleBook(**configuration)
    for offset, part in enumerate(batches(history, sorted(cuts))):
        if offset in restarts:
            restarted = CandleBook.restore(restarted.state())
        first, second = fold(straight, part, offset), fold(restarted, part, offset)
        assert first[0].tolist() == second[0].tolist()
        assert first[1:] == second[1:]
        assert straight.state() == restarted.state()


@settings(max_examples=60, deadline=None)
@given(
    histories(), configurations, st.integers(0, 40), st.sampled_from([1, 10, 1000]), st.sampled_from([1, 100])
)
def test_rescaling_anywhere_equals_having_had_the_larger_scale_from_the_start(
    history, configuration, place, price_factor, size_factor
):
    def scaled(row, prices, sizes):
        return row if isinstance(row, Gap) else Row(row.time, row.kind, row.price * prices, row.size * sizes)

    whole, rescaled = CandleBook(**configuration), CandleBook(**configuration)
    for i, item in enumerate(history):
        if i == place:
            rescaled.rescale(price_factor, size_factor)
        grown = scaled(item, price_factor, size_factor)
        expected = fold(whole, grown if isinstance(grown, Gap) else [grown], i)
        given_ = grown if i >= place else item
        told = fold(rescaled, given_ if isinstance(given_, Gap) else [given_], i)
        assert told[1:] == expected[1:]
        if i >= place:
            assert told[0].tolist() == expected[0].tolist()
    if place < len(history):
        assert whole.state() == rescaled.state()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(17, 3000), st.floats(0, 0.2))
def test_long_runs_equal_the_same_rows_one_by_one(seed, rows, odd):
    """Rows that break a run (out of order, backfilled, clock rows) are found wherever they stand in it."""
    random = np.random.default_rng(seed)
    time = START + np.sort(random.integers(0, 3 * MINUTE_NS, rows))
    kind = random.integers(0, 3, rows).astype(np.uint8)
    break_at = random.random(rows) < odd
    time[break_at] -= random.integers(0, 40 * SECOND, break_at.sum())
    kind[break_at] = random.choice([1, 1 | BACKFILL, RowKind.CLOCK], break_at.sum())
    price, size = random.integers(1, 99, rows), random.integers(1, 99, rows)
    whole, single = (CandleBook(closed="right", grace_ns=0, horizon_ns=10 * MINUTE_NS) for _ in range(2))
    told = whole.fold(time, price, size, kind, 0)
    steps = [
        single.fold(time[i : i + 1], price[i : i + 1], size[i : i + 1], kind[i : i + 1], 0)
        for i in range(rows)
    ]
    assert first_and_last(told.closed) == first_and_last(np.concatenate([step.closed for step in steps]))
    assert told.late.tolist() == [i for i, step in enumerate(steps) if len(step.late)]
    assert told.revising.tolist() == [i for i, step in enumerate(steps) if len(step.revising)]
    assert without_revisions(whole) == without_revisions(single)


minutes = st.lists(
    st.one_of(st.none(), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3)),
    min_size=3,
    max_size=3,
)


def minute_candle(number: int, trades: list[tuple[int, int]] | None) -> np.void:
    candle = np.zeros(1, kernel.CANDLE)[0]
    candle["first_offset"] = candle["last_offset"] = number
    for name in ("open", "high", "low", "close"):
        candle[name] = 5
    if trades:
        prices, sizes = zip(*trades, strict=True)
        candle["first_time"], candle["last_time"] = 10 * number, 10 * number + len(trades)
        candle["open"], candle["close"] = prices[0], prices[-1]
        candle["high"], candle["low"] = max(prices), min(prices)
        candle["volume"], candle["trades"] = sum(sizes), len(trades)
    return candle


@settings(max_examples=80, deadline=None)
@given(minutes)
def test_merging_is_associative(parts):
    def merged(*candles):
        into = candles[0].copy()
        for candle in candles[1:]:
            assert kernel.merge(into, candle)
        return into

    a, b, c = (minute_candle(i, trades) for i, trades in enumerate(parts))
    assert merged(merged(a, b), c).tolist() == merged(a, merged(b, c)).tolist()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_higher_timeframes_roll_up_the_minutes(seed, left):
    """Without revisions a higher candle is the first open, the extremes, the last close and the sums of
    its minutes with trades."""
    random = np.random.default_rng(seed)
    rows = 400
    time = START + np.sort(random.integers(0, 3 * DAY, rows)) // SECOND * SECOND
    book = CandleBook(closed="left" if left else "right", grace_ns=0, horizon_ns=0)
    closed = book.fold(
        time, random.integers(1, 99, rows), random.integers(1, 99, rows), np.zeros(rows, np.uint8), 0
    ).closed
    ones = closed[closed["timeframe"] == 0]
    for frame, length in enumerate(LENGTHS):
        for candle in closed[closed["timeframe"] == frame]:
            inside = ones[(ones["end"] > candle["end"] - length) & (ones["end"] <= candle["end"])]
            traded = inside[inside["trades"] > 0]
            assert candle["volume"] == traded["volume"].sum()
            assert candle["trades"] == traded["trades"].sum()
            assert bool(candle["flags"] & CandleFlag.EMPTY) == (len(traded) == 0)
            shown = traded if len(traded) else inside
            assert candle["open"] == shown["open"][0]
            assert candle["close"] == shown["close"][-1]
            assert (candle["high"], candle["low"]) == (shown["high"].max(), shown["low"].min())
    assert set(closed["timeframe"]) == set(range(len(TIMEFRAMES)))
