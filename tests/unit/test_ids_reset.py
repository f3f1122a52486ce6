"""Ids that began anew: no trade is taken for another, what came before is still known, and who goes on by ids
goes on by the new ones."""

import numpy as np
import pytest

from projections.fold.identities import RING
from projections.fold.pipeline import Pipeline
from projections.fold.seen_ids import SeenIds
from streams.events import IdsReset, IdsReused, JournalEvent, Repeats
from streams.journal import JournalState
from streams.records import Record
from streams.ticks import NO_ID
from tests.journal import START, batch, fold, of, records, spot

BTC = spot()
SECOND = 10**9
SCALES = (2, 3)
LATER = 10**15


def reset(since_s: int) -> IdsReset:
    return IdsReset(market=BTC.key, since=START + since_s * SECOND, who="cli:ann", at=START, reason="")


def trades(ids: range, at: int):
    """Trades a second apart, and their ids."""
    return batch(BTC, [(at + n, 100, 1) for n in range(len(ids))], ids=list(ids))


def seen(of: SeenIds, ids: np.ndarray, start: int) -> np.ndarray:
    """Which trades, a millisecond apart, are fresh."""
    time = start + np.arange(len(ids)) * 1_000_000
    return of.add(ids.reshape(-1, 1)[:, 0], time, 87_000 + ids % 13, 1 + ids % 7, SCALES).fresh


@pytest.mark.parametrize("count", [1_000, 2 * RING])
def test_new_trades_with_old_ids_are_new_and_all_of_both_are_known_afterwards(count: int) -> None:
    known, ids = SeenIds(), np.arange(1, count + 1)
    assert seen(known, ids, 0).all()
    known.begin_anew(count * 1_000_000)
    assert seen(known, ids, LATER).all() and known.newest_id == count
    assert not seen(known, ids, LATER).any()
    assert not seen(known, ids, 0).any(), "an archive that is imported over what was collected"


def test_a_hole_of_the_new_ids_that_is_filled_late_is_no_repeat_of_the_old_ones() -> None:
    known, others = SeenIds(), np.arange(10**9, 10**9 + RING)
    seen(known, np.arange(1, 501), 0)
    known.begin_anew(SECOND)
    seen(known, np.arange(1, 450), LATER)
    seen(known, np.arange(501, 601), LATER + SECOND)
    seen(known, others, 2 * LATER)  # what was seen before is known in spans now
    assert seen(known, np.arange(450, 501), LATER + SECOND // 2).all()


JOURNAL_EVENTS: list[JournalEvent] = [
    BTC,
    trades(range(101, 111), 0),
    reset(9),
    trades(range(105, 108), -60),
    trades(range(1, 4), 60),
    trades(range(102, 104), 70),
]


def entries(events: list[JournalEvent]) -> list[Record]:
    return records((BTC.key, event) for event in events)


def test_the_fold_counts_on_and_the_highest_id_is_of_the_new_ones() -> None:
    pipeline = Pipeline(0, strategies=None)  # type: ignore[arg-type] - there are no bots
    derived = fold(pipeline, entries(JOURNAL_EVENTS[:3]))
    view = pipeline.view().markets[BTC.key]
    assert (view.newest_id, view.ids_since) == (NO_ID, START + 9 * SECOND)
    derived += fold(pipeline, entries(JOURNAL_EVENTS)[4:])
    assert view.newest_id == 103 and not of(derived, Repeats)
    assert not [event for event in of(derived, IdsReused) if event.timestamp > START + 9 * SECOND]
    again = Pipeline(0, strategies=None)  # type: ignore[arg-type] - as above
    again.restore(pipeline.snapshot())
    assert again.state_sha256() == pipeline.state_sha256()


def test_who_reads_the_journal_goes_on_by_the_new_ids() -> None:
    state = JournalState()
    for record in entries(JOURNAL_EVENTS[:4]):
        state.note(record)
    reached = state.source("tester").reached[BTC.key]
    assert (reached.id, reached.anew) == (NO_ID, START + 9 * SECOND), "late trades say nothing of the new ids"
    for record in entries(JOURNAL_EVENTS)[5:]:
        state.note(record)
    reached = state.source("tester").reached[BTC.key]
    assert (reached.id, reached.anew) == (103, 0)


def test_a_reset_that_is_undone_never_was() -> None:
    known = SeenIds()
    seen(known, np.arange(1, 11), 0)
    known.begin()
    known.begin_anew(SECOND)
    known.go_back()
    assert (known.newest_id, known.since) == (10, -1)
