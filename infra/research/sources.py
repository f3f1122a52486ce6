"""What a backtest runs over: a market's journal, with fills at its ticks. Bars: `files`, `recorded_bars`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from infra.research.disk import FOLDER, Disk
from projections.research.arrays import stretches
from projections.research.columns import Columns
from projections.research.run import Prepared
from projections.strategies.blocks import TIMEFRAMES
from projections.strategies.code import StrategyCode
from streams.events import Timeframe
from streams.log import Log
from streams.records import partition_of
from streams.topics import JOURNAL

if TYPE_CHECKING:
    from infra.research.kept import Progress

Above: TypeAlias = Callable[[Sequence[Timeframe]], Sequence[Columns]]
"""Gives the candles of higher timeframes."""


@dataclass(frozen=True)
class Data:
    """What backtests run over. `source`: "journal" or "candles"; `words` say in a line what fills are;
    `origin`: by what it can be read again, as the ledger keeps it. `above` is asked for the candles of higher
    timeframes once a strategy reads them."""

    prepared: Prepared
    source: str
    words: str
    notes: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    above: Above | None = None

    def read_by(self, codes: Iterable[StrategyCode]) -> "Data":
        """With all that these strategies read; nothing more can be asked of it."""
        wanted = {timeframe for code in codes for timeframe in code.higher}
        missing = sorted((one for one in wanted if one not in self.prepared.higher), key=TIMEFRAMES.index)
        if missing and self.above is not None:
            self.prepared.add(self.above(cast(list[Timeframe], missing)))
        return replace(self, above=None)


def recorded(
    log: Log,
    home: Path,
    market: str,
    timeframe: str,
    *,
    final: bool = False,
    higher: Sequence[str] = (),
    progress: "Progress | None" = None,
) -> Data:
    """The journal of a market: fills at the tick. `final`: the candles in their last revision, which no bot
    saw. `higher`: timeframes that strategies will read, so that the ticks are read once. Raises as
    `infra.research.kept.columns_of` does."""
    from infra.research.kept import columns_of  # noqa: PLC0415 - bars of a file need no fold

    partition = partition_of(market.encode(), log.partitions)
    stop = log.highwater(JOURNAL, partition)

    def read(timeframes: Sequence[str]) -> list[Columns]:
        return columns_of(log, market, timeframes, home / FOLDER, progress)

    columns, *above = read([timeframe, *higher])
    words = "Journal: fills at the tick, candles as bots saw them"
    notes = _notes(columns)
    if columns.last < stop - 1:
        notes.append(
            f"The journal is read up to record {JOURNAL}:{partition}:{columns.last} of {stop}: the one behind"
            " it cannot be folded, and the engine has not said so yet; `tcpdashboard up` goes on behind it."
        )
    prepared = Prepared(columns, higher=above, zeros=Disk(home / FOLDER).zeros)
    data = Data(prepared, "journal", words, tuple(notes), {"source": "journal"}, read)
    return in_last_revision(data) if final else data


def in_last_revision(data: Data) -> Data:
    """The same with candles that no bot saw."""
    columns = data.prepared.columns
    words = "Journal: fills at the tick, candles in their last revision, which no bot saw"
    if columns.assumed:
        words = f"Bars only, in their last revision, which no bot saw: {columns.assumed}"
    origin = {**data.origin, "revision": "last"}
    prepared = Prepared(columns, final=True, zeros=data.prepared.zeros)
    return replace(data, prepared=prepared, words=words, origin=origin)


def _notes(columns: Columns) -> list[str]:
    """How far the trades that fill are from the next open, which is what bars alone would assume."""
    filled = elsewhere = total = 0
    for rows in stretches(len(columns.bars), 1):
        bars, following = columns.bars[rows][:-1], columns.bars[rows][1:]
        fills = np.flatnonzero((bars["trade"] >= 0) & (bars["era"] == following["era"]))
        away = np.abs(columns.trades["price"][bars["trade"][fills]] - following["open"][fills])
        filled, elsewhere = filled + len(fills), elsewhere + int(np.count_nonzero(away))
        total += int(away.sum())
    if not filled:
        return []
    scale, quote = columns.eras[-1].price_scale, columns.eras[-1].quote
    if not elsewhere:
        return ["Every trade that fills is at the next candle's open."]
    mean = Decimal(total) / elsewhere / 10**scale
    return [
        f"The trade that fills is not at the next candle's open in {elsewhere / filled:.0%} of all"
        f" candles, then {mean:.{scale + 1}f} {quote} away in the mean: so much a test on bars"
        " alone does not know."
    ]
