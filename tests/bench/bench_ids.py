"""Identities a second: trades whose ids are looked up and kept, and what a market's table weighs.

Run by `python -m tests.bench.bench_ids`. *New*: none was seen before. *Repeated*: the newest 65,536 again.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import msgpack

from projections.fold.identities import RING
from projections.fold.seen_ids import SeenIds
from streams.ticks import Ids
from tests.bench.timing import best, headline, show

TRADES = 4_000_000
SCALES = (1, 8)


def main() -> None:
    headline(f"{TRADES:,} trades, 500 a call; bytes: of the state")
    seen: list[SeenIds] = []
    for name, ids in kinds():
        taken = best(lambda ids=ids: seen.append(fold(SeenIds(), ids, 0)), rounds=3)
        show(f"new, {name}", TRADES, taken, f"{len(msgpack.encode(seen[-1].state())):,} bytes")
        again = best(lambda ids=ids: fold(seen[-1], ids[-RING:], TRADES - RING), rounds=3)
        show(f"repeated, {name}", RING, again)
    show(
        "a snapshot of a full table",
        RING,
        best(lambda: msgpack.encode(seen[-1].state())),
        "ticks: identities",
    )


def kinds() -> Iterator[tuple[str, Ids]]:
    chance = np.random.default_rng(1)
    yield "one after the other", np.arange(TRADES)
    yield "2 apart", np.arange(0, 2 * TRADES, 2)
    yield "scattered", chance.integers(0, 2**62, TRADES)
    yield "one for all", np.zeros(TRADES, np.int64)
    yield "of 128 bits", chance.integers(0, 2**63, (TRADES, 2)).astype(np.uint64)


def fold(seen: SeenIds, ids: Ids, start: int) -> SeenIds:
    numbers = np.arange(start, start + len(ids))
    time, price, size = numbers * 1_000_000, 873_000 + numbers % 13, 100_000 * (1 + numbers % 7)
    for at in range(0, len(ids), 500):
        rows = slice(at, at + 500)
        seen.add(ids[rows], time[rows], price[rows], size[rows], SCALES)
    return seen


if __name__ == "__main__":
    main()
