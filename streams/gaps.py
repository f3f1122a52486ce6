"""What may be missing of a market, and what of that was filled in: the account that the fold and those who
only look at a journal keep alike."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from streams.events import Gap, GapFilled
from streams.ticks import NO_ID

KEPT_MAX = 1024
"""So many open gaps of a market are known, and as many filled ones, the newest by their time."""
REASON_LENGTH_MAX = 200


class KnownGap(Struct, frozen=True, array_like=True):
    """(start, end] in ns; see `streams.events.Gap`."""

    start: int
    end: int
    reason: str
    final: bool
    filled: bool = False
    first_id: int = NO_ID
    last_id: int = NO_ID


class Gaps:
    """One market's gaps, by time; they do not overlap, since of each moment the newest word counts.

    A gap stays when its candles can no longer change. What is left of one beside a newer word keeps the ids
    that the newer one does not name. `open`: those that are not filled.
    """

    def __init__(self, known: Iterable[KnownGap] = ()) -> None:
        self._set(list(known))

    def note(self, event: Gap | GapFilled) -> None:
        """Raises `ValueError` for no range of times or ids, and where what is filled in was never missing."""
        start, end = event.start, event.end
        if not 0 <= start < end:
            raise ValueError(
                f"gap ({start}, {end}] is no range of times in ns: the start must be before the end"
            )
        if isinstance(event, Gap):
            _check_ids(event)
        first = bisect_right(self.known, start, key=lambda gap: gap.end)
        stop = bisect_left(self.known, end, key=lambda gap: gap.start)
        outside, inside = _cut(self.known[first:stop], event)
        if isinstance(event, Gap):
            reason = event.reason[:REASON_LENGTH_MAX]
            inside = [KnownGap(start, end, reason, event.final, False, event.first_id, event.last_id)]
        elif inside:
            inside = [replace(gap, filled=True) for gap in inside]
        else:
            raise ValueError(
                f"({start}, {end}] of {event.market} was filled in, but no gap is known there: append the gap"
                f" first. Of a market the newest {KEPT_MAX} are known"
            )
        self._put(first, stop, sorted([*outside, *inside], key=lambda gap: gap.start))

    def _put(self, first: int, stop: int, gaps: list[KnownGap]) -> None:
        """In the place of those that are known from `first` to before `stop`; their neighbours may join."""
        before, behind = max(first - 1, 0), stop + 1
        joined = _joined([*self.known[before:first], *gaps, *self.known[stop:behind]])
        self._set([*self.known[:before], *joined, *self.known[behind:]])
        if max(len(self.open), len(self.known) - len(self.open)) > KEPT_MAX:
            self._set(_newest(self.known))

    def _set(self, known: list[KnownGap]) -> None:
        self.known = known
        self.open = [gap for gap in known if not gap.filled]


def _cut(known: Iterable[KnownGap], event: Gap | GapFilled) -> tuple[list[KnownGap], list[KnownGap]]:
    """What of those that an event's (start, end] meets is outside of it, and inside."""
    start, end = event.start, event.end
    outside: list[KnownGap] = []
    inside: list[KnownGap] = []
    for gap in known:
        inside.append(replace(gap, start=max(gap.start, start), end=min(gap.end, end)))
        if gap.start < start:
            outside.append(_rest(gap, event, gap.start, start))
        if gap.end > end:
            outside.append(_rest(gap, event, end, gap.end))
    return outside, inside


def _check_ids(gap: Gap) -> None:
    first, last = gap.first_id, gap.last_id
    if not (0 <= first <= last or first == last == NO_ID):
        raise ValueError(
            f"gap of ids {first} to {last} is no range of ids: the first must not be above the last, and"
            f" where there are none both are {NO_ID}"
        )


def _rest(gap: KnownGap, event: Gap | GapFilled, start: int, end: int) -> KnownGap:
    """What of a gap is left in (start, end], before or behind an event that covers the rest."""
    first, last = gap.first_id, gap.last_id
    if isinstance(event, Gap) and NO_ID not in (first, event.first_id):
        if start < event.start:
            last = min(last, event.first_id - 1)
        else:
            first = max(first, event.last_id + 1)
        if first > last:
            first = last = NO_ID
    return replace(gap, start=start, end=end, first_id=first, last_id=last)


def _joined(gaps: list[KnownGap]) -> list[KnownGap]:
    """Neighbours become one that differ in nothing but their times, and filled ones whose ids go on: what is
    filled part by part was one gap."""
    joined: list[KnownGap] = []
    for gap in gaps:
        if joined and joined[-1].end == gap.start and (whole := _whole(joined[-1], gap)) is not None:
            joined[-1] = whole
        else:
            joined.append(gap)
    return joined


def _whole(gap: KnownGap, behind: KnownGap) -> KnownGap | None:
    """Two neighbours as one; None where they differ."""
    first, last = behind.first_id, behind.last_id
    if gap.filled and NO_ID in (gap.first_id, first):
        first, last = max(gap.first_id, first), max(gap.last_id, last)
    elif gap.filled and gap.last_id + 1 == first:
        first = gap.first_id
    elif (gap.first_id, gap.last_id) != (first, last):
        return None
    whole = replace(gap, end=behind.end, first_id=first, last_id=last)
    return whole if whole == replace(behind, start=gap.start, first_id=first, last_id=last) else None


def _newest(gaps: list[KnownGap]) -> list[KnownGap]:
    room = {False: KEPT_MAX, True: KEPT_MAX}
    newest: list[KnownGap] = []
    for gap in reversed(gaps):
        room[gap.filled] -= 1
        if room[gap.filled] >= 0:
            newest.append(gap)
    return newest[::-1]
