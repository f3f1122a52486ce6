"""Which trades of a market that its venue numbers have been folded: a bounded set of identities."""

import msgspec
import numpy as np
import numpy.typing as npt

from projections.fold import identities
from projections.fold.identities import (
    CHECK,
    KEY,
    NEWEST_ID,
    NEWEST_TIME,
    REUSED,
    RING,
    SINCE,
    SPANS_USED,
    TIME,
    UNDECIDED,
    WRITTEN,
    Table,
)
from streams.ticks import I8, NO_ID, Ids


class SeenState(msgspec.Struct, frozen=True, array_like=True):
    """Everything of a `SeenIds`, canonical: `ring` in the order of arrival."""

    head: bytes = b""
    ring: bytes = b""
    spans: bytes = b""


class Found(msgspec.Struct, frozen=True):
    """Of rows [n]: which are `fresh`, the first whose id another trade has (−1: none), and how many are such
    and how many can't be decided any more. All of those are fresh."""

    fresh: npt.NDArray[np.bool_]
    first_reused: int
    reused: int
    undecided: int


class SeenIds:
    """Identities: id, time, price and size. The newest 65,536 exactly (by hashes, see `identities`), older
    ones with ids of 64 bits as ranges of ids with their times.

    A trade with a known id and other content is another trade. One that can't be told from a repeat any more
    counts as new, since to lose a trade is worse than to repeat one.
    """

    def __init__(self, state: SeenState | None = None) -> None:
        self._state = state or SeenState()
        self._table: Table | None = None
        """Made when it is needed: most who look at a fold add nothing. Until then `_state` counts."""
        self._base: _Base | None = None

    @property
    def newest_id(self) -> int:
        """The highest of 64 bits since ids began anew, `NO_ID` for none."""
        return self._count(NEWEST_ID, NO_ID)

    @property
    def newest_time(self) -> int:
        """Of the latest trade that has an id, ns; −1 for none."""
        return self._count(NEWEST_TIME, -1)

    @property
    def since(self) -> int:
        """The time of the last trade before ids began anew, ns; −1 where they never did."""
        return self._count(SINCE, -1)

    def begin_anew(self, since: int) -> None:
        """The ids of trades after the time `since` (ns) have nothing to do with those before."""
        head = self._opened().head
        head[NEWEST_ID], head[SINCE] = NO_ID, since

    @property
    def reused(self) -> int:
        """How many trades had an id that another trade has."""
        return self._count(REUSED, 0)

    @property
    def undecided(self) -> int:
        """How many trades count as new that may be repeats."""
        return self._count(UNDECIDED, 0)

    def newest_wide(self, count: int) -> tuple[tuple[int, int], ...]:
        """Time and key (`streams.ticks.key_of`) of those with ids of 128 bits among the newest."""
        rows = np.frombuffer(self.state().ring, np.int64).reshape(-1, 3)[-count:]
        rows = rows[rows[:, CHECK] & 1 == 1]
        return tuple(zip(rows[:, TIME].tolist(), rows[:, KEY].view(np.uint64).tolist(), strict=True))

    def add(self, ids: Ids, time: I8, price: I8, size: I8, scales: tuple[int, int]) -> Found:
        """Take rows, shape (n,) each, at the scales of price and size."""
        table = self._opened()
        if self._base is not None:
            self._base.keep(table, len(ids))
        reused, undecided = int(table.head[REUSED]), int(table.head[UNDECIDED])
        fresh = np.empty(len(ids), np.bool_)
        rows = ids.view(np.int64).reshape(len(ids), ids.ndim)
        first = identities.add(table, rows, time, price, size, scales, fresh)
        return Found(fresh, first, int(table.head[REUSED]) - reused, int(table.head[UNDECIDED]) - undecided)

    def state(self) -> SeenState:
        if self._table is None:
            return self._state
        head, ring, spans = self._table[:3]
        written = int(head[WRITTEN])
        rows = ring[:written] if written <= RING else np.roll(ring, -written, axis=0)
        return SeenState(head.tobytes(), rows.tobytes(), spans[: int(head[SPANS_USED])].tobytes())

    def begin(self) -> None:
        """From here on `go_back` comes back to what it holds now."""
        if self._table is not None:
            self._state, self._base = SeenState(), _Base(self._table.head.copy())

    def go_back(self) -> None:
        """Become what it was at the last `begin`, or when it was made."""
        if self._table is None or self._base is None:
            self._table = None
            return
        self._base.put_back(self._table)
        self.begin()

    def _count(self, field: int, otherwise: int) -> int:
        head = np.frombuffer(self._state.head, np.int64) if self._table is None else self._table.head
        return int(head[field]) if len(head) else otherwise

    def _opened(self) -> Table:
        if self._table is None:
            table = identities.table()
            if self._state.head:
                _load(table, self._state)
            self._table = table
        return self._table


class _Base:
    """What of a table is overwritten since it had this `head`."""

    def __init__(self, head: I8) -> None:
        self._head = head
        self._rows: list[tuple[I8, I8]] = []
        self._spans: I8 | None = None

    def keep(self, table: Table, rows: int) -> None:
        """Keep what so many more rows may overwrite."""
        written = int(table.head[WRITTEN])
        if written + rows <= RING:
            return
        if self._spans is None:
            self._spans = table.spans[: int(table.head[SPANS_USED])].copy()
        last = min(written + rows, int(self._head[WRITTEN]) + RING)
        slots = np.arange(max(written, RING), last) % RING
        self._rows.append((slots, table.ring[slots]))

    def put_back(self, table: Table) -> None:
        for slots, rows in self._rows:
            table.ring[slots] = rows
        if self._spans is not None:
            table.spans[: len(self._spans)] = self._spans
        table.head[:] = self._head
        identities.index(table)


def _load(table: Table, state: SeenState) -> None:
    table.head[:] = np.frombuffer(state.head, np.int64)
    rows, spans = np.frombuffer(state.ring, np.int64), np.frombuffer(state.spans, np.int64)
    rows = rows.reshape(-1, table.ring.shape[1])
    table.ring[: len(rows)] = np.roll(rows, int(table.head[WRITTEN]) - len(rows), axis=0)
    table.spans[: len(spans) // table.spans.shape[1]] = spans.reshape(-1, table.spans.shape[1])
    identities.index(table)
