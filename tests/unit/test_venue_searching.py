"""Where the trades of a time begin is found by a few pages, whatever the venue has lost of its ids."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from infra.exchange.venues.searching import Search

PAGE = 10


class Timed(NamedTuple):
    id: int
    time: int


def found(has: list[Timed], search: Search) -> tuple[int, int]:
    """What a search finds in the pages of a venue, and how many it saw."""
    pages = 0
    while (asks := search.asks) is not None:
        search.answered(asks, [trade for trade in has if trade.id >= asks][:PAGE])
        pages += 1
        assert pages < 100
    return search.begins, pages


@given(st.sets(st.integers(0, 999), max_size=300), st.integers(0, 1_001))
def test_no_trade_that_is_late_enough_is_in_front_of_what_is_found(ids: set[int], time: int) -> None:
    has = [Timed(id, id) for id in sorted(ids)]
    begins, _ = found(has, Search(0, 1_000, time))
    assert not [trade for trade in has if trade.id < begins and trade.time >= time]
    gone = set(range(1_000)) - ids
    assert all(id in gone for id in range(begins, min(time, 1_000)))


def test_a_million_trades_are_searched_in_few_pages() -> None:
    search, pages = Search(0, 10**6, 700_001), 0
    while (asks := search.asks) is not None:
        search.answered(asks, [Timed(id, id) for id in range(asks, asks + PAGE)])
        pages += 1
    assert search.begins == 700_001 and pages <= 20


def test_neighbours_whose_times_are_swapped_end_the_search_all_the_same() -> None:
    has = [Timed(0, 0), Timed(1, 7), Timed(2, 4), Timed(3, 8)]
    assert found(has, Search(0, 4, 5))[0] in (1, 3)
