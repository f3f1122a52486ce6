"""The collector: from providers' messages to records of the journal.

    provider ─ messages ─► process_raw_data ─► merged for some ms ─► send_signal_to_bots ─► journal

Each provider is a source of its own, with its writer and its task. What a provider promises by its
clock is written as clock rows behind the ticks of the same batch; a `Clock` record of its own is
written only where there are no ticks, once a second of real time and partition. A provider that fails is
started again, alone, from where the journal then is.

Why: ADR 20.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

import stamina

from infra.commands.journal_view import SourceView
from infra.exchange.asked import asked_of, nowhere, parted
from infra.exchange.counts import Counts
from infra.exchange.feed import Feed, Processed, merged
from infra.exchange.feed_states import FeedStates
from infra.exchange.gauges import gauges
from infra.exchange.lost import Lost, bytes_of, check_form
from infra.exchange.provider import DataProvider, Delivery, settled
from infra.exchange.specification import check_kind
from infra.exchange.standing import standing
from infra.exchange.status import SourceStatus, Trouble
from infra.exchange.tasks import end, finished, prompt
from infra.process import telemetry
from infra.process.errors import named
from projections.fold.kernel import TIME_MAX
from projections.fold.specification import check_specification
from streams.events import Gap, GapFilled, JournalEvent, Market, TickBatch
from streams.gaps import Gaps
from streams.journal import JournalState, JournalWriter, Reached, lost_entry, next_epoch
from streams.log import Log
from streams.records import Entry, Position, partition_of

logger = logging.getLogger(__name__)

LINGER_MS = 2
"""Between two deliveries: dense messages share a record, one after a pause waits for nothing."""
CLOCK_S = 1.0
QUEUE_MESSAGES = 64
"""Messages that wait for the log; a provider that is faster waits with them. Those of a file are
big."""
LATE_S = 2.0
AHEAD_S = 5.0
WAIT_S_MAX = 60.0
"""Between two starts of a provider that fails again and again; one that ran for longer begins anew."""


class Message(NamedTuple):
    """A provider's message, as it came; `received`: when, in ns, 0 where that means nothing."""

    provider: str
    raw: Any
    received: int = 0


class ProviderFailedError(RuntimeError):
    """A provider raised; it is started again."""


