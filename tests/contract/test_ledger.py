"""The ledger of trials on every backend of the log."""

from collections.abc import Callable
from pathlib import Path

from msgspec import structs

from infra.research.ledger import Ledger
from infra.research.trials import trials_of
from infra.strategies.registry import Strategies
from projections.audit.verify import verify
from streams.backends import open_log
from streams.codec import research_of
from streams.events import TrialEnded, TrialStarted
from streams.topics import RESEARCH
from tests.golden.make import read_ledger


def test_trials_stand_in_the_log_once_they_are_begun_and_nothing_folds_them(
    log_home: Callable[[], str], tmp_path: Path, strategies: Strategies
) -> None:
    url = log_home()
    log = open_log(url, partitions=2)
    started, _, ended = map(research_of, read_ledger())
    assert isinstance(started, TrialStarted) and isinstance(ended, TrialEnded)
    ledger = Ledger(log, tmp_path, "ann")
    first, second = ledger.begin(started), ledger.begin(structs.replace(started, process="0@elsewhere"))
    assert (first.trial, second.trial) == (0, 1)
    assert "the ledger counts 4 sets" in second.beside

    reader = open_log(url)  # as another process would, while the first one has it open
    assert [trial.state for trial in trials_of(Ledger(reader, tmp_path, "bob")).known.values()] == [
        "open"
    ] * 2
    ledger.add(structs.replace(ended, trial=1))
    known = trials_of(Ledger(reader, tmp_path, "bob")).known
    assert [trial.is_whole for trial in known.values()] == [False, True]
    assert known[1].parts == [structs.replace(ended, trial=1)]
    assert (reader.highwater(RESEARCH, 0), reader.highwater(RESEARCH, 1)) == (3, 0)
    assert not verify(reader, strategies, lambda _: None).damaged
    reader.close()
    log.close()
