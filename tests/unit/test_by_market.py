"""Rows of several markets are put together by market."""

import numpy as np
import pytest

from projections.fold.by_market import by_market
from streams.ticks import Ticks


def ticks(markets: list[int], *, with_id: bool = True) -> Ticks:
    rows = len(markets)
    return Ticks(
        np.array(markets, np.uint16),
        np.arange(rows, dtype=np.uint8) % 4,
        np.arange(rows) + 100,
        np.arange(rows) + 200,
        np.arange(rows) + 300,
        np.arange(rows) + 400 if with_id else None,
    )


@pytest.mark.parametrize("with_id", [True, False])
def test_each_market_gets_its_rows_in_their_order_and_their_numbers(with_id):
    batch = ticks([2, 0, 2, 2, 0], with_id=with_id)
    parts = by_market(batch, 4)
    assert [part.row.tolist() for part in parts if part.row is not None] == [[1, 4], [], [0, 2, 3], []]
    for part in parts:
        for name in ("time", "price", "size", "kind"):
            assert getattr(part, name).tolist() == getattr(batch, name)[part.row].tolist()
        assert (part.id is None) == (not with_id)
        assert batch.id is None or part.id is None or part.id.tolist() == batch.id[part.row].tolist()


def test_rows_of_one_market_are_not_copied():
    batch = ticks([0, 0, 0])
    [part] = by_market(batch, 1)
    assert part.time is batch.time and part.row is None


def test_a_batch_without_rows_gives_every_market_none():
    assert [len(part.time) for part in by_market(ticks([]), 3)] == [0, 0, 0]
