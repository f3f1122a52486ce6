"""The open 1m candles of a worker's pipelines."""

import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from projections.fold.candles import candle_event
from projections.fold.pipeline import Pipeline
from streams.agents.engine import Fold, Sending
from streams.events import Candle
from streams.records import Record

LOOK_SHARE = 50
"""A look may take this part of the time; with many markets it is not taken after every record."""


class Watched:
    """The fold of a partition as the engine calls it, whose open candles are looked at after a record."""

    def __init__(self, fold: Fold, forming: "Forming") -> None:
        self._fold, self._forming = fold, forming

    @property
    def applied(self) -> int:
        return self._fold.applied

    def fold(self, record: Record) -> Sequence[Sending]:
        derived = self._fold.fold(record)
        self._forming.look()
        return derived

    def snapshot(self) -> bytes:
        return self._fold.snapshot()


class Forming(Struct):
    """What has changed since the last look; to be looked at between two folds, in their thread."""

    show: Callable[[Mapping[str, Candle]], None] | None = None
    """Gets what has changed; None where nobody wants it."""
    look_at: float = 0.0
    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    """By journal partition."""
    seen: dict[int, tuple[Pipeline, int]] = field(default_factory=dict)
    shown: dict[str, bytes] = field(default_factory=dict)

    def look(self) -> None:
        """Show what has changed, unless the last look was too short a time ago for what it took."""
        began = time.perf_counter()
        if self.show is None or began < self.look_at:
            return
        if candles := self.changed():
            self.show(candles)
        now = time.perf_counter()
        self.look_at = now + LOOK_SHARE * (now - began)

    def changed(self) -> dict[str, Candle]:
        """The open candles, by market, that are new or another than before."""
        candles: dict[str, Candle] = {}
        for partition, pipeline in list(self.pipelines.items()):
            if self.seen.get(partition) == (pipeline, pipeline.applied):
                continue
            self.seen[partition] = (pipeline, pipeline.applied)
            for market, tape in pipeline.tapes.items():
                row = tape.book.forming()
                if row is not None and self.shown.get(market) != row.tobytes():
                    self.shown[market] = row.tobytes()
                    candles[market] = candle_event(row.tolist(), tape.market)
        return candles
