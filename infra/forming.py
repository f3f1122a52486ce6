"""The open 1m candles of a worker's pipelines."""

import numpy as np
from msgspec import Struct, field

from projections.candles import TIMEFRAMES
from projections.pipeline import Pipeline
from projections.tape import Tape
from streams.events import Candle


class Forming(Struct):
    """What has changed since it was last asked; to be asked between two folds, in their thread."""

    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    """By journal partition."""
    seen: dict[int, tuple[Pipeline, int]] = field(default_factory=dict)
    shown: dict[str, bytes] = field(default_factory=dict)

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
                    candles[market] = _candle(tape, row)
        return candles


def _candle(tape: Tape, row: np.void) -> Candle:
    scales = (tape.market.price_scale, tape.market.size_scale)
    prices = (int(row[name]) for name in ("open", "high", "low", "close", "volume", "trades"))
    offsets = (int(row["first_offset"]), int(row["last_offset"]))
    return Candle(TIMEFRAMES[0], int(row["end"]), 0, *prices, *scales, False, False, *offsets)
