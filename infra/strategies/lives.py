"""The lives of a bot: its indicators begin anew when it is created, reconfigured, or started with other code.

Each such *life* has its own parameters. Lives are read from the stream `bots`, and from the command that each
change followed.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from projections.fold.desk import STRATEGY_CHANGED
from streams.causes import Cause
from streams.codec import UndecodableError, decode_input, decode_output
from streams.events import BotChanged, CreateBot, Event, ReconfigureBot, StartBot
from streams.log import Log
from streams.records import partition_of
from streams.topics import BOTS, JOURNAL

_TAG = str(BotChanged.__struct_config__.tag).encode()
_FAILED = (STRATEGY_CHANGED, "strategy_error", "bad_parameters")
"""Codes of halts after which a bot steps no more."""


class Life(NamedTuple):
    """A bot with one set of parameters: it stepped on candles whose journal offset lies in (after, until]."""

    after: int
    until: int | None
    change: BotChanged


class BotHistory:
    """Lives of bots, read on from where the last look ended. Safe to use from several threads."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._ends: dict[int, int] = {}
        self._changes: defaultdict[int, list[tuple[Cause, BotChanged]]] = defaultdict(list)

    def lives(self, bot_id: int, market: str) -> list[Life]:
        """Oldest first; the last has no end while the bot still steps."""
        partition = partition_of(market.encode(), self._log.partitions)
        with self._lock:
            self._read_on(partition)
            changes = list(self._changes[bot_id])
        return list(self._lives(changes))

    def _read_on(self, partition: int) -> None:
        start = self._ends.get(partition, self._log.earliest(BOTS, partition))
        for record in self._log.read(BOTS, partition, start):
            self._ends[partition] = record.offset + 1
            if _TAG not in record.value:  # marks are most of this stream: they need not be decoded
                continue
            try:
                output = decode_output(record.value)
            except UndecodableError:
                continue  # the projector reports it
            for cause, event in zip(output.causes(), output.events, strict=True):
                if not isinstance(event, BotChanged):
                    continue
                known = self._changes[event.bot_id]
                # a repeat of a worker that crashed is at or before the last cause
                if not known or known[-1][0] < cause:
                    known.append((cause, event))

    def _lives(self, changes: list[tuple[Cause, BotChanged]]) -> Iterator[Life]:
        begun: tuple[int, BotChanged] | None = None
        for cause, change in changes:
            command = self._command(cause)
            ended = _ends(command, change)
            if not ended and not _begins(command, begun and begun[1], change):
                continue
            if begun is not None:
                # a strategy that failed has no values for the candles of that record
                yield Life(begun[0], cause.offset - (change.code == "strategy_error"), begun[1])
            begun = None if ended else (cause.offset, change)
        if begun is not None:
            yield Life(begun[0], None, begun[1])

    def _command(self, cause: Cause) -> Event | None:
        record = next(self._log.read(JOURNAL, cause.partition, cause.offset, cause.offset + 1), None)
        try:
            return None if record is None else decode_input(record.value).event
        except UndecodableError:
            return None


def _begins(command: Event | None, stepping: BotChanged | None, change: BotChanged) -> bool:
    if isinstance(command, StartBot):
        return stepping is None or stepping.code_hash != change.code_hash
    return isinstance(command, CreateBot | ReconfigureBot)


def _ends(command: Event | None, change: BotChanged) -> bool:
    if isinstance(command, ReconfigureBot):  # one that is halted keeps the code of its halt
        return change.code == "bad_parameters"
    return change.status == "halted" and change.code in _FAILED
