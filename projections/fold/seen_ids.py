"""Which trade ids of a market have been folded: a bounded set."""

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from streams.ticks import NO_WIDE_ID, WIDE_BYTES, Ids

RANGES_MAX = 1024
WIDE_MAX = 65_536


class SeenIds:
    """Ids of 64 bits as disjoint ranges [low, high], rising; the newest `WIDE_MAX` of 128 bits one by one.

    Contiguous ids need one range; scattered ones a range each. Beyond `RANGES_MAX` the lowest range is
    forgotten: its ids would count as new again, since to lose a trade is worse than to repeat one.
    """

    def __init__(self, ranges: list[list[int]] | None = None, wide: bytes = b"") -> None:
        self.ranges: list[list[int]] = ranges or []
        starts = range(0, len(wide), WIDE_BYTES)
        self._wide = {wide[at : at + WIDE_BYTES]: None for at in starts}

    def wide(self) -> bytes:
        """The ids of 128 bits, in their order of arrival."""
        return b"".join(self._wide)

    def add(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Mark `ids` as seen; True where an id is new or a row has none. Shape (n,)."""
        if ids.ndim == 2:
            return np.array([self._add_wide(row.tobytes()) for row in ids], np.bool_)
        known = ids[ids >= 0]
        top = self.ranges[-1][1] if self.ranges else -1
        if len(known) and known[0] > top and bool((np.diff(known) == 1).all()):
            self._add_range(int(known[0]), int(known[-1]))
            return np.ones(len(ids), np.bool_)
        return np.array([value < 0 or self._add_one(value) for value in ids.tolist()], np.bool_)

    def _add_wide(self, value: bytes) -> bool:
        if value in self._wide:
            return False
        if value != NO_WIDE_ID:
            self._wide[value] = None
            if len(self._wide) > WIDE_MAX:
                del self._wide[next(iter(self._wide))]
        return True

    def _add_range(self, low: int, high: int) -> None:
        if self.ranges and self.ranges[-1][1] == low - 1:
            self.ranges[-1][1] = high
        else:
            self.ranges.append([low, high])
            self._bound()

    def _add_one(self, value: int) -> bool:
        at = bisect_right(self.ranges, value, key=lambda r: r[0])
        if at and self.ranges[at - 1][1] >= value:
            return False
        joins_left = at > 0 and self.ranges[at - 1][1] == value - 1
        joins_right = at < len(self.ranges) and self.ranges[at][0] == value + 1
        if joins_left and joins_right:
            self.ranges[at - 1][1] = self.ranges.pop(at)[1]
        elif joins_left:
            self.ranges[at - 1][1] = value
        elif joins_right:
            self.ranges[at][0] = value
        else:
            self.ranges.insert(at, [value, value])
            self._bound()
        return True

    def _bound(self) -> None:
        if len(self.ranges) > RANGES_MAX:
            self.ranges.pop(0)
