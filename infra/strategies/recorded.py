"""Which code the commands of a journal name: what whoever folds it needs."""

from projections.fold.commands import code_check
from streams.codec import UndecodableError, decode_input
from streams.events import CreateBot, ReconfigureBot, StartBot
from streams.journal import TYPE_HEADER, event_tag
from streams.log import Log
from streams.topics import JOURNAL

_TYPES = {b"", *(event_tag(kind).encode() for kind in (CreateBot, StartBot, ReconfigureBot))}


def recorded_code(log: Log) -> dict[str, str]:
    """Strategies by the hashes of their code. A damaged command, which the fold refuses, names none."""
    found: dict[str, str] = {}
    for partition in range(log.partitions):
        strategies: dict[int, str] = {}
        for command in _commands(log, partition):
            if isinstance(command, CreateBot):
                strategies.setdefault(command.bot_id, command.strategy)
            strategy, code = strategies.get(command.bot_id), command.code_hash
            if strategy and code and command.code_check == code_check(strategy, code):
                found[code] = strategy
    return found


def _commands(log: Log, partition: int) -> list[CreateBot | StartBot | ReconfigureBot]:
    found: list[CreateBot | StartBot | ReconfigureBot] = []
    for record in log.read(JOURNAL, partition, log.earliest(JOURNAL, partition)):
        if dict(record.headers).get(TYPE_HEADER, b"") not in _TYPES:
            continue
        try:
            event = decode_input(record.value).event
        except UndecodableError:
            continue  # a dead letter, to the fold too
        if isinstance(event, CreateBot | StartBot | ReconfigureBot):
            found.append(event)
    return found
