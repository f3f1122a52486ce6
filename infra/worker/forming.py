"""The open 1m candles of a worker's pipelines."""

import time
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from projections.fold.candles import candle_event
from projections.fold.pipeline import Pipeline
from streams.events import Candle

LOOK_SHARE = 50
"""A look may take this part of the time; with many markets it is not taken after every record."""


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
            for market, seen in pipeline.view().markets.items():
                row = seen.forming()
                if row is not None and self.shown.get(market) != row.tobytes():
                    self.shown[market] = row.tobytes()
                    candles[market] = candle_event(row.tolist(), seen.specification)
        return candles
