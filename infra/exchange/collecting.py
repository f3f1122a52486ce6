"""Composition root of a collecting process: its providers, each a source of its own with its symbols."""

import asyncio
import re
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import NamedTuple

from msgspec.structs import replace

from infra.commands.journal_view import source_state
from infra.exchange.asked import parted
from infra.exchange.collector import DataCollector
from infra.exchange.disk import Disk
from infra.exchange.gauges import of_disk
from infra.exchange.in_hand import Tell, in_hand, tell_status
from infra.exchange.provider import DataProvider
from infra.exchange.simulated import VENUE, SimulatedExchange
from infra.exchange.status import DiskStatus
from infra.process import telemetry
from infra.process.settings import Settings
from streams.backends import open_log
from streams.journal import JournalState
from streams.log import Log, LogError
from streams.topics import JOURNAL, market_key

TELL_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Source(NamedTuple):
    """A provider, what it is asked for (`DataCollector.start_collection`), and who hears of its failures."""

    provider: DataProvider
    asked: Sequence[str]
    tell: Tell


class Collecting:
    """Symbols of providers on their way into the journal; made by `simulated` and `from_venues`."""

    def __init__(self, settings: Settings, sources: Mapping[str, Source]) -> None:
        self.sources = tuple(sources)
        self._settings, self._by_name = settings, sources
        self._log: Log | None = None
        self._collector: DataCollector | None = None
        self._disk: DiskStatus | None = None
        """As it was looked at last."""

    async def run(self) -> None:
        """Collect from where the journal is, until the providers end or this is cancelled.

        Raises `LogError`, `ValueError` for a symbol that its provider has not, and what they raise.
        """
        with closing(await asyncio.to_thread(self._open_log)) as self._log:
            state = await asyncio.to_thread(self._state, self._log)
            self._collector = DataCollector(self._log, state, ahead_s=self._settings.ahead_s, told=self._told)
            for name, source in self._by_name.items():
                self._collector.register_provider(name, source.provider)
            with telemetry.asked({**self._collector.gauges(), **of_disk(lambda: self._disk)}):
                telling = asyncio.ensure_future(self._tell(self._collector))
                try:
                    await self._collector.start_collection(
                        [symbol for source in self._by_name.values() for symbol in source.asked]
                    )
                finally:
                    telling.cancel()

    def _open_log(self) -> Log:
        return open_log(self._settings.log_url, partitions=self._settings.partitions)

    def _state(self, log: Log) -> JournalState:
        """Where all sources stand. Each reading of the journal counts for its own source alone: it has passed
        over the rows of the others."""
        first, *others = self.sources
        state = source_state(log, first)
        for name in others:
            seen = source_state(log, name)
            state.sources[name] = own = seen.source(name)
            state.newest |= {key: at for key, at in seen.newest.items() if key in own.reached}
            state.feeds |= {key: known for key, known in seen.feeds.items() if key in own.reached}
        return state

    def _told(self, name: str, failing: str) -> None:
        self._by_name[name].tell(failing)

    async def _tell(self, collector: DataCollector) -> None:
        """Leave word of how the sources stand, again and again."""
        disk = Disk(self._settings.log_url, time.monotonic())
        while True:
            with suppress(OSError):  # on a full disk the log says so
                await asyncio.to_thread(self._tell_once, collector, disk)
            await asyncio.sleep(TELL_S)

    def _tell_once(self, collector: DataCollector, disk: Disk) -> None:
        self._disk = disk.look(time.monotonic())
        for standing in collector.standings():
            tell_status(self._settings.home, replace(standing, disk=self._disk))

    def is_connected(self) -> bool:
        """Whether the providers deliver."""
        return self._collector is not None and self._collector.is_connected

    def why(self) -> str:
        """With what providers fail, as a sentence; "" while none does. From any thread."""
        failed = {} if self._collector is None else dict(self._collector.failed)
        return "; ".join(f"provider {name} fails with {reason}" for name, reason in failed.items())

    def refused(self) -> set[str]:
        """Keys of markets that are asked for and that their providers do not have. From any thread."""
        return {
            key
            for source in self._by_name.values()
            for key in source.asked
            if parted(key)[1] in source.provider.why_not
        }

    def is_ready(self) -> bool:
        """Whether they deliver and the log answers; may be asked from any thread."""
        try:
            return self._log is not None and self._log.highwater(JOURNAL, 0) >= 0 and self.is_connected()
        except (LogError, OSError):
            return False


@contextmanager
def simulated(
    settings: Settings, symbols: Sequence[str], *, speed: float, name: str | None = None
) -> Generator[Collecting]:
    """Collects symbols of the simulated exchange, which nobody else of this home does meanwhile.

    `name` tells this collector from others of the same provider. Raises `InHandError`, and `ValueError` for
    a name that is none.
    """
    source = _source(VENUE, name)
    with in_hand(settings.home, source, symbols) as tell:
        provider = SimulatedExchange(seed=settings.sim_seed, speed=speed)
        yield Collecting(settings, {source: Source(provider, symbols, tell)})


@contextmanager
def from_venues(
    settings: Settings, feeds: Sequence[str], *, name: str | None = None, raw: bool = False
) -> Generator[Collecting]:
    """Collects feeds `VENUE:SYMBOL` of real exchanges, each venue as a source of its own; with `raw`, their
    frames are kept in the home. Raises as `simulated`, and `UnknownVenueError`."""
    from infra.exchange.venues.known import by_venue, venue  # noqa: PLC0415 - only who asks for them pays
    from infra.exchange.venues.provider import VenueProvider  # noqa: PLC0415 - as above
    from infra.exchange.venues.raw import RawFrames  # noqa: PLC0415 - as above

    sources: dict[str, Source] = {}
    with ExitStack() as stack:
        for of, symbols in by_venue(feeds).items():
            source = _source(of, name)
            tell = stack.enter_context(in_hand(settings.home, source, symbols))
            frames = stack.enter_context(RawFrames(settings.home, source)) if raw else None
            provider = VenueProvider(
                venue(of),
                raw=frames,
                proxy=settings.proxy,
                ahead_s=settings.ahead_s,
                gap_wait_s=settings.gap_wait_s,
                backfill_max_s=settings.backfill_max,
            )
            sources[source] = Source(provider, [market_key(of, symbol) for symbol in symbols], tell)
        yield Collecting(settings, sources)


def _source(provider: str, name: str | None) -> str:
    if name is None:
        return provider
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: write up to 64 letters, digits and any of _ . -, as europe")
    return f"{provider}#{name}"
