"""The ledger of trials: every run over history says there that it begins, before its first bar, and what came
of it.

>>> with entered(home, trial) as entry:
...     rows = …
...     entry.ended(sets, rows.row, rows.blocks, market)

Why: ADR 35.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from math import isfinite
from pathlib import Path
from platform import python_version
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
from msgspec import structs

from infra.process.settings import Settings, load_settings
from streams.codec import UndecodableError, encode, research_of
from streams.events import Market, ParamValue, TrialEnded, TrialStarted
from streams.journal import TYPE_HEADER, event_tag
from streams.log import Log, LogError
from streams.records import Entry as Appended
from streams.records import Record
from streams.topics import RECORD_BYTES_MAX, RESEARCH

F8 = npt.NDArray[np.float64]
PARTITION: Final = 0
ERROR_CHARACTERS: Final = 2_000
TEXT_CHARACTERS: Final = 200
SLACK_BYTES: Final = 200
"""For the headers and the key of a record."""
TOGETHER: Final = 1_000
"""Sets whose results are in one record, where they fit."""
ENDED: Final = b"trial_ended."
"""Of any release."""
MAKE_ONE: Final = "`tcpdashboard markets add` makes one in TCPD_HOME, and so does `home=` in Python."


Row: TypeAlias = tuple[Mapping[str, int | float | None], str]
"""What became of a set: its metrics, none where it could not be run, and its error."""


class Counted(NamedTuple):
    """What the ledger counts of a market as a trial begins, which is the last: `sets` that were tried, its
    `look` at held-out candles that it looks at, None where it looks at none, and how many `others` ran over
    some of these; records `unread`, damaged or of a newer release."""

    market: str
    sets: int
    look: int | None
    others: int
    unread: int


class Ledger:
    """The stream `research` of a log. `folder`: the home's; `who`: in whose name trials are written."""

    def __init__(self, log: Log, folder: Path, who: str) -> None:
        self.log, self.folder, self.who = log, folder, who

    def begin(self, started: TrialStarted) -> "Entry":
        """Durable when this returns. What resumes a trial that is not here is one of its own. Raises
        `LogError`."""
        if started.resumes is not None and not self._holds(started.resumes, started):
            started = structs.replace(started, resumes=None)
        entry = _appended(started)
        if len(entry.value) > RECORD_BYTES_MAX - SLACK_BYTES:
            raise LogError(
                f"the parameters of {started.sets:,} sets have {len(entry.value):,} bytes, and the ledger"
                f" takes {RECORD_BYTES_MAX:,} at once: run them in several batches, or as a grid"
            )
        (position,) = self.log.append([entry])
        trial = position.offset if started.resumes is None else started.resumes
        return Entry(self, trial, self._counted(started, position.offset))

    def add(self, ended: TrialEnded) -> None:
        """Raises `LogError`."""
        self.log.append([_appended(ended)])

    def records(self, stop: int | None = None) -> Iterator[Record]:
        """As they stand in the log, in order."""
        return self.log.read(RESEARCH, PARTITION, self.log.earliest(RESEARCH, PARTITION), stop)

    def _holds(self, trial: int, started: TrialStarted) -> bool:
        """Whether this trial is here, and asks for the same."""
        record = next(self.log.read(RESEARCH, PARTITION, trial, trial + 1), None)
        try:
            first = None if record is None else research_of(record)
        except UndecodableError:
            return False
        return isinstance(first, TrialStarted) and _same(first, started)

    def _counted(self, started: TrialStarted, offset: int) -> Counted:
        sets = looks = others = unread = 0
        for record in self.records(offset + 1):
            if dict(record.headers).get(TYPE_HEADER, b"").startswith(ENDED):
                continue
            try:
                one = research_of(record)
            except UndecodableError:
                unread += 1
                continue
            if not isinstance(one, TrialStarted) or one.market != started.market or one.resumes is not None:
                continue
            sets += one.sets
            if one.after < started.until and started.after < one.until:
                looks += one.look
                others += not one.look
        return Counted(started.market, sets, looks if started.look else None, others, unread)


