"""The count of the channels: what `seq` stands at, how far the log is counted, and where each `seq` stands.

Unlike the projections these rows depend on the order in which partitions were read, so they have tables of
their own that `rebuild` leaves alone: a `seq` that was once given stays.

Why: ADR 10.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    delete,
    func,
    select,
    update,
)

from infra.channels.messages import Snapshot
from infra.db.bulk import write
from infra.db.connect import writing
from infra.db.projector import Place, Reached
from infra.db.schema import open_database
from infra.db.tables import KEY
from infra.db.tables import metadata as projections
from streams.causes import Seen

NAMES_MAX = 500
"""Channels asked for in one query."""
RUNS_MAX = 100
"""Runs read in one query: a channel of a bot changes between streams all the time."""

metadata = MetaData(naming_convention=projections.naming_convention)


def _integers(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, autoincrement=False) for name in names]


def _table(name: str, *columns: Column[Any], key: tuple[str, ...]) -> Table:
    return Table(name, metadata, *columns, PrimaryKeyConstraint(*key), sqlite_with_rowid=False)


channels = _table(
    "channels",
    Column("channel", KEY, nullable=False),
    *_integers("seq"),
    Column("snapshot", Text, nullable=False),
    key=("channel",),
)
"""The last `seq` of each channel, and its snapshot as readers get it."""

channel_runs = _table(
    "channel_runs",
    Column("channel", KEY, nullable=False),
    *_integers("first_seq"),
    Column("topic", Text, nullable=False),
    *_integers("partition", "offset", "cause_offset"),
    Column("cause_indexes", Text, nullable=False),
    key=("channel", "first_seq"),
)
"""From `first_seq` to the next run, the messages of a channel are its events in one partition of one stream,
from `offset` on. `cause_offset` and `cause_indexes` are the last causes before it, as in `positions`."""

mirror_positions = _table(
    "mirror_positions",
    Column("topic", KEY, nullable=False),
    *_integers("partition", "offset", "cause_offset"),
    Column("cause_indexes", Text, nullable=False),
    key=("topic", "partition"),
)
"""The last record counted of each stream and partition, and the last causes there."""

mirror_turns = _table("mirror_turns", *_integers("id", "turn"), key=("id",))
"""One row, whose `turn` every transaction of a mirror raises: of two mirrors the slower one fails."""


class Run(msgspec.Struct, frozen=True):
    """Where the messages of a channel from `first_seq` on stand in the log; `before`: what was seen then."""

    first_seq: int
    place: Place
    offset: int
    before: Seen


class Counted(msgspec.Struct):
    """Everything that is counted: snapshots and open runs by channel, positions, and the turn."""

    snapshots: dict[str, Snapshot]
    runs: dict[str, Run]
    positions: dict[Place, Reached]
    turn: int


class OvertakenError(Exception):
    """Another mirror counted meanwhile; nothing was written."""


class ChannelStore:
    """The tables of the channels. Safe to use from several threads and processes."""

    def __init__(self, database: str | Engine) -> None:
        """`database`: its URL, or what is open already. Raises `SchemaError` for a URL whose database is not
        migrated to this version."""
        self._engine = open_database(database) if isinstance(database, str) else database

    def load(self) -> Counted:
        """Everything, from one moment."""
        newest = (
            select(channel_runs.c.channel, func.max(channel_runs.c.first_seq).label("first_seq"))
            .group_by(channel_runs.c.channel)
            .subquery()
        )
        open_runs = select(channel_runs).join(
            newest,
            (newest.c.channel == channel_runs.c.channel) & (newest.c.first_seq == channel_runs.c.first_seq),
        )
        with self._reading() as connection:
            rows = connection.execute(select(channels.c.channel, channels.c.snapshot))
            places = connection.execute(select(mirror_positions))
            runs = connection.execute(open_runs)
            return Counted(
                {row.channel: Snapshot.decode(row.snapshot) for row in rows},
                {row.channel: _run(row) for row in runs},
                {(row.topic, row.partition): Reached(row.offset, _seen(row)) for row in places},
                self._turn(connection),
            )

    def turn(self) -> int:
        with self._reading() as connection:
            return self._turn(connection)

    def write(
        self,
        turn: int,
        snapshots: Mapping[str, Snapshot],
        positions: Mapping[Place, Reached],
        runs: Iterable[tuple[str, Run]],
    ) -> None:
        """Write what was counted after `turn`, in one transaction. Raises `OvertakenError`."""
        with writing(self._engine).begin() as connection:
            self._take_turn(connection, turn)
            rows = [(channel, at.seq, at.encode().decode()) for channel, at in snapshots.items()]
            write(connection, channels, rows, replace=True)
            rows = [(*place, at.offset, *_columns(at.seen)) for place, at in positions.items()]
            write(connection, mirror_positions, rows, replace=True)
            rows = [(channel, *_run_columns(run)) for channel, run in runs]
            write(connection, channel_runs, rows, replace=True)

    def forget_log(self, turn: int) -> None:
        """Forget positions and runs, which are of another log; each `seq` stays. Raises `OvertakenError`."""
        with writing(self._engine).begin() as connection:
            self._take_turn(connection, turn)
            connection.execute(delete(mirror_positions))
            connection.execute(delete(channel_runs))

    def snapshot(self, channel: str) -> Snapshot:
        """The newest of a channel; `seq` 0 for one that never had a message."""
        with self._reading() as connection:
            text = connection.scalar(select(channels.c.snapshot).where(channels.c.channel == channel))
            return Snapshot() if text is None else Snapshot.decode(text)

    def sequences(self, names: Iterable[str]) -> dict[str, int]:
        """The last `seq` of each of these channels, 0 for one that never had a message."""
        wanted = list(names)
        found = dict.fromkeys(wanted, 0)
        with self._reading() as connection:
            for start in range(0, len(wanted), NAMES_MAX):
                named = channels.c.channel.in_(wanted[start : start + NAMES_MAX])
                rows = connection.execute(select(channels.c.channel, channels.c.seq).where(named))
                found.update((row.channel, row.seq) for row in rows)
        return found

    def runs_after(self, channel: str, since: int) -> tuple[int, list[tuple[Run, int]]]:
        """The last `seq` of a channel, and the first runs that hold its messages after `since`, each with the
        last `seq` in it."""
        run = channel_runs.c
        with self._reading() as connection:
            last = connection.scalar(select(channels.c.seq).where(channels.c.channel == channel)) or 0
            if since >= last:
                return last, []
            first = (
                select(func.max(run.first_seq))
                .where(run.channel == channel, run.first_seq <= since + 1)
                .scalar_subquery()
            )
            query = select(channel_runs).where(
                run.channel == channel, run.first_seq >= func.coalesce(first, 0)
            )
            rows = connection.execute(query.order_by(run.first_seq).limit(RUNS_MAX + 1))
            runs = [_run(row) for row in rows]
            ends = [*(following.first_seq - 1 for following in runs[1:]), last]
            return last, list(zip(runs, ends, strict=bool(runs)))[:RUNS_MAX]

    def close(self) -> None:
        self._engine.dispose()

    def _reading(self) -> Any:
        """A transaction whose queries all see one moment."""
        isolated = self._engine.dialect.name == "postgresql"
        options = {"isolation_level": "REPEATABLE READ"} if isolated else {}
        return self._engine.execution_options(**options).begin()

    def _turn(self, connection: Connection) -> int:
        return connection.scalar(select(mirror_turns.c.turn)) or 0

    def _take_turn(self, connection: Connection, turn: int) -> None:
        taken = connection.execute(
            update(mirror_turns).where(mirror_turns.c.turn == turn).values(turn=turn + 1)
        )
        if taken.rowcount != 1:
            raise OvertakenError(f"another mirror counted beside this one; turn {turn} is over")


def _columns(seen: Seen) -> tuple[int, str]:
    return seen.offset, msgspec.json.encode(seen.indexes).decode()


def _run_columns(run: Run) -> tuple[Any, ...]:
    return (run.first_seq, *run.place, run.offset, *_columns(run.before))


def _seen(row: Any) -> Seen:
    return Seen(row.cause_offset, msgspec.json.decode(row.cause_indexes, type=dict[str, int]))


def _run(row: Any) -> Run:
    return Run(row.first_seq, (row.topic, row.partition), row.offset, _seen(row))
