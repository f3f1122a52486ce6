"""Recorded candles alone are those of the journal, revisions and scales too."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.research import recorded_bars as recorded_bars_
from infra.research.recorded_bars import recorded_bars
from infra.research.sources import recorded
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import fold_home
from projections.research import arrays
from projections.research import bars as bars_
from projections.research.bars import BarsError
from projections.research.columns import values_of
from streams.backends import open_log
from streams.events import Timeframe
from streams.journal import JournalWriter
from streams.log import Log
from streams.records import Entry
from streams.topics import CANDLES
from tests.journal import batch, spot

MARKET = spot()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Half an hour with quiet minutes, late trades, and a market whose scales grow."""
    opened = open_log(f"embedded://{tmp_path / 'log'}", partitions=1)
    writer = JournalWriter(opened, "feed", 1)
    grown = msgspec.structs.replace(MARKET, price_scale=3, size_scale=5, price_step=10, size_step=100)
    events = [
        MARKET,
        *(batch(MARKET, [(60 * n + s, 100 + n % 7, 3 + s) for s in (1, 30)]) for n in range(20) if n % 6),
        batch(MARKET, [(30.5, 90, 1, "backfill"), (300.5, 180, 2), (1_301, 5, 1)]),
        grown,
        batch(grown, [(1_500, 6, 1), (1_290.5, 4, 1), (1_801, 7, 1)]),
    ]
    for event in events:
        writer.append(event, key=MARKET.key)
    yield opened
    opened.close()


@pytest.mark.parametrize("timeframe", ["1m", "5m"])
def test_recorded_bars_have_the_floats_and_the_revisions_of_the_journal(
    log: Log, tmp_path: Path, strategies: Strategies, timeframe: Timeframe
) -> None:
    fold_home(log, strategies)
    ticks = recorded(log, tmp_path, MARKET.key, timeframe).prepared.columns
    # a worker that was killed records some candles again
    again = [Entry(CANDLES, r.key, r.value, r.time_ms, 0, r.headers) for r in log.read(CANDLES, 0)]
    log.append(again[3:9])
    bars = recorded_bars(log, MARKET.key, timeframe).prepared.columns
    assert ticks.revisions.any()
    assert ticks.bars["flags"].any()
    for final in (False, True):
        assert values_of(bars, final=final).tobytes() == values_of(ticks, final=final).tobytes()
    for name in ("end", "flags"):
        assert (bars.bars[name] == ticks.bars[name]).all()
    assert ((bars.revisions > 0) == (ticks.revisions > 0)).all()
    assert (len(bars.eras), bars.eras[0].price_scale) == (1, 3)
    fills = bars.trades["price"][bars.bars["trade"][bars.bars["trade"] >= 0]]
    assert (np.isin(fills, bars.bars["open"])).all()
    last = recorded_bars(log, MARKET.key, timeframe, final=True)
    assert last.prepared.values.tobytes() == values_of(ticks, final=True).tobytes()


@pytest.mark.parametrize("timeframe", ["1m", "5m"])
def test_where_candles_and_ticks_are_cut_into_pieces_changes_nothing(
    log: Log,
    tmp_path: Path,
    strategies: Strategies,
    timeframe: Timeframe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fold_home(log, strategies)
    again = [Entry(CANDLES, r.key, r.value, r.time_ms, 0, r.headers) for r in log.read(CANDLES, 0)]
    log.append(again[3:9])

    def made(folder: Path) -> list[bytes]:
        both = recorded(log, folder, MARKET.key, timeframe), recorded_bars(log, MARKET.key, timeframe)
        assert all(data.prepared.columns.revisions.any() for data in both)
        return [array.tobytes() for data in both for array in data.prepared.columns[3:7]]

    whole = made(tmp_path / "whole")
    for module in (arrays, bars_, recorded_bars_):
        monkeypatch.setattr(module, "STRETCH", 4)
    assert made(tmp_path / "cut") == whole


def test_a_home_without_candles_says_what_to_do(log: Log) -> None:
    with pytest.raises(BarsError, match="no candle of 1h is recorded yet: let a worker fold its journal"):
        recorded_bars(log, MARKET.key, "1h")
    with pytest.raises(LookupError, match="market test:A/B is not in the journal"):
        recorded_bars(log, "test:A/B", "1m")
