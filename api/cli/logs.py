"""`log`, `topics` and `schemas`: the streams as they are recorded."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.failures import CommandFailedError
from api.cli.options import Json, time_of
from api.cli.output import print_json, print_rows
from api.cli.session import Session

if TYPE_CHECKING:
    from streams.causes import Seen
    from streams.log import Log
    from streams.records import Record

FOLLOW_S = 1.0
OVERLAP_RECORDS = 4096
"""Read before the start asked for, so that repeats of what stands there are known as such."""


def log(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="See `tcpdashboard topics`.")],
    partition: Annotated[int | None, typer.Option("--partition", min=0)] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="An offset, or a time of recording, exclusive.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is appended.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PARTITION:OFFSET", help="This record alone.")
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="Without positions, causes and record times.")
    ] = False,
    json: Json = True,
) -> None:
    """Events of a stream as JSON lines, repeats hidden."""
    with Session() as session:
        _check_stream(stream)
        if at is not None:
            if follow or start or partition is not None:
                raise typer.BadParameter("--at names one record; leave out --partition, --from and --follow")
            _print(_one(session.log, stream, at), content)
            return
        partitions = _partitions(session.log, partition)
        starts = {p: _start(session.log, stream, p, start) for p in partitions}
        seen: dict[int, Seen] = {}
        while True:
            ends = {p: session.log.highwater(stream, p) for p in partitions}
            for p in partitions:
                for record in _new(session.log, stream, p, starts[p], ends[p], seen):
                    _print(record, content)
            sys.stdout.flush()
            if not follow:
                return
            starts = ends
            session.log.wait({(stream, p): end for p, end in ends.items()}, FOLLOW_S)


def topics(json: Json = False) -> None:
    """The streams: partitions, first offset and the offset that comes next."""
    with Session() as session:
        from streams.topics import ALL

        rows = [
            {
                "topic": topic,
                "partition": p,
                "earliest": session.log.earliest(topic, p),
                "highwater": session.log.highwater(topic, p),
            }
            for topic in ALL
            for p in range(session.log.partitions)
        ]
        print_rows(rows, tuple(rows[0]), json=json)


def schemas(
    tag: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="Such as candle.v1.")] = None,
    json: Json = True,
) -> None:
    """JSON Schema of every event."""
    from streams.codec import schemas as all_schemas

    found = all_schemas()
    if tag is None:
        print_json(found)
    elif tag in found["events"]:
        print_json({"$defs": found["$defs"], **found["events"][tag]})
    else:
        raise CommandFailedError(f"there is no event {tag!r}; there are: {', '.join(found['events'])}")


def _check_stream(stream: str) -> None:
    from streams.topics import SHOWN

    if stream not in SHOWN:
        raise typer.BadParameter(f"there is no stream {stream!r}; choose {', '.join(SHOWN)}")


def _partitions(log: "Log", partition: int | None) -> list[int]:
    if partition is None:
        return list(range(log.partitions))
    if partition >= log.partitions:
        raise CommandFailedError(f"there is no partition {partition}; they count 0 to {log.partitions - 1}")
    return [partition]


def _start(log: "Log", stream: str, partition: int, start: str | None) -> int:
    if start is None:
        return log.earliest(stream, partition)
    if start.isdecimal():
        return max(int(start), log.earliest(stream, partition))
    time_ns = time_of(start, "--from")
    assert time_ns is not None
    return log.offset_at(stream, partition, time_ns // 1_000_000 + 1)


def _one(log: "Log", stream: str, at: str) -> "Record":
    partition, _, offset = at.removeprefix(f"{stream}:").partition(":")
    if not partition.isdecimal() or not offset.isdecimal():
        raise typer.BadParameter(f"--at {at!r}: write PARTITION:OFFSET, such as 2:17")
    _partitions(log, int(partition))
    record = next(log.read(stream, int(partition), int(offset), int(offset) + 1), None)
    if record is None:
        first, end = log.earliest(stream, int(partition)), log.highwater(stream, int(partition))
        shown = f"it holds offsets {first} to {end - 1}" if end > first else "it is empty"
        raise CommandFailedError(f"there is no record {stream}:{partition}:{offset}; {shown}")
    return record


def _new(
    log: "Log", stream: str, partition: int, start: int, end: int, seen: dict[int, "Seen"]
) -> Iterator["Record"]:
    """Records of start ≤ offset < end that repeat nothing; `seen` is what was read before, by partition."""
    from projections.audit.recorded import recorded
    from streams.causes import Seen
    from streams.topics import PROJECTED

    if stream not in PROJECTED or start >= end:
        yield from log.read(stream, partition, start, end)
        return
    before = start if partition in seen else max(log.earliest(stream, partition), start - OVERLAP_RECORDS)
    for item in recorded(log, stream, partition, before, end, seen.setdefault(partition, Seen())):
        if item.record.offset >= start and not item.repeat:
            yield item.record


def _print(record: "Record", content: bool) -> None:
    """A line for each event of a record; a record that is none of ours has one that says so."""
    from infra.present.records import decoded
    from infra.present.values import iso

    for cause, kind, event in decoded(record, content=content):
        if content:
            print_json({"topic": record.topic, "type": kind, "event": event})
            continue
        time = iso(record.time_ns)
        place = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": time,
        }
        print_json({**place, "cause": cause, "type": kind, "event": event})
