"""Trades that were seen are known again, whatever order they came in; others with the same id are not."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.fold.identities import RING
from projections.fold.seen_ids import SeenIds
from streams.ticks import NO_WIDE_ID, Ids, key_of

SCALES = (1, 3)
Trade = tuple[int, int, int, int]
"""Id, time, price and size."""

trade = st.tuples(st.integers(-1, 40), st.integers(0, 3), st.integers(1, 2), st.sampled_from([10, 20]))
blocks = st.lists(st.lists(trade, max_size=20), max_size=12)
widths = st.sampled_from([64, 128])


def ids_of(values: "np.ndarray[tuple[int], np.dtype[np.int64]] | list[int]", bits: int) -> Ids:
    narrow = np.array(values, np.int64)
    if bits == 64:
        return narrow
    wide = np.stack([narrow, narrow % 7], axis=1).astype(np.uint64)
    wide[narrow < 0] = np.frombuffer(NO_WIDE_ID, np.uint64)
    return wide


def add(seen: SeenIds, trades: list[Trade], bits: int, factor: int = 1) -> list[bool]:
    """Which are fresh. At scales that grew by `factor`, prices and sizes are so much larger."""
    ids, time, price, size = np.array(trades, np.int64).reshape(-1, 4).T.copy()
    grown = len(str(factor)) - 1
    scales = (SCALES[0] + grown, SCALES[1] + grown)
    return seen.add(ids_of(ids, bits), time, price * factor, size * factor, scales).fresh.tolist()


@given(blocks, widths)
def test_a_trade_is_new_once_and_a_row_without_an_id_always(parts: list[list[Trade]], bits: int) -> None:
    seen, model, reused = SeenIds(), set[Trade](), 0
    for part in parts:
        expected: list[bool] = []
        for row in part:
            expected.append(row[0] < 0 or row not in model)
            if row[0] >= 0 and row not in model:
                reused += any(row[0] == other[0] for other in model)
                model.add(row)
        assert add(seen, part, bits) == expected
    assert (seen.reused, seen.undecided) == (reused, 0)


@given(blocks, widths, st.data())
def test_split_anywhere_restored_or_gone_back_it_is_the_same(
    parts: list[list[Trade]], bits: int, data: st.DataObject
) -> None:
    whole, other = SeenIds(), SeenIds()
    add(whole, [row for part in parts for row in part], bits)
    for part in parts:
        match data.draw(st.sampled_from(["fold", "restore", "go back"])):
            case "restore":
                other = SeenIds(
                    msgspec.msgpack.decode(msgspec.msgpack.encode(other.state()), type=type(other.state()))
                )
            case "go back":
                other.begin()
                add(other, data.draw(st.lists(trade, max_size=20)), bits)
                other.go_back()
            case _:
                pass
        add(other, part, bits)
    assert other.state() == whole.state() or not any(parts)


@given(blocks, st.sampled_from([10, 1000]))
def test_a_scale_that_grows_leaves_every_identity_known(parts: list[list[Trade]], factor: int) -> None:
    seen = SeenIds()
    for part in parts:
        add(seen, part, 64)
    for part in parts:
        assert add(seen, part, 64, factor) == [row[0] < 0 for row in part]


def history(ids: "np.ndarray[tuple[int], np.dtype[np.int64]]", start: int = 0) -> list[np.ndarray]:
    """Columns of trades a millisecond apart."""
    time = (start + np.arange(len(ids))) * 1_000_000
    return [ids, time, 87_000 + ids % 13, 1 + ids % 7]


def fold(seen: SeenIds, columns: list[np.ndarray], bits: int = 64):
    ids, time, price, size = columns
    return seen.add(ids_of(ids, bits), time, price, size, SCALES)


def states(seen: SeenIds) -> int:
    return len(msgspec.msgpack.encode(seen.state()))


BOUND = 2_000_000


def test_contiguous_ids_are_known_however_many_there_are() -> None:
    seen, trades = SeenIds(), history(np.arange(4_500_000))
    assert fold(seen, trades).fresh.all()
    old = [column[1000:3000] for column in trades]
    assert not fold(seen, old).fresh.any()
    assert states(seen) < BOUND
    later = fold(seen, [old[0], old[1] + 86_400_000_000_000, *old[2:]])
    assert later.fresh.all() and later.reused == 2000, "a day later the ids are those of other trades"
    assert later.undecided == 0


def test_ids_that_count_from_1_each_day_are_other_trades_each_day() -> None:
    seen, day = SeenIds(), np.arange(1, 100_001)
    days = [history(day, n * 86_400_000) for n in range(4)]
    for columns in days:
        assert fold(seen, columns).fresh.all()
    for columns in days:
        assert not fold(seen, columns).fresh.any(), "a day that is repeated is known"
    assert seen.reused == 300_000
    assert seen.undecided == 0


def test_swapped_ids_stay_one_range() -> None:
    seen, ids = SeenIds(), np.arange(3 * RING)
    ids[100::50], ids[101::50] = ids[101::50].copy(), ids[100::50].copy()
    trades = history(ids)
    fold(seen, trades)
    assert not fold(seen, trades).fresh.any()
    assert states(seen) < 1_700_000


@pytest.mark.parametrize(("step", "bits"), [(2, 64), (2, 128), (977, 64)])
def test_the_newest_65_536_are_known_and_of_older_ones_it_is_said_that_nobody_knows(
    step: int, bits: int
) -> None:
    seen, trades = SeenIds(), history(np.arange(0, 8 * RING * step, step))
    assert fold(seen, trades).fresh.all()
    assert not fold(seen, [column[-RING:] for column in trades]).fresh.any()
    assert seen.undecided == 0
    old = fold(seen, [column[:2000] for column in trades])
    assert (old.fresh.sum(), old.undecided) == (2000, 2000)
    between = fold(seen, history(np.arange(1, 2000 * step, step)))
    assert between.fresh.all(), "an id between forgotten ones is not taken for a repeat"
    assert states(seen) < BOUND


def test_one_id_for_all_trades_costs_no_more_than_others_and_loses_none() -> None:
    seen, trades = SeenIds(), history(np.arange(3 * RING))
    trades[0][:] = 0
    found = fold(seen, trades)
    assert found.fresh.all() and found.reused == 3 * RING - 1
    assert not fold(seen, [column[-60:] for column in trades]).fresh.any()
    assert fold(seen, [column[:60] for column in trades]).undecided == 60


@pytest.mark.parametrize(("step", "bits"), [(1, 64), (3, 64), (1, 128)])
@pytest.mark.parametrize(
    ("before", "since"), [(0, 9), (100, 100), (RING, RING + 5), (2 * RING, 9), (RING + 7, 3 * RING)]
)
def test_it_goes_back_over_what_was_overwritten(before: int, since: int, step: int, bits: int) -> None:
    seen = SeenIds()
    fold(seen, history(np.arange(0, before * step, step)), bits)
    seen.begin()
    state = seen.state()
    for part in np.array_split(np.arange(before * step, (before + since) * step, step), 3):
        fold(seen, history(part, before), bits)
    seen.go_back()
    assert seen.state() == state
    assert not fold(seen, [c[-RING:] for c in history(np.arange(0, before * step, step))], bits).fresh.any()


def test_the_newest_ids_of_128_bits_are_told_by_their_keys_also_out_of_a_snapshot() -> None:
    seen = SeenIds()
    add(seen, [(n, n, 1, 10) for n in range(100)], 128)
    add(seen, [(7, 500, 1, 10), (-1, 600, 1, 10)], 128)
    newest = [(n, key_of(n | n % 7 << 64)) for n in (98, 99)] + [(500, key_of(7))]
    assert seen.newest_wide(3) == SeenIds(seen.state()).newest_wide(3) == tuple(newest)
    add(seen, [(1, 1, 1, 10)], 64)
    assert seen.newest_wide(2) == ((500, key_of(7)),) and SeenIds().newest_wide(9) == ()
