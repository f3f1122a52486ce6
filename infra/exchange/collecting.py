"""Composition root of a collecting process: one provider, the symbols it is given, one source."""

import asyncio
import re
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager

from infra.commands.journal_view import source_state
from infra.exchange.collector import DataCollector
from infra.exchange.in_hand import Tell, in_hand
from infra.exchange.provider import DataProvider
from infra.exchange.simulated import VENUE, SimulatedExchange
from infra.process import telemetry
from infra.process.settings import Settings
from streams.backends import open_log
from streams.log import Log, LogError
from streams.topics import JOURNAL

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Collecting:
    """A provider's symbols on their way into the journal; made by `simulated`."""

    def __init__(
        self, settings: Settings, source: str, provider: DataProvider, symbols: Sequence[str], tell: Tell
    ) -> None:
        self.source = source
        self._tell = tell
        self._settings, self._provider, self._symbols = settings, provider, symbols
        self._log: Log | None = None
        self._collector: DataCollector | None = None

    async def run(self) -> None:
        """Collect from where the journal is, until the provider ends or this is cancelled.

        Raises `LogError`, `ValueError` for a symbol that the provider has not, and what it raises.
        """
        with closing(await asyncio.to_thread(self._open_log)) as self._log:
            state = await asyncio.to_thread(source_state, self._log, self.source)
            self._collector = DataCollector(
                self._log,
                state,
                ahead_s=self._settings.ahead_s,
                told=lambda _, failing: self._tell(failing),
            )
            self._collector.register_provider(self.source, self._provider)
            with telemetry.asked(self._collector.gauges()):
                await self._collector.start_collection(self._symbols)

    def _open_log(self) -> Log:
        return open_log(self._settings.log_url, partitions=self._settings.partitions)

    def is_connected(self) -> bool:
        """Whether the provider delivers."""
        return self._collector is not None and self._collector.is_connected

    def why(self) -> str:
        """With what the provider fails, as a sentence; "" while it does not. From any thread."""
        failed = {} if self._collector is None else dict(self._collector.failed)
        return "; ".join(f"provider {name} fails with {reason}" for name, reason in failed.items())

    def is_ready(self) -> bool:
        """Whether it delivers and the log answers; may be asked from any thread."""
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
        yield Collecting(settings, source, provider, symbols, tell)


def _source(provider: str, name: str | None) -> str:
    if name is None:
        return provider
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: write up to 64 letters, digits and any of _ . -, as europe")
    return f"{provider}#{name}"
