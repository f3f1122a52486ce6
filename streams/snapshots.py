"""Snapshots: the fold's state in the topic `snapshots`; with them a restart refolds only the tail.

A snapshot is its last record, the *manifest*, which holds the position, the length and the SHA-256
of the state, its last piece, and the offsets of the pieces before it; without its manifest a
snapshot does not exist. A small state is one record. Each snapshot goes to another slot (a set of
record keys) than the one before it, so that compaction never takes the pieces of the last good one;
writers of neighbouring epochs share no slot, since an old one may wake up and write once more.

A manifest also vouches that every output up to its position is in the log. That stays true when its
state is spoilt, so the fold can be made anew from an older one without sending those outputs again.

Why: ADR 3.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from streams.causes import Int
from streams.log import Log
from streams.records import Record
from streams.topics import SNAPSHOTS

PIECE_BYTES = 850_000
"""Of the state in one record; with the manifest's fields it stays below `RECORD_BYTES_MAX`."""
PIECES_MAX = 1_000
MANIFESTS = 3
"""So many of the last are looked at: an old writer that woke up may have written after it."""
SCAN_RECORDS = 32
SCAN_RECORDS_MAX = 2 * PIECES_MAX


class Snapshot(NamedTuple):
    """State after the journal record `applied`; outputs up to `sent` ≥ `applied` are in the log.

    `state` None with `applied` −1: no state could be read, the fold begins at the journal's start.
    """

    applied: int
    state: bytes | None
    sent: int
    slot: str


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    applied: Int
    length: Int
    sha256: bytes
    pieces: tuple[Int, ...]
    last: bytes


class Sent(Protocol):
    @property
    def offset(self) -> int: ...


Send = Callable[[bytes, bytes], Awaitable[Awaitable[Sent]]]
"""Send key and value to the partition of `snapshots`; the inner awaitable: its acknowledgement."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Manifest).decode


class SnapshotWriter:
    """Writes the snapshots of one partition; the slot of `former`, which was loaded, is spared."""

    def __init__(self, send: Send, *, epoch: int, former: Snapshot | None) -> None:
        self._send = send
        self._slots = [f"{epoch % 2}{turn}" for turn in range(2)]
        if former is not None and former.slot == self._slots[0]:
            self._slots.reverse()

    async def write(self, applied: int, state: bytes) -> None:
        """Returns when the log has acknowledged all of it. Raises what `send` raises."""
        slot = self._slots[0]
        pieces = [state[at : at + PIECE_BYTES] for at in range(0, len(state), PIECE_BYTES)] or [b""]
        sent = [
            await self._send(f"{slot}.{index}".encode(), piece) for index, piece in enumerate(pieces[:-1])
        ]
        offsets = tuple([(await piece).offset for piece in sent])
        manifest = Manifest(applied, len(state), _sha256(state), offsets, pieces[-1])
        await (await self._send(slot.encode(), _encode(manifest)))
        self._slots.reverse()


def latest(log: Log, partition: int, warn: Callable[[str], None]) -> Snapshot | None:
    """The snapshot of the highest position whose state is whole; None when there is no manifest.

    Reads a bounded number of records at the end of the topic, however old the log is. `warn` is
    told of every snapshot that was found spoilt.
    """
    manifests = sorted(_last_manifests(log, partition, warn), key=lambda m: m[1].applied, reverse=True)
    if not manifests:
        return None
    sent = manifests[0][1].applied
    for record, manifest in manifests:
        state = _state(log, partition, manifest)
        if state is not None:
            return Snapshot(manifest.applied, state, sent, (record.key or b"").decode())
        warn(f"{_place(record)}: snapshot at {manifest.applied} is not whole and is passed over")
    return Snapshot(-1, None, sent, "")


def _last_manifests(log: Log, partition: int, warn: Callable[[str], None]) -> list[tuple[Record, Manifest]]:
    """The last `MANIFESTS` or a few more, looked for in growing windows from the end."""
    earliest, end = log.earliest(SNAPSHOTS, partition), log.highwater(SNAPSHOTS, partition)
    found: list[tuple[Record, Manifest]] = []
    stop, lowest, window = end, max(earliest, end - SCAN_RECORDS_MAX), SCAN_RECORDS
    while stop > lowest and len(found) < MANIFESTS:
        start = max(lowest, stop - window)
        found.extend(_manifests(log.read(SNAPSHOTS, partition, start, stop), warn))
        stop, window = start, 2 * window
    return found


def _manifests(records: Iterator[Record], warn: Callable[[str], None]) -> Iterator[tuple[Record, Manifest]]:
    for record in records:
        if record.key is None or b"." in record.key:
            continue
        try:
            yield record, _decode(record.value)
        except Exception as error:  # noqa: BLE001 - bytes may be wrong in more ways than a DecodeError
            warn(f"{_place(record)}: not a snapshot manifest, passed over: {error}")


def _state(log: Log, partition: int, manifest: Manifest) -> bytes | None:
    offsets = manifest.pieces
    pieces: dict[int, bytes] = {}
    if offsets and offsets[-1] - offsets[0] < SCAN_RECORDS_MAX:
        span = log.read(SNAPSHOTS, partition, offsets[0], offsets[-1] + 1)
        pieces = {record.offset: record.value for record in span}
    state = b"".join([*(pieces.get(offset, b"") for offset in offsets), manifest.last])
    whole = len(state) == manifest.length and _sha256(state) == manifest.sha256
    return state if whole else None


def _sha256(state: bytes) -> bytes:
    return hashlib.sha256(state).digest()


def _place(record: Record) -> str:
    return f"{record.topic}:{record.partition}:{record.offset}"
