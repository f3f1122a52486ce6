"""Snapshots on a real log: whole or not there, the highest first, found without reading the past."""

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from streams import snapshots
from streams.backends import open_log
from streams.embedded.log import EmbeddedLog
from streams.log import Log
from streams.records import Entry, Position, Record
from streams.snapshots import PIECE_BYTES, Snapshot, SnapshotWriter, latest
from streams.topics import SNAPSHOTS

SMALL = b"small state"
LARGE = bytes(range(256)) * (3 * PIECE_BYTES // 256)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = open_log(f"embedded://{tmp_path}/log", partitions=2)
    yield made
    made.close()


class Sender:
    """Sends through the log itself, which fails after `limit` records as a killed process would."""

    def __init__(self, log: Log, limit: int = 1_000) -> None:
        self._log = log
        self._left = limit

    async def __call__(self, key: bytes, value: bytes) -> Awaitable[Position]:
        if not self._left:
            raise ConnectionError("killed")
        self._left -= 1
        sent: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        sent.set_result(self._log.append([Entry(SNAPSHOTS, key, value, 0, 1)], sync=False)[0])
        return sent


def write(log: Log, *states: tuple[int, bytes], epoch: int = 1, former: Snapshot | None = None) -> None:
    async def run() -> None:
        writer = SnapshotWriter(Sender(log), epoch=epoch, former=former)
        for applied, state in states:
            await writer.write(applied, state)

    asyncio.run(run())


def load(log: Log) -> tuple[Snapshot | None, list[str]]:
    warnings: list[str] = []
    return latest(log, 1, warnings.append), warnings


def manifest_of(log: Log, applied: int) -> Record:
    records = [record for record in log.read(SNAPSHOTS, 1) if b"." not in (record.key or b"")]
    return next(r for r in records if snapshots._decode(r.value).applied == applied)


def spoil(log: EmbeddedLog, record: Record) -> None:
    """Append other bytes where the log compacts `record` away."""
    log.append([Entry(SNAPSHOTS, record.key, b"\x00", 0, 1)])


def test_log_without_snapshots_has_none(log: Log) -> None:
    assert load(log) == (None, [])


@pytest.mark.parametrize("state", [b"", SMALL, LARGE[:PIECE_BYTES], LARGE[: PIECE_BYTES + 1], LARGE])
def test_state_of_any_size_is_read_as_it_was_written(log: Log, state: bytes) -> None:
    write(log, (7, state))
    snapshot, warnings = load(log)
    assert snapshot is not None
    assert (snapshot.applied, snapshot.state, snapshot.sent, warnings) == (7, state, 7, [])


def test_snapshot_of_another_partition_is_not_seen(log: Log) -> None:
    write(log, (7, SMALL))
    assert latest(log, 0, pytest.fail) is None


@pytest.mark.parametrize("written", range(3))
def test_half_written_snapshot_leaves_the_one_before_it(log: Log, written: int) -> None:
    write(log, (7, LARGE))
    former = load(log)[0]

    async def killed() -> None:
        await SnapshotWriter(Sender(log, written), epoch=1, former=former).write(9, LARGE[::-1] + b"more")

    with pytest.raises(ConnectionError):
        asyncio.run(killed())
    assert load(log) == (former, [])


def test_worker_woken_up_with_an_older_state_changes_nothing(log: Log) -> None:
    write(log, (7, LARGE), (90, LARGE + b"new"), epoch=2)
    newest = load(log)[0]
    write(log, (8, b"old"), (9, LARGE), epoch=1)
    assert load(log) == (newest, [])


def test_spoilt_state_yields_the_one_before_and_still_vouches_for_its_outputs(log: EmbeddedLog) -> None:
    write(log, (7, LARGE), (9, LARGE + b"new"))
    piece = snapshots._decode(manifest_of(log, 9).value).pieces[1]
    spoil(log, next(iter(log.read(SNAPSHOTS, 1, piece))))
    snapshot, warnings = load(log)
    assert snapshot is not None
    assert (snapshot.applied, snapshot.state, snapshot.sent) == (7, LARGE, 9)
    assert "snapshot at 9 is not whole" in warnings[0]


def test_without_any_whole_state_only_the_position_of_the_outputs_is_known(log: EmbeddedLog) -> None:
    write(log, (9, LARGE))
    piece = snapshots._decode(manifest_of(log, 9).value).pieces[0]
    spoil(log, next(iter(log.read(SNAPSHOTS, 1, piece))))
    assert load(log)[0] == Snapshot(-1, None, 9, "")


def test_bytes_that_are_no_manifest_are_passed_over_and_named(log: EmbeddedLog) -> None:
    write(log, (7, SMALL), (9, SMALL))
    spoil(log, manifest_of(log, 9))
    snapshot, warnings = load(log)
    assert snapshot is not None
    assert snapshot.applied == 7
    assert "snapshots:1:2: not a snapshot manifest" in warnings[0]


def test_number_of_records_read_does_not_grow_with_the_log(log: Log) -> None:
    class Counting:
        count = 0

        def __getattr__(self, name: str) -> object:
            return getattr(log, name)

        def read(self, *place: object) -> Iterator[Record]:
            for record in log.read(*place):
                self.count += 1
                yield record

    async def keyed_apart() -> None:
        """As on Kafka, where nothing is compacted for a long time."""
        for applied in range(300):
            writer = SnapshotWriter(Sender(log), epoch=1, former=None)
            writer._slots = [f"{applied}"]
            await writer.write(applied, SMALL)

    asyncio.run(keyed_apart())
    counting = Counting()
    snapshot = latest(counting, 1, pytest.fail)
    assert snapshot is not None
    assert snapshot.applied == 299
    assert counting.count <= 2 * snapshots.SCAN_RECORDS
