"""What a source of market data is to the collector: a `DataProvider`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from infra.exchange.status import ProviderStatus
from projections.fold.specification import FIXED
from streams.events import FeedState, Gap, GapFilled, Market, RowKind
from streams.journal import Reached
from streams.ticks import Ticks

_DTYPES = tuple(map(np.dtype, (np.uint16, np.uint8, np.int64, np.int64, np.int64, np.int64)))
"""Of the columns of `Ticks`."""


class FeedReport(NamedTuple):
    """What a provider can vouch for of a market, since when (ns), and why; see `streams.events.Feed`."""

    market: str
    state: FeedState
    since: int
    reason: str = ""


class Refused(NamedTuple):
    """Something that a provider did not let in: its market's key, "" where that is not known, why, what came,
    and the venue's own id where it has one."""

    market: str
    reason: str
    data: bytes
    venue_id: str = ""


@dataclass(frozen=True)
class Delivery:
    """What one message of a provider means.

    `ticks.market` indexes `keys`, the markets' keys. `clock` (ns of the venue) promises that
    everything up to then of the markets `keys` has been delivered with this message; 0 promises
    nothing. `feeds`: what the provider can vouch for from this message on; one that never reports is taken
    to be live. `first_row` numbers the rows of a file, all of which are right. `skew`, of a live
    provider: how far, in ns, the clock here is ahead of the venue's, so that a row from the venue's
    future is known for what it is; None: its times have nothing to do with the clock here. `refused` becomes
    dead letters.

    Raises `ValueError` for columns that are not of their form. A row whose values are wrong is the
    collector's to leave out.
    """

    keys: tuple[str, ...]
    ticks: Ticks
    clock: int = 0
    markets: tuple[Market, ...] = ()
    gaps: tuple[Gap | GapFilled, ...] = ()
    feeds: tuple[FeedReport, ...] = ()
    first_row: int = -1
    skew: int | None = None
    refused: tuple[Refused, ...] = ()

    def __post_init__(self) -> None:
        rows = self.ticks.rows
        for (name, column), dtype in zip(self.ticks._asdict().items(), _DTYPES, strict=True):
            if column is None or (column.dtype == dtype and column.shape == (rows,)):
                continue
            if name == "id" and column.dtype == np.uint64 and column.shape == (rows, 2):
                continue  # of 128 bits
            raise ValueError(
                f"column {name!r} has shape {column.shape} of {column.dtype}, not ({rows},) of {dtype}"
            )
        if rows and int(self.ticks.market.max()) >= len(self.keys):
            raise ValueError(f"a row has market {int(self.ticks.market.max())} of {len(self.keys)}")


class DataProvider(Protocol):
    """One venue's market data. The collector numbers and writes it under the provider's name."""

    why_not: Mapping[str, str] = MappingProxyType({})
    """By symbol that `markets` left out, a sentence that says why, where there is more to say than that the
    venue does not have it."""

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        """Specifications of those of the symbols that this venue has; `known` are those of the journal, by
        key, whatever their venue."""
        ...

    def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Any, None]:
        """Raw messages on the markets, from where the journal has `reached` (by market key).

        A market that is not in `reached` is new to the journal. What of its `gaps` the provider can still
        get, it delivers as backfill, with a `GapFilled`.
        """
        ...

    def parse(self, raw: Any) -> Delivery:
        """What a raw message means. One that it raises for is recorded whole, and means nothing."""
        ...

    def status(self) -> ProviderStatus | None:
        """What it knows of itself, asked from any thread; None: nothing. One that tells of itself reports its
        feeds, too."""
        return None


def is_new(market: Market, known: Market | None) -> bool:
    """Whether a specification must be written. Raises `ValueError` when a scale would shrink."""
    if known is None:
        return True
    for name in ("price_scale", "size_scale", "cash_scale"):
        old, new = getattr(known, name), getattr(market, name)
        if new < old:
            raise ValueError(
                f"{market.key}: {name} is {old} in the journal and only grows; {new} is too small"
            )
    return market != known


def settled(market: Market, known: Market | None) -> Market:
    """A provider's specification as the journal takes it: what is `known` there and fixed stays, scales only
    grow. Raises `ValueError` where it is another market: of another kind, or another multiplier."""
    if known is None:
        return market
    for name in ("base", "quote", "settle", "contract", "multiplier"):
        ours, theirs = _of_kind(known, name), _of_kind(market, name)
        if ours != theirs:
            raise ValueError(
                f"{market.key}: {name} is {ours} in the journal, and its provider says {theirs}: that is"
                " another market, which needs another venue or symbol"
            )
    price = max(0, known.price_scale - market.price_scale)
    size = max(0, known.size_scale - market.size_scale)
    return replace(
        market,
        **{name: getattr(known, name) for name in FIXED},
        cash_scale=max(known.cash_scale, market.cash_scale),
        price_scale=market.price_scale + price,
        size_scale=market.size_scale + size,
        price_step=market.price_step * 10**price,
        size_step=market.size_step * 10**size,
        min_size=market.min_size * 10**size,
    )


def _of_kind(market: Market, name: str) -> Any:
    value = getattr(market, name)
    return Decimal(value).scaleb(-market.multiplier_scale).normalize() if name == "multiplier" else value


def clock_rows(market: NDArray[np.uint16], time: int | Sequence[int]) -> Ticks:
    """A clock row of `time` (ns: of all, or of each) for each of the given market indexes."""
    rows = len(market)
    zeros = np.zeros(rows, np.int64)
    kind = np.full(rows, RowKind.CLOCK, np.uint8)
    return Ticks(market, kind, np.full(rows, time, np.int64), zeros, zeros, None)
