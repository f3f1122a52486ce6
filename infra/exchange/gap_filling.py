"""What is missing is asked for once more, as the source that collects it, while that one is not at work."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Literal, NamedTuple

from infra.commands import journal_view
from infra.exchange.asked import parted
from infra.exchange.collector import DataCollector, Message
from infra.exchange.in_hand import InHandError, in_hand
from infra.exchange.venues.again import GapProvider
from infra.exchange.venues.known import VENUES
from infra.process.errors import named
from infra.process.settings import Settings
from streams.gaps import KnownGap
from streams.journal import Reached
from streams.log import Log, LogError
from streams.ticks import NO_ID

Result = Literal["filled", "narrowed", "still missing", "not asked for"]
Open = tuple[str, KnownGap]
"""A market's key and one of its open gaps."""


class Asked(NamedTuple):
    """A gap that was open, and how many of its trades are missing now; None: its source tells no ids."""

    market: str
    gap: KnownGap
    missing: int | None

    @property
    def result(self) -> Result:
        if self.missing is None:
            return "not asked for"
        whole = self.gap.last_id - self.gap.first_id + 1
        return "filled" if not self.missing else "narrowed" if self.missing < whole else "still missing"


def asked(log: Log, market: str | None) -> list[Open]:
    """The open gaps of all markets, or of one. Raises `ValueError` for a market that the journal has not."""
    if market is not None:
        known = {key for p in range(log.partitions) for key in journal_view.view(log, p).markets}
        if market not in known:
            raise ValueError(
                f"market {market!r} is not in the journal; `tcpdashboard markets list` has those that are"
            )
    return [(key, gap) for key, gap in journal_view.gaps(log, only_open=True) if market in (None, key)]


async def ask_again(settings: Settings, log: Log, wanted: Sequence[Open]) -> tuple[list[Asked], list[str]]:
    """Ask each venue for what of the gaps has ids. What became of all, and by venue or market that could not
    be asked for a sentence that says why. Raises `LogError`."""
    nameless = dict.fromkeys(key for key, gap in wanted if gap.first_id == NO_ID)
    failures = [f"{key}: of a gap without trade ids nothing can be asked for" for key in nameless]
    by_venue: dict[str, list[Open]] = {}
    for key, gap in wanted:
        venue, _ = parted(key)
        if venue in VENUES and gap.first_id != NO_ID:
            by_venue.setdefault(venue, []).append((key, gap))
    for venue, its in by_venue.items():
        symbols = [parted(key)[1] for key in dict.fromkeys(key for key, _ in its)]
        try:
            with in_hand(settings.home, venue, symbols, or_else="fill, and start it again"):
                failures += await fetch(log, GapProvider(VENUES[venue], proxy=settings.proxy), its)
        except InHandError as error:
            failures.append(str(error))
    return outcome(log, wanted), failures


async def fetch(log: Log, provider: GapProvider, wanted: Sequence[Open]) -> list[str]:
    """Ask a venue for what is missing, and write what it has. Returns a sentence on each thing that it could
    not be asked for; raises `LogError`."""
    source = provider.venue.name
    state = journal_view.source_state(log, source)
    collector = DataCollector(log, state)
    collector.register_provider(source, provider)
    reached: dict[str, Reached] = {}
    for key, gap in wanted:
        reached[key] = Reached(gaps=(*reached.get(key, Reached()).gaps, gap))
    try:
        markets = await provider.markets([parted(key)[1] for key in reached], state.markets)
        if markets:
            async with aclosing(provider.messages(markets, reached)) as messages:
                async for raw in messages:
                    collector.send_signal_to_bots(collector.process_raw_data(Message(source, raw)))
    except LogError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a venue answers with, the others are asked
        return [f"{source} could not be asked: {named(error)}"]
    return [f"{source}: {sentence}" for sentence in provider.why_not.values()]


def outcome(log: Log, wanted: Sequence[Open]) -> list[Asked]:
    """What has become of gaps. Raises `LogError`."""
    left = journal_view.gaps(log, only_open=True)
    return [Asked(key, gap, _missing(gap, [one for at, one in left if at == key])) for key, gap in wanted]


def _missing(gap: KnownGap, left: Sequence[KnownGap]) -> int | None:
    if gap.first_id == NO_ID:
        return None
    return sum(
        max(0, min(gap.last_id, one.last_id) - max(gap.first_id, one.first_id) + 1)
        for one in left
        if one.first_id != NO_ID
    )
