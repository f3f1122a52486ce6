"""Parity certificates: that a recorded bot did what a backtest over its journal does, in every integer.

A certificate says what was compared and what it rests on, and nothing of when or by whom it was made, so that
making it again from the same home gives the same one: that is how it is checked.

Why: ADR 31.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from infra.commands.journal_view import view
from infra.present.values import iso, parse_time
from infra.research.disk import disk
from infra.research.identity import code_hash
from infra.research.kept import Progress, telling
from infra.research.recorded import chain_of, checkpoints, dead_letters, events, folded
from projections.audit.parity import Beside, Differs, Row, beside, compare, compare_candles
from projections.audit.recorded import recorded
from projections.research.arrays import Zeros
from projections.research.columns import I8, Columns
from projections.research.gather import gather
from projections.research.reliving import relive
from projections.research.run import Outcome, Prepared
from projections.strategies.code import Strategies
from streams.causes import Cause
from streams.events import TIMEFRAMES_NS, BotChanged, Candle, DerivedEvent
from streams.genesis import genesis_of
from streams.journal import KnownBot
from streams.log import Log
from streams.records import partition_of
from streams.snapshots import latest
from streams.topics import BOTS, CANDLES, JOURNAL, SIGNALS, SYSTEM, TRADES

TYPE = "parity_certificate.v1"


class ParityError(Exception):
    """No certificate can be made; the message says why, and what to do."""


class Asked(NamedTuple):
    """A bot, event times (after, until] in ns, None without a bound, and the journal offset before which is
    compared, None for as far as the engine came."""

    bot_id: int
    after: int | None = None
    until: int | None = None
    stop: int | None = None


class Life(Struct, frozen=True):
    """A stretch of bars over which the bot stepped with one code and one set of parameters."""

    strategy: str
    code_hash: str
    params: dict[str, Any]
    bars: int
    first_bar: str | None
    last_bar: str | None
    failure: str


class Difference(Struct, frozen=True):
    """The first fact that is not alike, and the bar before it as both sides have it. Floats stand as the
    hexadecimal of their bits."""

    kind: str
    number: int
    time: str
    recorded: dict[str, Any] | None
    backtest: dict[str, Any] | None
    bar: str | None = None
    recorded_bar: dict[str, Any] | None = None
    backtest_bar: dict[str, Any] | None = None
    recorded_indicators: dict[str, Any] | None = None
    backtest_indicators: dict[str, Any] | None = None


class Certificate(Struct, frozen=True, kw_only=True, tag_field="type", tag=TYPE):
    """`after` and `until`: the range asked for. `records`: of the journal's partition, up to which `chain`
    goes and `checkpoints` of it were met. `recorded_by`: hashes of the code of the workers that recorded what
    was compared; `compared_by`: of the backtest's."""

    home: str
    bot_id: int
    name: str
    market: str
    timeframe: str
    after: str | None
    until: str | None
    bars: int
    first_bar: str | None
    last_bar: str | None
    partition: int
    records: int
    chain: str
    checkpoints: int
    dead_letters: int
    lives: tuple[Life, ...]
    recorded_by: tuple[str, ...]
    compared_by: str
    compared: dict[str, int]
    equal: bool
    difference: Difference | None

    @property
    def facts(self) -> int:
        """How many of what the bot decided, traded and was worth were compared."""
        return sum(count for kind, count in self.compared.items() if kind not in (CANDLES, "changes"))


def certify(log: Log, strategies: Strategies, asked: Asked, progress: Progress | None = None) -> Certificate:
    """Run a recorded bot again by the backtest, and compare it with what is recorded.

    Raises `ParityError`, `ChainError` where the journal is not what the engine folded, and `NotKnownError`
    where the backtest lacks something, such as a strategy's code.
    """
    bot = _known(log, asked.bot_id)
    home, zeros = _Home(log, bot, asked), disk().zeros
    columns, *higher = home.columns(home.frames(strategies), progress, zeros)
    try:
        outcome = relive(Prepared(columns, higher=higher, zeros=zeros), strategies.get, asked.bot_id)
    except LookupError as error:
        raise ParityError(str(error)) from error
    return _certificate(home, columns, higher, outcome)


