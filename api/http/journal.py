"""The log itself, read-only: records by stream, partition, offset and time of recording."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from api.http import models
from api.http.failures import ApiError
from api.http.services import INT64_MAX, Partition, Served, time_ns
from infra.present.records import decoded
from infra.present.values import iso
from streams.log import Log
from streams.topics import SHOWN

router = APIRouter(prefix="/api", tags=["log"])

Stream = Literal["journal", "candles", "signals", "trades", "bots", "system", "research"]
RECORDS, RECORDS_MAX = 100, 1_000
BYTES_MAX = 1_000_000
"""A record of ticks grows about tenfold as JSON; one record is always given."""


@router.get("/log", response_model=models.Streams)
def streams(services: Served) -> dict[str, Any]:
    """The streams: partitions, first offset, and the offset that comes next."""
    log = services.log
    return {
        "items": [
            {
                "topic": stream,
                "partition": partition,
                "earliest": log.earliest(stream, partition),
                "highwater": log.highwater(stream, partition),
            }
            for stream in SHOWN
            for partition in range(log.partitions)
        ]
    }


@router.get("/log/{stream}", response_model=models.LogRecords)
def records(
    services: Served,
    stream: Annotated[Stream, Path(examples=["journal"])],
    partition: Partition = 0,
    offset: Annotated[int | None, Query(ge=0, le=INT64_MAX, description="The first record.")] = None,
    after: Annotated[
        str | None, Query(alias="from", description="After this time of recording, unless `offset` is given.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=RECORDS_MAX)] = RECORDS,
) -> dict[str, Any]:
    """Records as they stand in the log, decoded, in order."""
    log = services.log
    if partition >= log.partitions:
        message = f"there is no partition {partition}; they count 0 to {log.partitions - 1}"
        raise ApiError(404, "unknown_partition", message, "GET /api/log lists them.")
    start, end = _start(log, stream, partition, offset, after), log.highwater(stream, partition)
    items: list[dict[str, Any]] = []
    size = 0
    for record in log.read(stream, partition, start, end) if start < end else ():
        size += len(record.value)
        if items and (size > BYTES_MAX or len(items) == limit):
            return {"items": items, "next": record.offset}
        events = [{"cause": cause, "type": kind, "event": event} for cause, kind, event in decoded(record)]
        items.append(
            {
                "topic": stream,
                "partition": partition,
                "offset": record.offset,
                "timestamp": iso(record.time_ns),
                "key": (record.key or b"").decode(errors="replace"),
                "events": events,
            }
        )
    return {"items": items, "next": None}


def _start(log: Log, stream: str, partition: int, offset: int | None, after: str | None) -> int:
    first = log.earliest(stream, partition)
    if offset is not None:
        return max(offset, first)
    after_ns = time_ns(after, "from")
    return first if after_ns is None else log.offset_at(stream, partition, after_ns // 1_000_000 + 1)
