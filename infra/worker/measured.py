"""A worker's fold as others see it: counted record by record, and what it is doing at this moment.

`projections` is pure, so all of this stands around it: around the fold of a record, and around the step of a
strategy.
"""

import logging
import time
from typing import Any

from infra.process import telemetry
from infra.process.logs import folding
from projections.fold.pipeline import Derived, Pipeline
from projections.strategies.code import Strategies, StrategyCode
from streams.agents.watchdog import Doing
from streams.codec import UndecodableError, decode_input, decode_output
from streams.events import DeadLetter, TickBatch
from streams.records import Record
from streams.topics import SYSTEM

logger = logging.getLogger(__name__)


class Folding:
    """What the folds of a worker are doing; it may be read from any thread."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.pipeline: Pipeline | None = None
        """Which folds the record."""
        self.strategy = ""
        self.records = self.steps = 0
        """So many were begun."""
        self.newest: dict[str, int] = {}
        """By market, the time in ns of the newest journal record with rows of it."""

    def doing(self) -> Doing:
        record, strategy = self.record, self.strategy
        if record is None:
            return Doing()
        market = (record.key or b"").decode(errors="replace")
        words = f"folding {record.topic}:{record.partition}:{record.offset} of {market}"
        words += f", in a step of the strategy {strategy}" if strategy else ""
        bound = {"partition": record.partition, "offset": record.offset, "market": market}
        return Doing(self.records, (self.steps, self._watermarks()), words, bound)

    def _watermarks(self) -> int:
        """Of a record's markets one is folded after the other, and each moves its own: after a silence,
        whose minutes all follow from one row, they and not the steps tell that the fold goes on."""
        pipeline = self.pipeline
        tapes = pipeline.tapes if pipeline is not None else {}
        return sum(tape.book.watermark for tape in list(tapes.values()))


class Measured:
    """The fold of a partition as the engine calls it, measured."""

    def __init__(self, pipeline: Pipeline, state: Folding) -> None:
        self._pipeline, self._state = pipeline, state

    @property
    def applied(self) -> int:
        return self._pipeline.applied

    def snapshot(self) -> bytes:
        return self._pipeline.snapshot()

    def fold(self, record: Record) -> list[Derived]:
        state = self._state
        state.records += 1
        state.record, state.pipeline = record, self._pipeline
        bound = folding.set(record)
        began = time.perf_counter()
        try:
            derived = self._pipeline.fold(record)
            telemetry.FOLD_SECONDS.observe(time.perf_counter() - began)
            self._count(record)
            for one in derived:
                if one.topic == SYSTEM:
                    _note_dead_letters(one)
        finally:
            folding.reset(bound)
            state.record = state.pipeline = None
        return derived

    def _count(self, record: Record) -> None:
        try:
            event = decode_input(record.value).event
        except UndecodableError:
            return
        if isinstance(event, TickBatch):
            telemetry.TICKS.inc(telemetry.trades(event))
            self._state.newest.update((market.key, record.time_ms * 1_000_000) for market in event.markets)


class Stepped:
    """The registry that the fold is handed, whose strategies say when they step."""

    def __init__(self, strategies: Strategies, state: Folding) -> None:
        self._strategies, self._state = strategies, state

    def get(self, name: str, code_hash: str) -> Any:
        code = self._strategies.get(name, code_hash)
        return None if code is None else _Step(code, self._state)

    def latest(self, name: str) -> StrategyCode:
        return self._strategies.latest(name)


class _Step:
    """A strategy's code; all but its step is the code's own."""

    def __init__(self, code: StrategyCode, state: Folding) -> None:
        self._code, self._state = code, state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._code, name)

    def step(self, *arguments: Any) -> Any:
        self._state.steps += 1
        self._state.strategy = self._code.name
        try:
            return self._code.step(*arguments)
        finally:
            self._state.strategy = ""


def _note_dead_letters(derived: Derived) -> None:
    for event in decode_output(derived.value).events:
        if isinstance(event, DeadLetter):
            telemetry.DEAD_LETTERS.inc()
            logger.warning("dead letter: %s", event.error)
