"""How sources of market data stand: what a provider tells of itself, and what its collector adds."""

from msgspec import Struct

from streams.events import FeedState

SKEW_MS = 500.0
"""From here on a clock is warned of."""


class Trouble(Struct, frozen=True):
    """What went wrong, and when, in ns."""

    what: str
    at: int


class RawStatus(Struct, frozen=True):
    """Frames that `--raw` could not keep, and why it keeps none any more, "" while it does."""

    dropped: int
    failed: str = ""


class RestStatus(Struct, frozen=True):
    """Pages of trades that were asked for in the last minute, how many may be, and for how many seconds the
    venue demands to be asked nothing."""

    pages: int
    pages_max: int
    wait_s: float = 0.0


class ProviderStatus(Struct, frozen=True):
    """What a provider knows of itself, since it began.

    `skew_ms`: how far the clock here is ahead of the venue's, None before it was measured. `repeats`: trades
    that came once more, by market key. `raw`: None without `--raw`.
    """

    skew_ms: float | None
    reconnects: int
    rest: RestStatus
    trouble: Trouble | None
    repeats: dict[str, int]
    raw: RawStatus | None = None


class MarketStatus(Struct, frozen=True):
    """A market of a source, since its collector began.

    `since`: of its state, in ns, 0 where that is not known. `age_s`: since a trade came live, None before the
    first; `trades_s`: such in a second, over the last minute. `refused`: how often something was left out;
    `gaps`: open, of those final, and filled.
    """

    market: str
    state: FeedState
    reason: str
    since: int
    age_s: float | None
    trades_s: float
    refused: int
    gaps: tuple[int, int, int]


class DiskStatus(Struct, frozen=True):
    """Bytes that are free where the log is, and by how many it grows in a day; None: too little is known."""

    free: int
    grown_day: float | None

    @property
    def days_left(self) -> float | None:
        """So long it lasts as the log grows; None where too little is known, or it does not grow."""
        return self.free / self.grown_day if self.grown_day else None


class SourceStatus(Struct, frozen=True):
    """A source and its markets at the time `at`, in ns. `bytes_day`: of its journal records, by the last day
    or what is known of it, None where that is too little. `disk`: None where the log is elsewhere. `refused`:
    what belongs to no market."""

    source: str
    at: int
    markets: list[MarketStatus]
    provider: ProviderStatus | None
    trouble: Trouble | None
    refused: int
    bytes_day: float | None
    disk: DiskStatus | None = None

    @property
    def last_trouble(self) -> Trouble | None:
        """Of its collector and its provider the newer one."""
        troubles = (self.trouble, self.provider and self.provider.trouble)
        return max(filter(None, troubles), key=lambda trouble: trouble.at, default=None)


def warning(venue: str, provider: ProviderStatus) -> str:
    """What people must know of a source besides numbers; "" where there is nothing."""
    wait_s = provider.rest.wait_s
    waits = f"{venue}: nothing is asked of it for another {wait_s:.0f} s, as it demands" if wait_s else ""
    words = (skew_words(venue, provider.skew_ms), waits, _raw_words(venue, provider.raw))
    return "; ".join(filter(None, words))


def _raw_words(venue: str, raw: RawStatus | None) -> str:
    if raw is None or not (raw.failed or raw.dropped):
        return ""
    if raw.failed:
        return f"{venue}: --raw keeps no frames any more: {raw.failed}"
    return f"{venue}: {raw.dropped} frames came too fast for --raw and are not kept"


def skew_words(venue: str, skew_ms: float | None) -> str:
    """What is to be said of a clock that is wrong; "" while it is not."""
    if skew_ms is None or abs(skew_ms) < SKEW_MS:
        return ""
    side = "ahead of" if skew_ms > 0 else "behind"
    return f"the clock here is {abs(skew_ms):.0f} ms {side} that of {venue}: have it set by NTP"