def again(
    log: Log, strategies: Strategies, given: Certificate, progress: Progress | None = None
) -> Certificate:
    """The certificate that this home gives today for what a given one says. Raises as `certify` does."""
    try:
        after, until = (None if time is None else parse_time(time) for time in (given.after, given.until))
    except ValueError as error:
        raise ParityError(f"the certificate was changed: its {error}") from None
    if given.records < 1:
        raise ParityError(f"the certificate was changed: it covers {given.records} journal records")
    genesis = next(log.read(JOURNAL, partition_of(given.market.encode(), log.partitions), 0, 1), None)
    here = genesis_of(genesis).home if genesis is not None else "without a journal"
    if given.home != here:
        raise ParityError(
            f"the certificate is of the home {given.home}, and this one is {here}: point TCPD_HOME at the"
            " folder of that home, or of a copy of it"
        )
    return certify(log, strategies, Asked(given.bot_id, after, until, given.records), progress)


def unlike(given: Certificate, made: Certificate) -> list[str]:
    """The fields in which two differ, the hash of the backtest's code aside: each release has its own."""
    names = [name for name in given.__struct_fields__ if name != "compared_by"]
    return [name for name in names if getattr(given, name) != getattr(made, name)]


def to_json(certificate: Certificate) -> bytes:
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


def from_json(data: bytes, name: str) -> Certificate:
    """Raises `ParityError`."""
    try:
        return msgspec.json.decode(data, type=Certificate)
    except msgspec.MsgspecError as error:
        raise ParityError(f"{name} is no parity certificate: {error}; `tcpdashboard parity --out {name}`"
                          " writes one") from None  # fmt: skip


def _known(log: Log, bot_id: int) -> KnownBot:
    bots = {n: bot for p in range(log.partitions) for n, bot in view(log, p).bots.items()}
    if bot_id not in bots:
        there = ", ".join(map(str, sorted(bots))) or "none"
        raise ParityError(f"there is no bot {bot_id} in the journal; bots are: {there}")
    return bots[bot_id]


class _Home:
    """What a home's log holds of a bot."""

    def __init__(self, log: Log, bot: KnownBot, asked: Asked) -> None:
        self.log, self.bot, self.asked = log, bot, asked
        self.partition = partition_of(bot.market.encode(), log.partitions)
        snapshot = latest(log, self.partition, lambda text: None)
        reached = folded(log, self.partition, snapshot)
        self.stop = reached if asked.stop is None else asked.stop
        if self.stop > reached or not reached:
            raise ParityError(
                f"the engine has folded {reached} journal records of partition {self.partition}"
                f"{f', not {self.stop}' if reached else ''}: `tcpdashboard up` folds the others"
            )
        self.dead = {
            offset
            for offset in dead_letters(log, self.partition, 0, log.highwater(SYSTEM, self.partition))
            if offset < self.stop
        }
        self.chains = self._checkpoints()
        self._also = {at: chain for at, chain in chain_of(snapshot).items() if at < self.stop}
        genesis = next(log.read(JOURNAL, self.partition, 0, 1))
        self.home = genesis_of(genesis).home
        self.writers: set[str] = set()

    def _checkpoints(self) -> dict[int, str]:
        found: dict[int, str] = {}
        records = (one.record for one in recorded(self.log, BOTS, self.partition))
        for offset, named in checkpoints(records):
            if offset < self.stop and found.setdefault(offset, named) != named:
                raise ParityError(
                    f"two checkpoints of journal record {offset} name different chains, {found[offset]} and"
                    f" {named}: `tcpdashboard verify` names what was changed"
                )
        return found

    def frames(self, strategies: Strategies) -> list[str]:
        """The bot's timeframe, and those above that its strategy ever read."""
        told = {event.code_hash for _, event in self.of_bot() if isinstance(event, BotChanged)}
        codes = [strategies.get(self.bot.strategy, code_hash) for code_hash in sorted(told)]
        above = {timeframe for code in codes if code is not None for timeframe in code.higher}
        return [self.bot.timeframe, *sorted(above, key=TIMEFRAMES_NS.__getitem__)]

    def columns(self, frames: list[str], progress: Progress | None, zeros: Zeros) -> list[Columns]:
        """Of all that the engine folded. Raises `ParityError` where it folded what cannot be folded."""
        records = telling(self.log.read(JOURNAL, self.partition, 0, self.stop), self.stop, progress)
        found = gather(records, self.bot.market, frames, self.dead, self._also | self.chains, zeros)
        if found[0].last != self.stop - 1:
            raise ParityError(
                f"{JOURNAL}:{self.partition}:{found[0].last + 1} was folded by the engine, and cannot be"
                " folded now: it was changed or damaged since; `tcpdashboard verify` names all that is"
            )
        return found

    def of_bot(self) -> Iterator[tuple[Cause, DerivedEvent]]:
        """What is recorded of the market but for candles, stream by stream."""
        for topic in (SIGNALS, TRADES, BOTS):
            for record, found in self._events(topic):
                mine = [pair for pair in found if _is_of(pair[1], self.asked.bot_id)]
                if mine:
                    self.writers |= {value.decode() for name, value in record.headers if name == "code"}
                yield from mine

    def candles(self, timeframe: str) -> Iterator[tuple[Cause, Candle]]:
        for _, found in self._events(CANDLES):
            for cause, event in found:
                if isinstance(event, Candle) and event.timeframe == timeframe:
                    yield cause, event

    def _events(self, topic: str) -> Iterator[Any]:
        return events(self.log, topic, self.partition, self.bot.market.encode(), self.stop)


