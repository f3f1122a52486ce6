"""Causes: the identity of what follows from the journal; and how a reader hides what is recorded twice.

What a worker writes to a partition of a derived stream keeps an order: the journal offsets of the causes
rise, and under one offset the indexes of each market's events rise. In what order the markets of one offset
come is not promised. A worker that crashed, or that was taken for dead and woke up, writes records again: the
same ones, from an earlier one on. So an event is a repeat exactly if its offset lies before the last one that
was seen, or if it stands at or before the last event seen of its market there. The same is true of any choice
of the records that goes by their content.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Every integer of a record: 64 bits, as the columns of rows and tables have. What is beyond is no record."""


class Cause(Struct, frozen=True, order=True):
    """Identity of a derived event: journal partition and offset, and its index among its outputs."""

    partition: Int
    offset: Int
    index: Int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}:{self.index}"


class Seen(Struct):
    """What was seen of a topic and partition: the last journal offset, and under it the last index by market.

    Whoever reads derived records takes each to `repeats`, in the order of the log.
    """

    offset: int = -1
    indexes: dict[str, int] = field(default_factory=dict[str, int])

    def repeats(self, market: str, offset: int, indexes: Sequence[int]) -> int:
        """How many of a record's events, from the first on, were seen before; all of them count as seen now.

        `market` is the record's key. A notice of the machinery has no cause (`offset` −1) and is no repeat.
        """
        if offset < 0:
            return 0
        if offset < self.offset:
            return len(indexes)
        if offset > self.offset:
            self.offset, self.indexes = offset, {}
        repeats = bisect_right(indexes, self.indexes.get(market, -1))
        if repeats < len(indexes):
            self.indexes[market] = indexes[-1]
        return repeats

    def copy(self) -> "Seen":
        return Seen(self.offset, dict(self.indexes))
