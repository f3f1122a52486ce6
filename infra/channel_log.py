"""From records of the derived streams to the messages of the channels: what the mirror counts, and what a
reader that comes back reads again. Both hide repeats of a cause in the same way, so `seq` is the same."""

from collections.abc import Iterator
from typing import NamedTuple

from infra.channels import Publication, gap_body, message, publication
from infra.db.channels import ChannelStore, Run
from infra.db.projector import Reached, check_output, repeats_of
from streams.codec import UndecodableError, decode_output
from streams.events import DeadLetter
from streams.log import Log, Record


class Message(NamedTuple):
    """`text` as subscribers get it. `seq` − `first` is 0, unless it is a gap that stands for several."""

    first: int
    seq: int
    text: bytes


def publications(record: Record, reached: Reached) -> list[Publication]:
    """What a record brings to the channels; moves `reached` behind it."""
    reached.offset = record.offset
    market = (record.key or b"").decode(errors="replace")
    try:
        output = decode_output(record.value)
        check_output(record, output, market)
    except UndecodableError as error:
        letter = DeadLetter(record.topic, record.partition, record.offset, str(error))
        made = [publication(market, letter, None)]
    else:
        caused = output.offset >= 0
        first = repeats_of(output, market, reached) if caused else 0
        causes = output.causes() if caused else [None] * len(output.events)
        made = [publication(market, output.events[i], causes[i]) for i in range(first, len(causes))]
    return [one for one in made if one is not None]


def messages_since(log: Log, store: ChannelStore, channel: str, since: int) -> Iterator[Message]:
    """The messages of a channel after `since`, to the last that is counted now, read again from the log.

    Without a hole: where the log no longer holds them, one message of type `gap` stands for them. Raises
    `LogError`.
    """
    snapshot, runs = store.runs_after(channel, since)
    ends = [*(run.first_seq - 1 for run in runs[1:]), snapshot.seq]
    for run, end in zip(runs, ends, strict=bool(runs)):
        if since + 1 < run.first_seq:
            yield _gap(since + 1, run.first_seq - 1)
            since = run.first_seq - 1
        if log.earliest(*run.place) > run.offset:
            yield _gap(since + 1, end)
        else:
            yield from _messages_of(log, run, channel, since, end)
        since = end
    if since < snapshot.seq:
        yield _gap(since + 1, snapshot.seq)


def _messages_of(log: Log, run: Run, channel: str, since: int, end: int) -> Iterator[Message]:
    reached = Reached(None, run.before.cause_offset, dict(run.before.cause_indexes))
    seq = run.first_seq - 1
    for record in log.read(*run.place, run.offset):
        for made in publications(record, reached):
            if made.channel == channel:
                seq += 1
                if seq > since:
                    yield Message(seq, seq, message(seq, made.body))
                if seq == end:
                    return


def _gap(first: int, last: int) -> Message:
    return Message(first, last, message(last, gap_body(first, last)))