def _same(one: TrialStarted, other: TrialStarted) -> bool:
    """Whether both ask for the same, whoever asks and wherever."""
    names = ("market", "sha256", "strategies", "parameters", "chosen", "seed", "sets")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _appended(event: TrialStarted | TrialEnded) -> Appended:
    key = event.market.encode() if isinstance(event, TrialStarted) else b""
    headers = ((TYPE_HEADER, event_tag(event).encode()),)
    return Appended(RESEARCH, key, encode(event), time.time_ns() // 1_000_000, PARTITION, headers)


Home: TypeAlias = Ledger | Path | str | None
"""An open one; a home's folder; None: the home that the settings name, if it is there."""


class Entry:
    """A run's place in the ledger; `trial` and `counted` are None where it has none."""

    def __init__(
        self, ledger: Ledger | None = None, trial: int | None = None, counted: Counted | None = None
    ) -> None:
        self.trial, self.counted = trial, counted
        self.lacking = ""
        """Why the ledger lacks what became of the run."""
        self._ledger = ledger

    @property
    def beside(self) -> str:
        """What stands beside a Sharpe ratio."""
        if self.counted is None:
            return "not in the ledger"
        sets, unread = self.counted.sets, self.counted.unread
        without = f", without {unread:,} records that this release can't read" if unread else ""
        return f"the ledger counts {in_words(sets)} tried on {self.counted.market}{without}"

    @property
    def notes(self) -> list[str]:
        """For people, in sentences."""
        if self.counted is None:
            return [f"This run is not in the ledger: there is no home that keeps one. {MAKE_ONE}"]
        told = [f"Trial {self.trial}: {self.beside}."]
        if self.counted.look is not None:
            others = self.counted.others
            seen = f"; {others:,} other {'trial' if others == 1 else 'trials'} ran over some of them"
            told.append(
                f"This is look {self.counted.look:,} at held-out candles of {self.counted.market} in this"
                f" time{seen if others else ''}."
            )
        return [*told, *([self.lacking] if self.lacking else [])]

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it beside metrics."""
        counted = self.counted
        return {
            "trial": self.trial,
            "tried": counted.sets if counted else None,
            "look": counted.look if counted else None,
        }

    def ended(
        self,
        sets: Sequence[Mapping[str, object]],
        row: Callable[[int], Row],
        blocks: F8,
        market: Market,
    ) -> None:
        """Write down what became of each set, its `row` by its number; `blocks` f8[S, 16, 3] as `blocks_of`
        makes them, `market` as it stood at the last bar. Where that cannot be done, `lacking` says so."""
        if self._ledger is None or self.trial is None:
            return
        try:
            for part in ends_of(self.trial, sets, row, blocks, market):
                self._ledger.add(part)
        except (LogError, OSError) as error:
            self.lacking = f"The ledger lacks what became of trial {self.trial}: {error}"


NOWHERE: Final = Entry()


def ends_of(
    trial: int, sets: Sequence[Mapping[str, object]], row: Callable[[int], Row], blocks: F8, market: Market
) -> Iterator[TrialEnded]:
    """What became of the sets of a trial, in parts that fit into a record each."""

    def within(first: int, last: int) -> Iterator[TrialEnded]:
        part = _part(trial, first, sets[first:last], list(map(row, range(first, last))), blocks, market)
        if last - first > 1 and len(encode(part)) > RECORD_BYTES_MAX - SLACK_BYTES:
            middle = (first + last) // 2
            yield from within(first, middle)
            yield from within(middle, last)
        else:
            yield part

    for first in range(0, len(sets), TOGETHER):
        yield from within(first, min(first + TOGETHER, len(sets)))


def _part(
    trial: int,
    first: int,
    sets: Sequence[Mapping[str, object]],
    rows: Sequence[Row],
    blocks: F8,
    market: Market,
) -> TrialEnded:
    names = dict.fromkeys(name for values, _ in rows for name in values)
    return TrialEnded(
        trial=trial,
        at=time.time_ns(),
        first=first,
        sets=len(sets),
        parameters=columns_of(sets),
        metrics={name: tuple(values.get(name) for values, _ in rows) for name in names},
        errors=tuple(as_text(error[:ERROR_CHARACTERS]) for _, error in rows),
        blocks=blocks[first : first + len(sets)].astype("<f8").tobytes(),
        cash_scale=market.cash_scale,
        settle=market.settle,
    )


@contextmanager
def opened(home: Home) -> Iterator[Ledger | None]:
    """The ledger of a home; None where the settings name one that is not there. Raises `LogError`."""
    if isinstance(home, Ledger):
        yield home
        return
    settings = settings_of(home)
    if home is None and not is_there(settings):
        yield None
        return
    from streams.backends import open_log  # noqa: PLC0415 - a run without a home needs no backend

    log = open_log(settings.log_url, partitions=settings.partitions)
    try:
        yield Ledger(log, settings.home, settings.who)
    finally:
        log.close()


@contextmanager
def entered(home: Home, started: Callable[[str], TrialStarted]) -> Iterator[Entry]:
    """A run's entry in the ledger of a home; `started` makes it, in the name that it is given.

    Raises `LogError` where it cannot be written: then nothing has been run.
    """
    with opened(home) as ledger:
        yield NOWHERE if ledger is None else ledger.begin(started(ledger.who))


def settings_of(home: Path | str | None) -> Settings:
    settings = load_settings()
    if home is None or Path(home).absolute() == settings.home:
        return settings
    return settings.in_home(Path(home).absolute())


def is_there(settings: Settings) -> bool:
    """Whether the log is; to open it would make it."""
    url = urlsplit(settings.log_url)
    return url.scheme != "embedded" or Path(unquote(url.path)).exists()


# ------------------------------------------------------------------ what trials are told by


def in_words(sets: int) -> str:
    return f"{sets:,} {'set' if sets == 1 else 'sets'}"


def process() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


def versions() -> dict[str, str]:
    """Of the product, Python, and what numbers depend on."""
    found = {"python": python_version()}
    for package in ("tcpdashboard", "numba", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout
            found[package] = ""
    return found


def columns_of(sets: Sequence[Mapping[str, object]]) -> dict[str, tuple[ParamValue, ...]]:
    """A value a set in each column."""
    names = dict.fromkeys(name for params in sets for name in params)
    return {name: tuple(_plain(params.get(name)) for params in sets) for name in names}


def as_text(words: str) -> str:
    """What a strategy or a user said, in characters that any file takes."""
    return words.encode("utf-8", "backslashreplace").decode()


def _plain(value: object) -> ParamValue:
    """As the ledger can hold it; what is no parameter, as text."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return as_text(str(value)[:TEXT_CHARACTERS])


def axes_as_columns(axes: Mapping[str, Sequence[object]]) -> dict[str, tuple[ParamValue, ...]]:
    """The values of each axis of a grid."""
    return {name: tuple(map(_plain, values)) for name, values in axes.items()}


def sets_of_columns(columns: Mapping[str, Sequence[ParamValue]]) -> list[dict[str, ParamValue]]:
    """The sets that `columns_of` was given."""
    rows = zip(*columns.values(), strict=True)
    return [{k: v for k, v in zip(columns, row, strict=True) if v is not None} for row in rows]
