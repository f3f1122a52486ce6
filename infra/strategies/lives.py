"""The lives of a bot: its indicators begin anew when it is created, reconfigured, or started with other code.

Each such *life* has its own parameters. It begins and ends with a change in the stream `bots` that says so:
one that is its own `since`.
"""

import threading
from collections import defaultdict
from itertools import zip_longest
from typing import NamedTuple

from infra.db.projector import check_output
from streams.causes import Seen
from streams.codec import UndecodableError, output_of
from streams.events import BotChanged
from streams.log import Log
from streams.records import Record, partition_of
from streams.topics import BOTS

_TAG = str(BotChanged.__struct_config__.tag).encode()


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
        self._seen: defaultdict[int, Seen] = defaultdict(Seen)
        self._turns: defaultdict[int, list[BotChanged]] = defaultdict(list)
        """By bot, the changes at which it began or ceased to step, or began anew."""

    def lives(self, bot_id: int, market: str) -> list[Life]:
        """Oldest first; the last has no end while the bot still steps."""
        partition = partition_of(market.encode(), self._log.partitions)
        with self._lock:
            self._read_on(partition)
            turns = list(self._turns[bot_id])
        pairs = zip_longest(turns, turns[1:])
        return [Life(turn.since.offset, _until(then), turn) for turn, then in pairs if turn.steps]

    def _read_on(self, partition: int) -> None:
        start = self._ends.get(partition, self._log.earliest(BOTS, partition))
        for record in self._log.read(BOTS, partition, start):
            self._ends[partition] = record.offset + 1
            if _TAG in record.value:  # marks are most of this stream: they need not be decoded
                self._note(record, self._seen[partition])

    def _note(self, record: Record, seen: Seen) -> None:
        market = (record.key or b"").decode(errors="replace")
        try:
            output = output_of(record)
            check_output(record, output, market)
        except UndecodableError:
            return  # the projector reports it
        first = seen.repeats(market, output.offset, output.indexes)
        for cause, event in list(zip(output.causes(), output.events, strict=True))[first:]:
            if isinstance(event, BotChanged) and event.since == cause:
                self._turns[event.bot_id].append(event)


def _until(change: BotChanged | None) -> int | None:
    """The last journal offset before a change that ends a life."""
    if change is None:
        return None
    # a strategy that failed has no values for the candles of that record
    return change.since.offset - (change.who == "engine" and not change.steps)
