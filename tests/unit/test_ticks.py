"""Columns of a batch become arrays and back, and a malformed batch is refused whole."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import BACKFILL, RowKind, RowMarket, TickBatch
from streams.ticks import NO_ID, Ticks, concatenate, pack, unpack

MARKETS = (RowMarket("sim:BTC/USDT", 2, 6), RowMarket("sim:ETH/USDT", 2, 5))
INT64 = st.integers(-(2**63), 2**63 - 1)


def columns(rows: int, *, markets: int = 1, with_id: bool = True) -> Ticks:
    numbers = np.arange(rows, dtype=np.int64)
    return Ticks(
        (numbers % markets).astype(np.uint16),
        np.full(rows, RowKind.BUY, np.uint8),
        numbers * 1_000,
        numbers + 100,
        numbers + 1,
        numbers if with_id else None,
    )


def assert_same(a: Ticks, b: Ticks) -> None:
    for name, x, y in zip(Ticks._fields, a, b, strict=True):
        assert (x is None) == (y is None), name
        if x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)


@given(
    rows=st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 0x80, 0x81, 0x82]), INT64, INT64, INT64, INT64)),
    markets=st.integers(1, 2),
    with_id=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_unpack_gives_what_pack_was_given(rows, markets, with_id):
    kind, time, price, size, ids = zip(*rows, strict=True) if rows else ((),) * 5
    ticks = Ticks(
        np.arange(len(rows), dtype=np.uint16) % np.uint16(markets),
        np.array(kind, np.uint8),
        np.array(time, np.int64),
        np.array(price, np.int64),
        np.array(size, np.int64),
        np.array(ids, np.int64) if with_id and rows else None,
    )
    assert_same(unpack(pack(MARKETS[:markets], ticks)), ticks)


def test_unpack_copies_nothing():
    batch = pack(MARKETS[:1], columns(10))
    assert not unpack(batch).price.flags.owndata
    assert not unpack(batch).price.flags.writeable


def test_a_batch_of_one_market_carries_no_market_column():
    assert pack(MARKETS[:1], columns(5)).market == b""
    assert len(pack(MARKETS, columns(5, markets=2)).market) == 10


def test_backfill_bit_is_kept():
    ticks = columns(3)._replace(kind=np.array([0, BACKFILL | RowKind.SELL, 3], np.uint8))
    assert unpack(pack(MARKETS[:1], ticks)).kind.tolist() == [0, 0x82, 3]


@pytest.mark.parametrize("column", ["kind", "time", "price", "size", "id", "market"])
def test_a_column_of_another_length_is_named(column):
    batch = pack(MARKETS, columns(4, markets=2))
    broken = msgspec.structs.replace(batch, **{column: getattr(batch, column)[:-1]})
    with pytest.raises(ValueError, match=f"column '{column}' has"):
        unpack(broken)


def test_a_market_outside_the_table_is_named_with_its_row():
    batch = pack(MARKETS, columns(4, markets=2))
    with pytest.raises(ValueError, match="row 1 has market 1, known are 0 to 0"):
        unpack(msgspec.structs.replace(batch, markets=MARKETS[:1]))


def test_an_unknown_kind_is_named_with_its_row():
    ticks = columns(3)._replace(kind=np.array([0, 1, 0x84], np.uint8))
    with pytest.raises(ValueError, match="row 2 has kind 4"):
        pack(MARKETS[:1], ticks)


def test_a_batch_without_markets_is_refused():
    with pytest.raises(ValueError, match="table of markets is empty"):
        unpack(TickBatch(markets=(), rows=0, kind=b"", time=b"", price=b"", size=b""))


def test_concatenation_marks_rows_without_an_id():
    both = concatenate([columns(2), columns(1, with_id=False)])
    assert both.id is not None and both.id.tolist() == [0, 1, NO_ID]
    assert concatenate([columns(2, with_id=False)]).id is None
