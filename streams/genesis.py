"""How a journal partition begins, and which rules it is folded by.

Why: ADR 17.
"""

from hashlib import sha256

from streams.codec import UndecodableError, encode, input_of
from streams.events import Genesis, Rules
from streams.records import Input, Record

RULES = 1
"""Number of the fold's rules of this release; a release that changes what the fold makes raises it."""


class JournalRefusedError(Exception):
    """A journal that this release must not fold; the message names the record and what to do."""


def genesis(
    home: str, partitions: int, *, rules: int = RULES, source_home: str = "", source_sha256: str = ""
) -> Genesis:
    """Record 0 of a partition; see `Genesis`."""
    return Genesis(
        home=home,
        partitions=partitions,
        rules=rules,
        source_home=source_home,
        source_sha256=source_sha256,
        sha256=_sha256(home, partitions, rules, source_home, source_sha256),
    )


def rules(number: int) -> Rules:
    return Rules(number=number, sha256=_sha256(number))


def genesis_of(record: Record) -> Genesis:
    """The genesis that a partition's record 0 holds. Raises `JournalRefusedError` for anything else."""
    place = f"{record.topic}:{record.partition}:{record.offset}"
    try:
        event = input_of(record).event
    except UndecodableError as error:
        raise JournalRefusedError(f"{place}: the genesis is damaged: {error}; {_RESTORE}") from error
    if not isinstance(event, Genesis):
        raise JournalRefusedError(
            f"{place}: the partition begins with {type(event).__name__}, not with a genesis: another program"
            " or an older version wrote it; make a new home"
        )
    fields = (event.home, event.partitions, event.rules, event.source_home, event.source_sha256)
    if event.sha256 != _sha256(*fields) or record.value != encode(Input("", 0, 0, event)):
        raise JournalRefusedError(f"{place}: the genesis is damaged: its checksum does not fit; {_RESTORE}")
    check_rules(event.rules, place)
    return event


def fits(event: Rules) -> bool:
    """Whether the number is the one that was written: a damaged one must not stop a worker."""
    return event.sha256 == _sha256(event.number)


def check_rules(number: int, place: str) -> None:
    """Raises `JournalRefusedError` for rules of a later release."""
    if number > RULES:
        raise JournalRefusedError(
            f"{place}: from here on the journal is folded by rules {number}, this release knows {RULES}:"
            " install the release that wrote it, on every worker"
        )


def _sha256(*fields: str | int) -> str:
    return sha256(" ".join(map(str, fields)).encode()).hexdigest()


_RESTORE = "restore the log from a copy"