def _is_of(event: Any, bot_id: int) -> bool:
    ids = event.bot_id
    return bot_id in ids if isinstance(ids, tuple) else bot_id == ids


def _certificate(home: _Home, columns: Columns, higher: Sequence[Columns], outcome: Outcome) -> Certificate:
    asked, recorded_ = home.asked, sorted(home.of_bot(), key=lambda pair: pair[0])
    span = {"after": asked.after, "until": asked.until}
    bot = compare(columns, outcome, recorded_, asked.bot_id, **span)
    found = bot
    for one in (*higher, columns):
        found = compare_candles(one, home.candles(one.timeframe), **span).joined(found)
    near = None
    if found.differs is not None:
        both = chain(recorded_, home.candles(columns.timeframe))
        near = beside(columns, outcome, both, asked.bot_id, found.differs.time)
    changes = [event for _, event in recorded_ if isinstance(event, BotChanged)]
    ends: I8 = columns.bars["end"]
    first, stop = np.searchsorted(ends, [asked.after or 0, asked.until or 2**63 - 1], side="right").tolist()
    return Certificate(
        home=home.home,
        bot_id=asked.bot_id,
        name=changes[-1].name if changes else "",
        market=columns.market,
        timeframe=columns.timeframe,
        after=_iso(asked.after),
        until=_iso(asked.until),
        bars=max(stop - first, 0),
        first_bar=_iso(int(ends[first])) if first < stop else None,
        last_bar=_iso(int(ends[stop - 1])) if first < stop else None,
        partition=home.partition,
        records=home.stop,
        chain=columns.chain,
        checkpoints=len(home.chains),
        dead_letters=len(home.dead),
        lives=tuple(_lives(columns, outcome)),
        recorded_by=tuple(sorted(home.writers)),
        compared_by=code_hash(),
        compared=found.counts,
        equal=found.differs is None,
        difference=_difference(found.differs, near, columns),
    )


def _lives(columns: Columns, outcome: Outcome) -> Iterator[Life]:
    for one in outcome.stretches:
        ends = columns.bars["end"][one.first : one.last]
        first, last = (_iso(int(ends[0])), _iso(int(ends[-1]))) if len(ends) else (None, None)
        yield Life(one.code.name, one.code.code_hash, dict(one.params), len(ends), first, last, one.failure)


def _difference(differs: Differs | None, near: Beside | None, columns: Columns) -> Difference | None:
    if differs is None:
        return None
    return Difference(
        kind=differs.kind,
        number=differs.number,
        time=iso(differs.time),
        recorded=_plain(differs.recorded),
        backtest=_plain(differs.tested),
        bar=None if near is None else iso(int(columns.bars["end"][near.bar])),
        recorded_bar=_plain(near and near.recorded_bar),
        backtest_bar=_plain(near and near.tested_bar),
        recorded_indicators=_plain(near and near.recorded_values),
        backtest_indicators=_plain(near and near.tested_values),
    )


def _plain(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else dict(row)


def _iso(time: int | None) -> str | None:
    return None if time is None else iso(time)
