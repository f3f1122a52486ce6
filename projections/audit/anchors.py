"""Anchors: what a log held at some time, as text to be kept where the log's owner cannot rewrite it.

    home 1158ebd77be2f8e79c9cda85e9f908a4
    journal 0 1204 9f1c…        stream, partition, offset of the last record, and the chain up to it
    candles 0 213 03aa…

The chain is that of the journal's hash, over time, key, value and headers of each record. A file holds any
number of anchors, one behind the other. Why: ADR 23.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from projections.audit.damage import Damage
from projections.fold.pipeline import linked
from streams.genesis import JournalRefusedError, genesis_of
from streams.log import Log, LogError
from streams.records import Record
from streams.topics import JOURNAL, PROJECTED

ANCHORED = (JOURNAL, *PROJECTED)
"""Snapshots are left out: they are disposable, and compacted."""
HOME = "home"

Place = tuple[str, int]
"""Stream and partition."""


class Link(NamedTuple):
    """The chain over all records up to `offset`."""

    offset: int = -1
    chain: bytes = bytes(32)


class Anchor(NamedTuple):
    home: str
    links: dict[Place, Link]
    line: int
    """Of its `home` in the file that it was read from."""


class AnchorError(ValueError):
    """A text that is no anchor; the message names the line."""


def anchors_in(text: str, name: str) -> list[Anchor]:
    """The anchors of a file called `name`. Raises `AnchorError`."""
    found: list[Anchor] = []
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case ["home", home]:
                found.append(Anchor(home, {}, number))
            case [stream, partition, offset, chain] if found and stream in ANCHORED:
                try:
                    link = Link(int(offset), bytes.fromhex(chain))
                    found[-1].links[stream, int(partition)] = link
                except ValueError as error:
                    raise AnchorError(f"{name}, line {number}: {line[:200]!r} is no chain: {error}") from None
            case _:
                raise AnchorError(f"{name}, line {number}: {line[:200]!r} is no line of an anchor")
    if not any(anchor.links for anchor in found):
        raise AnchorError(f"{name} holds no anchor; `tcpdashboard anchor` writes one")
    return found


def home_of(log: Log) -> str:
    return genesis_of(next(log.read(JOURNAL, 0, 0, 1))).home


class Chains:
    """The chains of a log's streams, as far as it was read."""

    def __init__(self, log: Log, known: Mapping[Place, Link]) -> None:
        """`known`: where to go on, for what the log holds beyond."""
        self._log = log
        self._home = home_of(log)
        self._links = {place: link for place, link in known.items() if log.highwater(*place) > link.offset}

    def text(self) -> str:
        """The anchor of all that the log holds now. Raises `LogError` for a record that is damaged."""
        places = [(stream, partition) for stream in ANCHORED for partition in range(self._log.partitions)]
        for place in places:
            self._read_on(place)
        lines = [
            f"{stream} {partition} {link.offset} {link.chain.hex()}"
            for stream, partition in places
            if (link := self._links[stream, partition]).offset >= 0
        ]
        return "".join(f"{line}\n" for line in (f"{HOME} {self._home}", *lines))

    def _read_on(self, place: Place) -> None:
        link = self._links.get(place, Link())
        for record in self._log.read(*place, link.offset + 1):
            if record.damaged:
                raise LogError(
                    f"no anchor: {record.place} is damaged; `tcpdashboard verify` names all that is"
                )
            link = Link(record.offset, linked(link.chain, record))
        self._links[place] = link


class Anchored:
    """Whether a log contains the chains of anchors; it is given every record, in order."""

    def __init__(self, log: Log, anchors: Iterable[Anchor]) -> None:
        self._log = log
        self._anchors = list(anchors)
        self._due: dict[Place, dict[int, list[tuple[bytes, int]]]] = {}
        self._links: dict[Place, Link] = {}
        for anchor in self._anchors:
            for place, link in anchor.links.items():
                due = self._due.setdefault(place, {})
                due.setdefault(link.offset, []).append((link.chain, anchor.line))
        self._faults: list[Damage] = []

    def note(self, record: Record) -> None:
        place = (record.topic, record.partition)
        due = self._due.get(place)
        if not due:
            return
        link = Link(record.offset, linked(self._links.get(place, Link()).chain, record))
        self._links[place] = link
        for chain, line in due.pop(record.offset, ()):
            if chain != link.chain:
                why = f"the records up to here are not those that the anchor of line {line} was made of"
                self._faults.append(Damage(*place, record.offset, why))

    def faults(self) -> Iterator[Damage]:
        """What the log does not contain; to be asked when every record was given."""
        home = self._home() if self._anchors else ""
        for anchor in self._anchors:
            if home and anchor.home != home:
                why = f"the anchor of line {anchor.line} is of the home {anchor.home}, this is {home}"
                yield Damage(JOURNAL, 0, 0, why)
        yield from self._faults
        for place, due in self._due.items():
            for offset, lines in due.items():
                why = (
                    f"the stream does not hold this record, which the anchor of line {lines[0][1]} ends with"
                )
                yield Damage(*place, offset, why)

    def _home(self) -> str:
        """Empty where the genesis is damaged, which is named as such."""
        try:
            return home_of(self._log)
        except JournalRefusedError:
            return ""
