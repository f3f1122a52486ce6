"""What a journal record is to one market while it is folded; handed down, and kept by nobody."""

from collections.abc import Callable

from msgspec import Struct

from streams.causes import Cause
from streams.events import DerivedEvent, Market
from streams.ticks import I8, U1

Emit = Callable[[str, DerivedEvent], Cause]
"""Takes topic and event in the order of the journal, and gives the event its cause."""


class CommandError(ValueError):
    """What a market's history does not allow; the record becomes a dead letter with this message."""


class Progress(Struct):
    """What a fold is at in this moment; other threads may look."""

    strategy: str = ""
    """Whose step runs, "" between two."""
    steps: int = 0


class Account(Struct):
    """How many trades were folded before (`repeats`), have an id that another trade has (`ids_reused`), and
    count as new though they may be repeats (`undecided`)."""

    repeats: int = 0
    ids_reused: int = 0
    undecided: int = 0


class Rows(Struct, frozen=True):
    """Columns (n,) of a market's rows by which orders fill; those that may not fill carry `BACKFILL`.

    `number`: the rows' numbers in the journal record; None: 0 … n − 1.
    """

    time: I8
    price: I8
    kind: U1
    number: I8 | None


class Turn(Struct, frozen=True):
    """One journal record's turn at one market. `source`: whose it is; `watermark`: ns, before the record."""

    market: Market
    source: str
    offset: int
    watermark: int
    emit: Emit
    next_cause: Callable[[], Cause]
    progress: Progress
    account: Account


class Moment(Struct, frozen=True):
    """When a decision is made: event `time` and the row's own time `now` in ns, `row` of the journal record
    (−1: none), the market's last `close`, and of the candle that closed with it, if any, the cause and
    whether it is incomplete."""

    time: int
    now: int
    row: int
    close: int
    candle: Cause | None = None
    incomplete: bool = False
