"""Scripts of faults from a seed: the same seed, the same script."""

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.venues.faults import (
    Ahead,
    Altered,
    Burst,
    Close,
    Cut,
    Delisted,
    Empty,
    Fault,
    Finer,
    HalfOpen,
    Heal,
    Html,
    Jump,
    Late,
    LeaveOut,
    Malformed,
    PageHoled,
    PageOverlapping,
    PageShuffled,
    Refuse,
    Repeat,
    Restart,
    Skew,
    Snapshot,
    Swap,
)

if TYPE_CHECKING:
    from tests.venues.fake import FakeVenue

Maker = Callable[[random.Random, int], Sequence[Fault]]
TRADES = ("trades",)
QUIET = "SOLUSDT"
"""A market without trades, which can be delisted."""


def hole(chance: random.Random, most: int) -> list[Fault]:
    """A short cut, so that a fault of REST meets a request."""
    return [Cut(away=chance.randint(1, most))]


def nowhere(chance: random.Random, most: int) -> list[Fault]:
    return [LeaveOut(chance.randint(1, most), rest=True)]


def too_long(chance: random.Random, most: int) -> list[Fault]:
    """A cut, after which REST of a venue that has the newest 60 alone does not reach back."""
    return [Cut(away=100 + chance.randint(1, most))]


KINDS: dict[str, Maker] = {
    "cut": hole,
    "close": lambda chance, most: [Close(chance.choice((None, 1000, 1001, 1012)), chance.randint(0, most))],
    "half-open": lambda chance, most: [HalfOpen(chance.randint(1, most))],
    "malformed": lambda chance, most: [Malformed(away=chance.randint(0, most))],
    "unknown form": lambda chance, most: [Malformed('{"what":["is","this"]}', chance.randint(0, most))],
    "restart": lambda chance, most: [Restart(chance.randint(0, most))],
    "left out": lambda chance, most: [LeaveOut(chance.randint(1, most))],
    "repeated": lambda chance, most: [Repeat(chance.randint(1, 10 * most))],
    "swapped": lambda chance, most: [Swap()],
    "late": lambda chance, most: [Late(chance.randint(1, 3), chance.choice((50, 1_500, 4_000)))],
    "burst": lambda chance, most: [Burst(most)],
    "ahead": lambda chance, most: [Ahead(chance.choice((10**8, 10**15)))],
    "price of nothing": lambda chance, most: [Altered("price", chance.choice(("0", "-1")))],
    "ids that jump": lambda chance, most: [Jump(chance.randint(1, most))],
    "finer step": lambda chance, most: [Finer()],
    "delisted": lambda chance, most: [Delisted(QUIET), Finer()],
    "skew": lambda chance, most: [Skew(chance.randint(-800, 800))],
    "snapshot": lambda chance, most: [Snapshot(chance.randint(1, most)), *hole(chance, most)],
    "page shuffled": lambda chance, most: [PageShuffled(times=1), *hole(chance, most)],
    "page overlapping": lambda chance, most: [PageOverlapping(times=1), *hole(chance, most)],
    "page holed": lambda chance, most: [PageHoled(times=1), *hole(chance, most)],
    "page empty": lambda chance, most: [Empty(TRADES, times=1), *hole(chance, most)],
    "page for people": lambda chance, most: [Html(TRADES, times=1), *hole(chance, most)],
    "maintenance": lambda chance, most: [Refuse((*TRADES, "socket"), 1, 503), *hole(chance, most)],
    "not served": lambda chance, most: [Refuse((*TRADES, "socket"), 1, 451), *hole(chance, most)],
    "too many": lambda chance, most: [Refuse(TRADES, 1, chance.choice((418, 429)), 1), *hole(chance, most)],
}
"""By name, what makes a fault that hides nothing for good: `most` is how many trades it may concern."""

UNSEEN_WITHOUT_NUMBERS = {
    *("left out", "late", "swapped", "ahead", "price of nothing", "ids that jump"),
    *("page overlapping", "page holed"),
}
"""Where ids are no numbers, nothing shows that a trade is missing or came in its wrong place, nor that the
newest page is behind."""


def kinds_of(venue: "type[FakeVenue]") -> list[str]:
    return [kind for kind in KINDS if venue.numbered or kind not in UNSEEN_WITHOUT_NUMBERS]


def lost_of(venue: "type[FakeVenue]") -> Maker:
    """What loses trades for good, in a way that can be seen."""
    return nowhere if venue.numbered else too_long


def seeded(
    seed: int, trades: int, kinds: Sequence[str], *, more: Sequence[Maker] = ()
) -> list[tuple[int, Fault]]:
    """Faults of a play of so many trades. The first seeds have one kind alone, thrice; the others a mix.
    `more` come on top.

    No two of them concern the same trades, and the first and the last tenth are left alone.
    """
    chance = random.Random(seed)
    chosen = chosen_of(seed, kinds)
    makers = [KINDS[kind] for kind in chosen]
    for maker in more:
        makers.insert(chance.randint(0, len(makers)), maker)
    slot = trades * 8 // 10 // len(makers)
    script: list[tuple[int, Fault]] = []
    for number, maker in enumerate(makers):
        place = trades // 10 + number * slot + chance.randrange(slot // 2)
        # what REST still had in store for a hole that there was not is no part of the next fault
        script += [(place, fault) for fault in (Heal(), *maker(chance, max(1, min(40, slot // 4))))]
    return script


def chosen_of(seed: int, kinds: Sequence[str]) -> list[str]:
    chance = random.Random(-1 - seed)
    return [kinds[seed]] * 3 if seed < len(kinds) else chance.choices(kinds, k=chance.randint(2, 6))
