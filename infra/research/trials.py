"""The trials of a ledger, as they are read: what was asked, what came of it, and what differs between two."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from msgspec import structs

from infra.present.values import event_to_json
from infra.research.ledger import Ledger, Row, sets_of_columns
from streams.codec import UndecodableError, encode, research_of
from streams.events import ParamValue, TrialEnded, TrialStarted

State: TypeAlias = Literal["ended", "running", "broken off", "open"]
UNASKED: Final = ("at", "process", "resumes")
"""Fields of a trial that are no matter of what was asked."""


@dataclass(frozen=True)
class Trial:
    """`starts`: its first record, and one for each time that it was gone on with; `ends`: by the number of
    their first set."""

    id: int
    starts: list[TrialStarted]
    ends: dict[int, TrialEnded] = field(default_factory=dict)

    @property
    def started(self) -> TrialStarted:
        return self.starts[0]

    @property
    def is_whole(self) -> bool:
        """Whether it is recorded what became of every set."""
        return sum(end.sets for end in self.ends.values()) == self.started.sets

    @property
    def state(self) -> State:
        """ "open": begun on another machine, and not ended yet or broken off."""
        if self.is_whole:
            return "ended"
        pid, _, host = self.starts[-1].process.partition("@")
        if host != socket.gethostname():
            return "open"
        return "running" if _runs(int(pid)) else "broken off"

    @property
    def parts(self) -> list[TrialEnded]:
        return [self.ends[first] for first in sorted(self.ends)]

    def rows(self) -> Iterator[tuple[dict[str, ParamValue], Row]]:
        """Each set with what became of it, as far as that is recorded."""
        for end in self.parts:
            sets = sets_of_columns(end.parameters) or [{} for _ in range(end.sets)]
            for number, (params, error) in enumerate(zip(sets, end.errors, strict=True)):
                yield params, ({name: column[number] for name, column in end.metrics.items()}, error)

    def best(self, metric: str = "sharpe") -> float | None:
        """Its highest value of a metric."""
        found = [value for end in self.parts for value in end.metrics.get(metric, ()) if value is not None]
        return max(found, default=None)


class Trials(NamedTuple):
    """By their ids, and a sentence for each record that this release cannot read."""

    known: dict[int, Trial]
    unread: list[str]


def trials_of(ledger: Ledger) -> Trials:
    """All that a ledger holds."""
    known: dict[int, Trial] = {}
    unread: list[str] = []
    for record in ledger.records():
        try:
            event = research_of(record)
        except UndecodableError as error:
            unread.append(f"{record.place} is of a newer release, or damaged, and is passed over: {error}")
            continue
        if isinstance(event, TrialEnded):
            if event.trial in known:
                known[event.trial].ends[event.first] = event
        elif event.resumes is None:
            known[record.offset] = Trial(record.offset, [event])
        elif event.resumes in known:
            known[event.resumes].starts.append(event)
    return Trials(known, unread)


def _runs(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# ------------------------------------------------------------------ two of them


class Differing(NamedTuple):
    """What differs between two trials. `asked`: fields with both values. `common`: how many sets both have,
    `equal`: so many of them in every number. `numbers`: by metric, in how many sets it differs, and in the
    first of these both values."""

    asked: dict[str, tuple[Any, Any]]
    common: int
    equal: int
    numbers: dict[str, tuple[int, Any, Any]]


def differing(one: Trial, other: Trial) -> Differing:
    """What was asked otherwise, and what came out otherwise for the sets that both have."""
    asked = {}
    mine, theirs = (event_to_json(trial.started) for trial in (one, other))
    for name in mine:
        if name not in UNASKED and mine[name] != theirs[name]:
            asked[name] = (mine[name], theirs[name])
    of_other = {_key(params): row for params, row in other.rows()}
    pairs = [(row, of_other[_key(params)]) for params, row in one.rows() if _key(params) in of_other]
    numbers: dict[str, tuple[int, Any, Any]] = {}
    for first, second in pairs:
        for name, values in _differing_values(first, second).items():
            count, *seen = numbers.get(name, (0, *values))
            numbers[name] = (count + 1, *seen)
    equal = sum(not _differing_values(first, second) for first, second in pairs)
    return Differing(asked, len(pairs), equal, numbers)


def _key(params: Mapping[str, ParamValue]) -> tuple[tuple[str, ParamValue], ...]:
    return tuple(sorted(params.items()))


def _differing_values(one: Row, other: Row) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys((*one[0], *other[0]))
    found: dict[str, tuple[Any, Any]] = {name: (one[0].get(name), other[0].get(name)) for name in names}
    found["error"] = (one[1], other[1])
    return {name: (mine, theirs) for name, (mine, theirs) in found.items() if mine != theirs}


def same_bytes(one: Sequence[TrialEnded], other: Sequence[TrialEnded]) -> bool:
    """Whether two trials came out alike in every byte of their results."""
    mine, theirs = ([encode(structs.replace(end, trial=0, at=0)) for end in ends] for ends in (one, other))
    return mine == theirs
