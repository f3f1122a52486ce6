"""A worker's fold as others see it: counted record by record, and what it is doing at this moment."""

import logging
import time
from collections.abc import Callable

from infra.process import telemetry
from infra.process.logs import folding
from projections.fold.outbox import Derived, Report
from projections.fold.pipeline import Pipeline
from streams.agents.watchdog import Doing
from streams.records import Record

logger = logging.getLogger(__name__)


class Folding:
    """What the folds of a worker are doing; it may be read from any thread."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.pipeline: Pipeline | None = None
        """Which folds the record."""
        self.records = 0
        """So many were begun."""
        self.newest: dict[str, int] = {}
        """By market, the time in ns of the newest journal record with rows of it."""

    def doing(self) -> Doing:
        record, pipeline = self.record, self.pipeline
        if record is None or pipeline is None:
            return Doing()
        market, progress = (record.key or b"").decode(errors="replace"), pipeline.progress
        message = f"folding {record.topic}:{record.partition}:{record.offset} of {market}"
        message += f", in a step of the strategy {progress.strategy}" if progress.strategy else ""
        fields = {"partition": record.partition, "offset": record.offset, "market": market}
        # of a record's markets one is folded after the other, and each moves its own watermark: after a
        # silence, whose minutes all follow from one row, they and not the steps tell that the fold goes on
        watermarks = sum(market.watermark for market in pipeline.view().markets.values())
        return Doing(self.records, (progress.steps, watermarks), message, fields)


class MeasuredFold:
    """The fold of a partition as the engine calls it; `look` is called behind each record."""

    def __init__(self, pipeline: Pipeline, state: Folding, look: Callable[[], None]) -> None:
        self._pipeline, self._state, self._look = pipeline, state, look

    @property
    def applied(self) -> int:
        return self._pipeline.applied

    def snapshot(self) -> bytes:
        return self._pipeline.snapshot()

    def fold(self, record: Record) -> list[Derived]:
        state = self._state
        state.records += 1
        state.record, state.pipeline = record, self._pipeline
        token = folding.set(record)
        began = time.perf_counter()
        try:
            derived, report = self._pipeline.fold(record)
            telemetry.FOLD_SECONDS.observe(time.perf_counter() - began)
            self._count(record, report)
        finally:
            folding.reset(token)
            state.record = state.pipeline = None
        self._look()
        return derived

    def _count(self, record: Record, report: Report) -> None:
        if report.kinds is not None:
            telemetry.TICKS.inc(report.ticks)
            self._state.newest.update(dict.fromkeys(report.watermarks, record.time_ns))
        telemetry.REPEATS.inc(report.account.repeats)
        telemetry.IDS_REUSED.inc(report.account.ids_reused)
        telemetry.UNDECIDED.inc(report.account.undecided)
        for letter in report.dead_letters:
            telemetry.DEAD_LETTERS.inc()
            logger.warning("dead letter: %s", letter.reason)
