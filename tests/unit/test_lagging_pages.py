"""Newest pages that know less than the connection: they prove nothing of what a cut cost."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from infra.exchange.venues.holes import ASKED_AGAIN
from infra.exchange.venues.overlap import OverlapSequence
from infra.exchange.venues.sequence import MS_NS, Part, Trade
from streams.events import GapFilled

SECOND = 1_000 * MS_NS
CUT, BACK = 150, 170
"""The trades from the one to the other are not sent."""


def trade(n: int) -> Trade:
    return Trade(n + 1, (1_700_000_000_000 + 20 * n) * MS_NS, 1, 100, 100)


class Played:
    """A market of which the trades before a cut came; what is due is taken every tenth of a second."""

    def __init__(self) -> None:
        self.sequence = OverlapSequence("bybit:BTC/USDT", gap_wait=SECOND, horizon=3_600 * SECOND)
        self.now, self.parts = SECOND, list[Part]()
        self.sequence.is_open = True
        self.page(range(0))
        self.arrive(range(CUT))
        self.page(range(CUT - 60, CUT))
        self.sequence.doubt()

    def arrive(self, numbers: Sequence[int]) -> None:
        for n in numbers:
            self.sequence.arrive(trade(n), self.now)
        self.pass_by()

    def page(self, numbers: Sequence[int]) -> None:
        self.sequence.answered([trade(n) for n in numbers], self.sequence.asked(), self.now)
        self.pass_by()

    def pass_by(self) -> None:
        for _ in range(8):
            self.now += SECOND // 10
            self.parts += self.sequence.due(self.now)

    @property
    def numbers(self) -> list[int]:
        return [row.id - 1 for part in self.parts for row in (*part.fetched, *part.rows)]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """What is missing in the end, as places behind one trade and up to another."""
        missing: set[int] = set()
        for part in self.parts:
            for gap in part.gaps:
                ms = set(range(gap.start // MS_NS + 1, gap.end // MS_NS + 1))
                missing = missing - ms if isinstance(gap, GapFilled) else missing | ms
        edges = sorted(missing)
        cuts = [0, *(n for n, (a, b) in enumerate(pairwise(edges), 1) if b > a + 1), len(edges)]
        return [(edges[a], edges[b - 1]) for a, b in pairwise(cuts)] if edges else []


def ms(n: int) -> int:
    return trade(n).time // MS_NS


def test_a_page_of_before_the_last_trade_does_not_say_that_nothing_was_missed() -> None:
    played = Played()
    played.page(range(40, 100))
    assert played.sequence.doubtful
    played.page(range(CUT - 40, BACK))
    played.arrive(range(BACK, 200))
    assert sorted(played.numbers) == list(range(200)) and not played.gaps


def test_a_quiet_market_whose_pages_stay_behind_is_in_doubt_until_its_next_trade() -> None:
    played = Played()
    for _ in range(ASKED_AGAIN + 1):
        played.page(range(40, 100))
    assert played.sequence.doubtful and not played.sequence.wants(played.now)
    played.arrive(range(BACK, 240))
    assert played.sequence.wants(played.now)
    played.page(range(180, 240))
    assert not set(range(CUT, BACK)) & set(played.numbers)
    assert played.gaps == [(ms(CUT - 1), ms(BACK))] and not played.sequence.doubtful


@pytest.mark.parametrize("newest", [CUT - 10, CUT, CUT + 6])
def test_what_pages_stay_behind_of_is_a_gap_from_the_last_trade_that_they_have_to_the_next(
    newest: int,
) -> None:
    played = Played()
    played.arrive(range(BACK, 180))
    for _ in range(ASKED_AGAIN):
        played.page(range(40, 100))
    played.page(range(newest - 60, newest))
    played.arrive(range(180, 260))
    known = max(newest, CUT)
    assert sorted(played.numbers) == [*range(known), *range(BACK, 260)]
    assert played.gaps == [(ms(known - 1), ms(BACK))]
