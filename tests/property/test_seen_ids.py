"""Ids that were seen are known again, whatever order they came in."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from projections.fold.seen_ids import RANGES_MAX, SeenIds

blocks = st.lists(
    st.one_of(
        st.lists(st.integers(-1, 60), max_size=20),
        st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda r: list(range(r[0], r[0] + r[1]))),
    ),
    max_size=12,
)


@given(blocks)
def test_an_id_is_new_once_and_a_row_without_one_always(parts: list[list[int]]) -> None:
    seen, model = SeenIds(), set()
    for part in parts:
        expected = [value < 0 or not (value in model or model.add(value)) for value in part]
        assert seen.add(np.array(part, np.int64)).tolist() == expected
    flat = [value for low, high in seen.ranges for value in range(low, high + 1)]
    assert flat == sorted(model)
    assert all(a[1] + 1 < b[0] for a, b in zip(seen.ranges, seen.ranges[1:], strict=False))


def test_scattered_ids_take_bounded_room_and_no_new_one_is_lost() -> None:
    seen = SeenIds()
    ids = np.arange(0, 10 * RANGES_MAX, 2)
    assert seen.add(ids).all()
    assert len(seen.ranges) == RANGES_MAX
    assert not seen.add(ids[-RANGES_MAX // 2 :]).any()
    assert seen.add(ids[: RANGES_MAX // 2] + 1).all(), (
        "an id between forgotten ones is not taken for a repeat"
    )
