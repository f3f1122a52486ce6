"""A command that waits for workers elsewhere gives up when they stand still, not while they work."""

from itertools import count

from infra.worker.root import come_to

PLACE = ("journal", 2)


def test_waiting_goes_on_for_as_long_as_the_workers_move() -> None:
    offsets = count()
    assert come_to({PLACE: 5}, lambda: {PLACE: next(offsets)}, timeout_s=0)
    assert next(offsets) == 5, "the last offset before the end is reached"


def test_waiting_ends_where_nothing_moves() -> None:
    assert not come_to({PLACE: 5}, lambda: {PLACE: 3}, timeout_s=0)
    assert not come_to({PLACE: 1}, dict, timeout_s=0)


def test_there_is_nothing_to_wait_for_in_an_empty_place() -> None:
    assert come_to({PLACE: 0}, dict, timeout_s=0)
