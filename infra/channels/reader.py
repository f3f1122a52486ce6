"""From records of the derived streams to the messages of the channels: what the mirror counts, and what a
reader that comes back reads again. Both hide repeats of a cause in the same way, so `seq` is the same."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from infra.channels.messages import Publication, gap_body, message, publications
from infra.channels.store import ChannelStore, Run
from infra.db.projector import check_output
from streams.causes import Seen
from streams.codec import UndecodableError, output_of
from streams.log import Log
from streams.records import Record, dead_letter


class Message(NamedTuple):
    """`text` as subscribers get it. `seq` − `first` is 0, unless it is a gap that stands for several."""

    first: int
    seq: int
    text: bytes


def publications_of(record: Record, seen: Seen, only: str | None = None) -> list[Publication]:
    """What a record brings to the channels, or to the channel `only`; its causes count as seen then."""
    market = (record.key or b"").decode(errors="replace")
    try:
        output = output_of(record)
        check_output(record, output, market)
    except UndecodableError as error:
        return publications(market, dead_letter(record, str(error)), None, only)
    first = seen.repeats(market, output.offset, output.indexes)
    causes = output.causes() if output.offset >= 0 else [None] * len(output.events)
    return [
        one
        for i in range(first, len(causes))
        for one in publications(market, output.events[i], causes[i], only)
    ]


def messages_since(log: Log, store: ChannelStore, channel: str, since: int) -> Iterator[Message]:
    """The messages of a channel after `since`, to the last that is counted now, read again from the log.

    Without a hole: where the log no longer holds them, one message of type `gap` stands for them. Raises
    `LogError`.
    """
    return ChannelReader(log, store, channel, since).read()


class ChannelReader:
    """Reads a channel's messages from the log and stays where it ended, so that the next call goes on there.

    `seq`: the last one read. `counted`: what the count stood at when it was last asked for; a count below
    `seq` is that of another database.
    """

    def __init__(self, log: Log, store: ChannelStore, channel: str, since: int) -> None:
        self.seq = since
        self.counted = since
        self._log, self._store, self._channel = log, store, channel
        self._place: _Place | None = None

    def read(self) -> Iterator[Message]:
        """To the last message that is counted now; as `messages_since`."""
        last: int | None = None
        while last is None or self.seq < last:
            counted, runs = self._store.runs_after(self._channel, self.seq)
            self.counted = counted
            last = counted if last is None else min(last, counted)
            for run, end in runs:
                if self.seq < last:
                    yield from self._read_run(run, min(end, last))
            if not runs and self.seq < last:
                yield self._gap(last)

    def _read_run(self, run: Run, end: int) -> Iterator[Message]:
        if self.seq + 1 < run.first_seq:
            yield self._gap(run.first_seq - 1)
        if self._place is None or (self._place.run, self._place.seq) != (run.first_seq, self.seq):
            self._place = _Place(run.first_seq, run.first_seq - 1, run.offset, run.before.copy())
        if self._log.earliest(*run.place) > self._place.offset:
            yield self._gap(end)
            return
        yield from self._messages(run, self._place, end)
        if self.seq < end:
            yield self._gap(end)

    def _messages(self, run: Run, place: "_Place", end: int) -> Iterator[Message]:
        for record in self._log.read(*run.place, place.offset):
            seq = place.seq
            for made in publications_of(record, place.seen, self._channel):
                seq += 1
                if seq > self.seq:
                    self.seq = seq
                    yield Message(seq, seq, message(seq, made.body))
            # behind a whole record only: where a reader leaves in the midst of one, it begins the run anew
            place.seq, place.offset = seq, record.offset + 1
            if seq >= end:  # a run ends with a record, and so does what is counted
                return

    def _gap(self, last: int) -> Message:
        first, self.seq = self.seq + 1, last
        return Message(first, last, message(last, gap_body(first, last)))


class _Place(Struct):
    """Where a run is read on: behind message `seq`, at record `offset`."""

    run: int
    seq: int
    offset: int
    seen: Seen