class DataCollector:
    """Collects the market data of all registered providers into the journal.

    `state` is where the journal stands (`streams.journal.scan` of all partitions); the collector
    goes on from there. A trade more than `ahead_s` ahead of its venue's clock is left out. `told` is
    called with a provider's name and what it fails with, and with "" when it delivers again. Who says what it
    has more than `late_s` after the first begins later than the others. `now_s` is the real clock.
    """

    def __init__(
        self,
        log: Log,
        state: JournalState,
        *,
        linger_ms: float = LINGER_MS,
        ahead_s: float = AHEAD_S,
        told: Callable[[str, str], None] = lambda provider, failing: None,
        late_s: float = LATE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._state, self._now_s, self._told = log, state, now_s, told
        self._linger_s, self._ahead_ns = linger_ms / 1000, int(ahead_s * 1e9)
        self._late_s = late_s
        self._late: dict[str, asyncio.Future[Sequence[Market]]] = {}
        """Providers that had not said what they have when the others began."""
        self._feeds: dict[str, Feed] = {}
        self._views: dict[str, SourceView] = {}
        self._connected: set[str] = set()
        self._failed: dict[str, str] = {}
        self._newest: dict[str, int] = {}
        """By market, when rows of it were appended last, in ns."""

    @property
    def is_connected(self) -> bool:
        """Whether every provider delivers: its markets are in the journal and its messages are read."""
        return bool(self._connected) and self._connected == set(self._feeds)

    @property
    def failed(self) -> Mapping[str, str]:
        """By provider that failed and has not delivered since, with what."""
        return self._failed

    def register_provider(self, name: str, provider: DataProvider) -> None:
        """Make a provider known; `name` is its source in the journal. Raises `ValueError` when
        taken."""
        if name in self._feeds:
            raise ValueError(f"provider {name!r} is registered already; give this one another name")
        writer = JournalWriter(
            self._log, name, next_epoch(self._state.source(name).epoch), self._state.newest
        )
        self._views[name] = SourceView(self._log, name)
        states = FeedStates(name, self._state.feeds)
        self._feeds[name] = Feed(
            provider, writer, self._log.partitions, states, Counts(self._state.gaps, self._now_s())
        )

    async def start_collection(self, symbols: Sequence[str]) -> None:
        """Collect the symbols from every provider that has them, and `VENUE:SYMBOL` from that venue's, until
        all end or this is cancelled. A provider that fails is started again.

        What has arrived is written before it returns. Raises `ValueError` for a symbol that no provider has,
        but for one with its venue only where nothing else is left, and where every market is refused; and
        what the log raises.
        """
        for name, feed in self._feeds.items():
            feed.asked = asked_of(name, symbols)
        asking = {name: asyncio.ensure_future(self._ask(name)) for name in self._feeds}
        try:
            await prompt(asking.values(), self._late_s)
            self._late = {name: task for name, task in asking.items() if not task.done()}
            await self._begin(symbols, {name: _answer(task) for name, task in asking.items()})
        finally:
            await end(list(asking.values()))

    async def _begin(self, symbols: Sequence[str], asked: Mapping[str, Sequence[Market] | None]) -> None:
        """Collect what providers have; None of one that failed or is late, and begins by itself."""
        for sentence in self._refused(symbols, asked):
            logger.warning("%s", sentence)
        kept = {name: markets and await self._specified(name, markets) for name, markets in asked.items()}
        reasons = [reason for feed in self._feeds.values() for reason in feed.refused.values()]
        if reasons and not any(markets is None or markets for markets in kept.values()):
            raise ValueError("; ".join(reasons))
        tasks = [
            asyncio.ensure_future(self._collect(name, markets))
            for name, markets in kept.items()
            if markets is None or markets
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(tasks)

    def _refused(self, symbols: Sequence[str], asked: Mapping[str, Sequence[Market] | None]) -> list[str]:
        """A sentence on each symbol that is not to be had. Raises `ValueError` for a plain one, and where
        nothing is left to collect."""
        why = {name: feed.provider.why_not for name, feed in self._feeds.items()}
        sentences = nowhere(symbols, asked, why)
        plain = nowhere([symbol for symbol in symbols if not parted(symbol)[0]], asked, why)
        if plain or (sentences and not any(markets is None or markets for markets in asked.values())):
            raise ValueError("; ".join(plain or sentences))
        return sentences

    def process_raw_data(self, raw: Message) -> Processed:
        """A provider's message → rows for the journal; folded when they are asked for, its OHLCV.

        Rows that are wrong are left out, as is a message whole that means nothing; `lost` says what
        and why. Sends nothing, and raises for no message.
        """
        feed = self._feeds[raw.provider]
        try:
            delivery = feed.provider.parse(raw.raw)
            markets, refused = self._taken(feed, delivery.markets, raw.raw)
            processed = feed.read(delivery, raw.raw, markets, self._latest(delivery, raw.received))
            return replace(processed, lost=(*refused, *processed.lost))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a message makes its provider raise costs it
            return Processed(raw.provider, lost=(Lost("", _message(error), bytes_of(raw.raw)),))

    def send_signal_to_bots(self, processed: Processed) -> list[Position]:
        """Append to the journal, which wakes the bots. Returns the positions; raises `LogError`.

        What is lost is told first: a collector that ends in between tells of it twice, never not. What fills
        a gap stands before whatever may close its candles.
        """
        feed = self._feeds[processed.provider]
        self._tell(processed)
        now_s = self._now_s()
        for market in processed.markets:
            feed.know(market)
        feed.clocks.update(processed.clocks)
        feed.counts.took(processed.rows, processed.tables, now_s)
        events: list[tuple[str, JournalEvent]] = [(m.key, m) for m in processed.markets]
        events += feed.states.changes(processed.feeds)
        events += [(gap.market, gap) for gap in processed.gaps if isinstance(gap, Gap)]
        before, behind = processed.parted
        events += [feed.before_filling(partition, rows) for partition, rows in before.items()]
        events += [(gap.market, gap) for gap in processed.gaps if isinstance(gap, GapFilled)]
        events += [
            feed.batch(partition, rows, now_s, first_row=processed.first_row)
            for partition, rows in behind.items()
        ]
        events += feed.clock_records(now_s, not_since_s=now_s - CLOCK_S)
        if feed.states:
            feed.states.rows(processed.times)
        positions = self._append(feed, events)
        self._state.markets.update({market.key: market for market in processed.markets})
        return positions

    def gauges(self) -> telemetry.Gauges:
        """What is asked for at a scrape, in another thread."""
        return gauges(self._newest, self._feeds, self._connected, self.standings)

    def standings(self) -> list[SourceStatus]:
        """How each source stands; may be asked from any thread."""
        now_s = self._now_s()
        return [standing(feed, self._failed.get(name, ""), now_s) for name, feed in self._feeds.items()]

    def _latest(self, delivery: Delivery, received: int) -> int:
        """The latest time that is taken, in ns: no trade is from the venue's future."""
        if delivery.skew is None or not received:
            return TIME_MAX
        return received - delivery.skew + self._ahead_ns

    def _tell(self, processed: Processed) -> None:
        """Append a dead letter for everything that is left out."""
        letters: list[Entry] = []
        for lost in processed.lost:
            key = lost.market.encode(errors="backslashreplace") or processed.provider.encode()
            partition = partition_of(key, self._log.partitions) if lost.market else 0
            letters.append(
                lost_entry(
                    lost.reason,
                    key,
                    partition,
                    lost.data,
                    source=processed.provider,
                    sequence=lost.row,
                    venue_id=lost.venue_id,
                )
            )
        if letters:
            self._log.append(letters)
            self._feeds[processed.provider].counts.lost(processed.lost)
            telemetry.DEAD_LETTERS.inc(len(letters))

    def _append(self, feed: Feed, events: list[tuple[str, JournalEvent]]) -> list[Position]:
        before = feed.writer.bytes
        positions = feed.writer.append_all(events)
        feed.counts.wrote(events, feed.writer.bytes - before, self._now_s())
        telemetry.RECORDS_COLLECTED.inc(len(positions))
        for _, event in events:
            if isinstance(event, TickBatch):
                telemetry.TICKS_COLLECTED.inc(telemetry.trades(event))
                self._newest.update((market.key, time.time_ns()) for market in event.markets)
        return positions

    def _taken(
        self, feed: Feed, markets: Iterable[Market], raw: Any
    ) -> tuple[tuple[Market, ...], list[Lost]]:
        """The specifications that are new to the journal, and those whose markets are refused."""
        new: list[Market] = []
        refused: list[Lost] = []
        for market in markets:
            known = self._state.markets.get(market.key)
            try:
                check_form(market)
                check_kind(market)
                taken = settled(market, known)
                check_specification(taken)
            except (ValueError, OverflowError) as error:
                feed.refuse(market.key, str(error))
                refused.append(Lost(market.key, f"specification: {error}", bytes_of(raw)))
                continue
            feed.take(market, taken)
            if taken != known:
                new.append(taken)
        return tuple(new), refused

    # ------------------------------------------------------------ live

    async def _ask(self, name: str) -> Sequence[Market]:
        """What a provider has of the symbols that it is asked for. Raises `ProviderFailedError`."""
        try:
            feed = self._feeds[name]
            return await feed.provider.markets(feed.asked, self._state.markets) if feed.asked else ()
        except Exception as error:
            raise self._failure(name, error) from error

    async def _specified(self, name: str, markets: Sequence[Market]) -> list[Market]:
        """Those of the markets that are not refused; the journal has their specifications now."""
        feed = self._feeds[name]
        await finished(self._down, feed, "its collector ended without a word")
        new, refused = self._taken(feed, markets, "")
        await finished(self.send_signal_to_bots, Processed(name, markets=new, lost=tuple(refused)))
        return [market for market in markets if market.key not in feed.refused]

    def _failure(self, name: str, error: Exception) -> ProviderFailedError:
        """The failure of a provider, which is known from now on."""
        self._failed[name] = reason = named(error)
        self._feeds[name].counts.trouble = Trouble(reason, time.time_ns())
        telemetry.PROVIDER_FAILURES.inc()
        self._told(name, reason)
        logger.warning("provider %s failed and is started again: %s", name, reason)
        return ProviderFailedError(f"provider {name}: {reason}")

    async def _collect(self, name: str, markets: Sequence[Market] | None) -> None:
        """One provider until it ends; started again when it fails, the journal being read anew."""
        while True:
            async for attempt in stamina.retry_context(
                on=ProviderFailedError, attempts=None, timeout=None, wait_max=WAIT_S_MAX
            ):
                with attempt:
                    began_s = self._now_s()
                    try:
                        if markets is None:
                            markets = await self._again(name)
                        return await self._stream(name, markets)
                    except ProviderFailedError:
                        markets = None
                        if self._now_s() - began_s < WAIT_S_MAX:
                            raise

    async def _again(self, name: str) -> list[Market]:
        """The markets of a provider that failed or is late. Raises `ProviderFailedError`."""
        state = await asyncio.to_thread(self._views[name].read)
        self._state.sources[name] = state.source(name)
        self._state.gaps |= {key: Gaps(gaps.known) for key, gaps in state.gaps.items()}
        kept = await self._specified(name, await (self._late.pop(name, None) or self._ask(name)))
        if not kept:
            why = "; ".join(self._feeds[name].provider.why_not.values())
            raise self._failure(name, ValueError(why or "it has none of the symbols, or they are refused"))
        return kept

    async def _stream(self, name: str, markets: Sequence[Market]) -> None:
        """A provider's messages in small groups, then what is left. Raises `ProviderFailedError`."""
        feed = self._feeds[name]
        # a market that was specified before the last stop, and then had no time for its first row
        begun = {market.key: Reached() for market in markets if market.key in self._state.markets}
        reached = begun | self._state.source(name).reached
        for key, gaps in list(self._state.gaps.items()):  # others are at work
            if key in reached:
                reached[key] = reached[key]._replace(gaps=tuple(gaps.open))
        queue: asyncio.Queue[Message | None] = asyncio.Queue(QUEUE_MESSAGES)
        pump = asyncio.ensure_future(self._pump(name, markets, reached, queue))
        group: list[Message | None] = []
        if name not in self._failed:
            self._connected.add(name)
        try:
            while None not in group:
                group.clear()
                await self._gather(feed, queue, group)
                if any(group):
                    self._connected.add(name)
                    if self._failed.pop(name, None) is not None:
                        self._told(name, "")
                taken = group
                group = [None] if None in group else []
                await finished(self._deliver, name, taken)
            await finished(self._flush, feed)
            await pump
            await finished(self._down, feed, "its provider ended")
        except ProviderFailedError as error:
            await finished(self._down, feed, str(error))
            raise
        except asyncio.CancelledError:
            rest = [queue.get_nowait() for _ in range(queue.qsize())]
            await finished(self._deliver, name, [*group, *rest])
            await finished(self._flush, feed)
            await finished(self._down, feed, "its collector ended")
            raise
        finally:
            self._connected.discard(name)
            await end([pump])

    async def _pump(
        self,
        name: str,
        markets: Sequence[Market],
        reached: Mapping[str, Reached],
        queue: "asyncio.Queue[Message | None]",
    ) -> None:
        """Messages into the queue; None tells of their end, which may be an error."""
        try:
            async with aclosing(self._feeds[name].provider.messages(markets, reached)) as messages:
                async for raw in messages:
                    await queue.put(Message(name, raw, time.time_ns()))
        except asyncio.CancelledError:
            raise  # nobody reads the queue any more
        except Exception as error:
            await queue.put(None)
            raise self._failure(name, error) from error
        except BaseException:
            await queue.put(None)
            raise
        await queue.put(None)

    async def _gather(
        self, feed: Feed, queue: "asyncio.Queue[Message | None]", group: list[Message | None]
    ) -> None:
        """Take what has come within a few milliseconds of the last delivery, or the next message
        alone; none, when a promise has waited for long."""
        loop = asyncio.get_running_loop()
        rested = loop.time() + self._linger_s
        try:
            async with asyncio.timeout(CLOCK_S if feed.clocks else None):
                group.append(await queue.get())
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, rested - loop.time()))
        group += [queue.get_nowait() for _ in range(queue.qsize())]

    def _deliver(self, name: str, messages: Iterable[Message | None]) -> None:
        """Process messages and send what they mean."""
        found = [self.process_raw_data(message) for message in messages if message is not None]
        for processed in merged(found) or [Processed(name)]:
            self.send_signal_to_bots(processed)

    def _down(self, feed: Feed, reason: str) -> None:
        """Nobody vouches for what this provider reported as anything else."""
        self._append(feed, list(feed.states.down(reason)))

    def _flush(self, feed: Feed) -> None:
        """Write every promise that waits."""
        while feed.clocks:
            now_s = self._now_s()
            self._append(feed, list(feed.clock_records(now_s, not_since_s=now_s)))


def _answer(asking: "asyncio.Future[Sequence[Market]]") -> Sequence[Market] | None:
    """None where it is late or its provider failed."""
    if not asking.done() or isinstance(asking.exception(), ProviderFailedError):
        return None
    return asking.result()


def _message(error: Exception) -> str:
    """Our own errors and those of a parser say it all; the rest need their name."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
