"""What a bot's indicators were: its strategy run again over the candles that it saw.

A bot's indicators begin anew when it is created, reconfigured, or started with other code; each such *life*
has its own parameters. Lives are read from the stream `bots`, and from the command that each change followed.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sqlalchemy import Engine, select

from infra.db import tables
from infra.db.pages import Window
from infra.present import iso
from infra.strategies import Strategies
from projections.desk import STRATEGY_CHANGED
from projections.strategies.code import (
    CompiledCode,
    Floats,
    History,
    Ints,
    StrategyCode,
    StrategyRunError,
)
from streams.codec import UndecodableError, decode_input, decode_output
from streams.events import BotChanged, Cause, CreateBot, Event, ReconfigureBot, StartBot
from streams.log import Log, partition_of
from streams.topics import BOTS, JOURNAL

_TAG = str(BotChanged.__struct_config__.tag).encode()
_FAILED = (STRATEGY_CHANGED, "strategy_error", "bad_parameters")
"""Codes of halts after which a bot steps no more."""


class Life(NamedTuple):
    """A bot with one set of parameters: it stepped on candles whose journal offset lies in (after, until]."""

    after: int
    until: int | None
    change: BotChanged


class BotHistory:
    """Lives of bots, read on from where the last look ended. Safe to use from several threads."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._ends: dict[int, int] = {}
        self._changes: defaultdict[int, list[tuple[Cause, BotChanged]]] = defaultdict(list)

    def lives(self, bot_id: int, market: str) -> list[Life]:
        """Oldest first; the last has no end while the bot still steps."""
        partition = partition_of(market.encode(), self._log.partitions)
        with self._lock:
            self._read_on(partition)
            changes = list(self._changes[bot_id])
        return list(self._lives(changes))

    def _read_on(self, partition: int) -> None:
        start = self._ends.get(partition, self._log.earliest(BOTS, partition))
        for record in self._log.read(BOTS, partition, start):
            self._ends[partition] = record.offset + 1
            if _TAG not in record.value:  # marks are most of this stream: they need not be decoded
                continue
            try:
                output = decode_output(record.value)
            except UndecodableError:
                continue  # the projector reports it
            for cause, event in zip(output.causes(), output.events, strict=True):
                if not isinstance(event, BotChanged):
                    continue
                known = self._changes[event.bot_id]
                # a repeat of a worker that crashed is at or before the last cause
                if not known or known[-1][0] < cause:
                    known.append((cause, event))

    def _lives(self, changes: list[tuple[Cause, BotChanged]]) -> Iterator[Life]:
        begun: tuple[int, BotChanged] | None = None
        for cause, change in changes:
            command = self._command(cause)
            ended = _ends(command, change)
            if not ended and not _begins(command, begun and begun[1], change):
                continue
            if begun is not None:
                # a strategy that failed has no values for the candles of that record
                yield Life(begun[0], cause.offset - (change.code == "strategy_error"), begun[1])
            begun = None if ended else (cause.offset, change)
        if begun is not None:
            yield Life(begun[0], None, begun[1])

    def _command(self, cause: Cause) -> Event | None:
        record = next(self._log.read(JOURNAL, cause.partition, cause.offset, cause.offset + 1), None)
        try:
            return None if record is None else decode_input(record.value).event
        except UndecodableError:
            return None


def _begins(command: Event | None, stepping: BotChanged | None, change: BotChanged) -> bool:
    if isinstance(command, StartBot):
        return stepping is None or stepping.code_hash != change.code_hash
    return isinstance(command, CreateBot | ReconfigureBot)


def _ends(command: Event | None, change: BotChanged) -> bool:
    if isinstance(command, ReconfigureBot):  # one that is halted keeps the code of its halt
        return change.code == "bad_parameters"
    return change.status == "halted" and change.code in _FAILED


def indicators(
    engine: Engine, strategies: Strategies, lives: list[Life], market: str, window: Window
) -> list[tuple[int, dict[str, float]]]:
    """(close time in ns, values by name) of the candles that `window` asks for; NaN until warm.

    A compiled strategy runs from its life's first candle, so that every value is the one that the bot had.
    One that works on frames steps on the candles asked for alone, each with the whole of its window. Raises
    `LookupError` where a life's code is not at hand, `StrategyRunError` where the strategy fails.
    """
    found: list[tuple[int, dict[str, float]]] = []
    for life in reversed(lives) if window.newest else lives:
        if len(found) >= window.limit:
            break
        code = strategies.get(life.change.strategy, life.change.code_hash)
        if code is None:
            raise LookupError(
                f"strategy {life.change.strategy} with code {life.change.code_hash[:12]} is not at hand"
            )
        history = _seen(engine, life, market, window.until_ns)
        rows = np.flatnonzero(history.ends > (-1 if window.after_ns is None else window.after_ns))
        left = window.limit - len(found)
        chosen = rows[::-1][:left] if window.newest else rows[:left]
        values = _values(code, life, history, chosen)
        found += [
            (int(history.ends[i]), dict(zip(code.value_names, row, strict=True)))
            for i, row in zip(chosen, values.tolist(), strict=True)
        ]
    return found


def _values(code: StrategyCode, life: Life, history: History, chosen: Ints) -> Floats:
    """float64 (len(chosen), K): the values behind these candles."""
    if not len(chosen):
        return np.empty((0, len(code.value_names)))
    params = life.change.params
    if isinstance(code, CompiledCode):
        stop = int(chosen.max()) + 1
        return code.run(History(history.ends[:stop], history.values[:stop]), params).values[chosen]
    packed, state, target = code.pack(params)[None], np.zeros((1, code.state_size)), np.zeros(1)
    values = np.full((len(chosen), len(code.value_names)), np.nan)
    for place in np.argsort(chosen):
        i = int(chosen[place])
        seen = np.array([i + 1], np.int64)
        failure = code.step(history, i, 0, seen, packed, state, target, values[place : place + 1])
        if failure is not None:
            raise StrategyRunError(f"{code.name} at {iso(int(history.ends[i]))}: {failure.message}")
    return values


def _seen(engine: Engine, life: Life, market: str, until_ns: int | None) -> History:
    """The candles that the bot stepped on."""
    candle = tables.candles.c
    query = select(
        candle.end_ns, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.price_scale,
        candle.size_scale,
    ).where(
        candle.market == market, candle.timeframe == life.change.timeframe, candle.revision == 0,
        candle.cause_offset > life.after,
    )  # fmt: skip
    if life.until is not None:
        query = query.where(candle.cause_offset <= life.until)
    if until_ns is not None:
        query = query.where(candle.end_ns <= until_ns)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(candle.end_ns)).all()
    # the division that the fold makes: the same floats
    values = [(*(price / 10 ** row[6] for price in row[1:5]), row[5] / 10 ** row[7]) for row in rows]
    ends = np.array([row[0] for row in rows], np.int64)
    return History(ends, np.array(values, np.float64).reshape(-1, 5))
