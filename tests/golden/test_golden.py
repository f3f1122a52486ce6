"""A recorded journal gives, byte for byte, what it gave when it was recorded."""

from projections.fold.pipeline import Pipeline
from streams.codec import decode_input, encode, research_of
from tests.golden.make import HERE, AnyCode, derived_lines, journal, ledger, read_journal, read_ledger


def test_the_golden_journal_folds_to_the_golden_events(strategies) -> None:
    """A difference is a change of the fold: if it is meant, write the golden log anew and read its diff."""
    assert derived_lines(strategies, read_journal()) == (HERE / "derived.jsonl").read_text().splitlines()


def test_recorded_journal_bytes_stay_readable_and_are_written_alike_today(strategies) -> None:
    *recorded, broken = read_journal()
    assert broken.value == b"\xc1"
    assert [encode(decode_input(record.value)) for record in recorded] == [r.value for r in recorded]
    assert [record.value for record in journal()] == [r.value for r in [*recorded, broken]]


def test_recorded_bytes_of_the_ledger_stay_readable_and_are_written_alike_today() -> None:
    recorded = read_ledger()
    assert [encode(research_of(record)) for record in recorded] == [r.value for r in recorded]
    assert ledger() == recorded


def test_two_folds_of_the_golden_journal_end_in_the_same_state(strategies) -> None:
    one, two = Pipeline(0, AnyCode(strategies)), Pipeline(0, AnyCode(strategies))
    for record in read_journal():
        one.fold(record)
        two.fold(record)
        state = two.snapshot()
        two = Pipeline(0, AnyCode(strategies))
        two.restore(state)
    assert one.snapshot() == two.snapshot()
