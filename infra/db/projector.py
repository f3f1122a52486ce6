"""From the derived streams to rows: one transaction for a batch of records and the positions it reaches.

Records come at least once and in order per (topic, partition). What comes again is hidden twice over: a
record at or before the stored offset was applied before; an event that repeats a cause (`streams.causes`) was
written by a worker that crashed and folded again.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Table, and_, column, select, tuple_, values
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from infra.db import tables
from infra.db.bulk import write, write_missing
from infra.db.connect import is_out_of_reach, writing
from infra.db.rows import SYSTEM_EVENTS, Changes, Row, merge_orders, merge_positions
from infra.db.schema import open_database
from infra.process import telemetry
from infra.process.errors import one_line
from streams.agents.sinks import SinkUnreachableError
from streams.causes import Seen
from streams.codec import UndecodableError, output_of
from streams.events import Checkpoint
from streams.log import Log
from streams.records import Output, Record, dead_letter
from streams.topics import SYSTEM, is_market_key

KEYS_PER_QUERY = 500
_UNFIT = (OverflowError, ValueError, DataError)
"""What the drivers raise for a value that fits the wire, but no column."""
_NO_MARKET = (*SYSTEM_EVENTS, Checkpoint)

Place = tuple[str, int]
"""Topic and partition."""


class ProjectionError(Exception):
    """The database and the log disagree; the message names both and what to do."""


class ProjectionGapError(ProjectionError):
    """A record is not the one after the stored position: applying it would leave a hole."""


class RowTakenError(ProjectionError):
    """A row that was to be inserted stands already."""

    def __init__(self, database: Engine, table: Table, rows: list[tuple[Any, ...]], error: Exception) -> None:
        super().__init__(
            f"database {_shown(database)}: table {table.name} holds a row already that the log gives"
            f" anew ({one_line(error)}); it was changed by another program or made of another log: run"
            " `tcpdashboard rebuild`"
        )
        self.table = table
        self._rows = rows

    def is_accounted_for(self, connection: Connection, record: Record) -> bool:
        """Whether what stands there is of records that the stored position counts as applied."""
        place = (record.topic, record.partition)
        seen = _load_positions(connection, {place})[place].seen
        names = self.table.columns.keys()
        key = [names.index(column.name) for column in self.table.primary_key.columns]
        standing = _load(connection, self.table, {tuple(row[at] for at in key) for row in self._rows})
        others = (row["cause_offset"] for row in standing if row["cause_partition"] == record.partition)
        return all(0 <= offset <= seen.offset for offset in others)


class Applied(NamedTuple):
    """What a call of `apply` did: records applied, records known already, events that were repeats of a
    cause, records that became dead letters."""

    records: int = 0
    known: int = 0
    repeats: int = 0
    dead_letters: int = 0

    def __add__(self, other: "Applied") -> "Applied":  # type: ignore[override] - sums, where a tuple would join
        return Applied(*(a + b for a, b in zip(self, other, strict=True)))


class Reached(msgspec.Struct):
    """A stored position: the last offset applied, and the causes seen up to there."""

    offset: int | None = None
    seen: Seen = msgspec.field(default_factory=Seen)


class DatabaseSink:
    """The database as a sink of the derived streams. Safe to use from several threads and processes."""

    def __init__(self, url: str, update_bot: "UpdateBot | None" = None) -> None:
        """`update_bot` writes the new state of a bot: `BotManager.update_bot_state` in a worker.

        Raises `SchemaError` when the database is not migrated to this version.
        """
        self._database = open_database(url)
        self._update_bot = update_bot or write_bot_state

    def positions(self) -> dict[Place, int]:
        """The last offset applied, by (topic, partition); those without any are missing.

        Raises `SinkUnreachableError` while there is no connection to the database.
        """
        columns = tables.positions.c
        with self._reaching(), self._database.connect() as connection:
            rows = connection.execute(select(columns.topic, columns.partition, columns.offset))
            return {(topic, partition): offset for topic, partition, offset in rows}

    def check(self, log: Log) -> None:
        """Raises `ProjectionGapError` when the database has gone further than `log`: it is another log's."""
        for (topic, partition), offset in self.positions().items():
            end = log.highwater(topic, partition) if partition < log.partitions else 0
            if offset >= end:
                raise ProjectionGapError(
                    f"database {_shown(self._database)} has applied {topic}:{partition}:{offset}, but log"
                    f" {log.url} ends before offset {end}: it was made of another log; name that one, or"
                    " run `tcpdashboard rebuild`"
                )

    def apply(self, records: Sequence[Record]) -> Applied:
        """Apply all records and their positions in one transaction, or nothing.

        Raises `SinkUnreachableError` while there is no connection to the database; if it broke in the middle,
        the records may be applied or not: give them again.
        Raises `ProjectionGapError` where records are missing after the stored position, `ProjectionError`
        where a row stands already that no stored position accounts for.
        """
        with self._reaching(), writing(self._database).begin() as connection:
            applied = project(connection, records, self._update_bot)
        telemetry.DEAD_LETTERS.inc(applied.dead_letters)
        return applied

    def close(self) -> None:
        self._database.dispose()

    @contextmanager
    def _reaching(self) -> Generator[None]:
        try:
            yield
        except DBAPIError as error:
            if not is_out_of_reach(error, self._database):
                raise
            reason = str(error.orig).strip().partition("\n")[0]
            raise SinkUnreachableError(f"database {_shown(self._database)}: {reason}") from error


BotState = tuple[Any, ...]
"""A row of the table `bots`, in the order of its columns."""
UpdateBot = Callable[[int, BotState, Connection], None]
"""Write the state of a bot, by its id, within the transaction of a connection."""


def write_bot_state(_bot_id: int, state: BotState, connection: Connection) -> None:
    write(connection, tables.bots, [state], replace=True)


def project(
    connection: Connection, records: Sequence[Record], update_bot: UpdateBot = write_bot_state
) -> Applied:
    """`DatabaseSink.apply` within the caller's transaction."""
    try:
        with connection.begin_nested():
            return _project(connection, records, output_of, update_bot)
    except (*_UNFIT, RowTakenError):
        # of some record no table takes all; to check each beforehand would cost a third of the speed
        return sum((_project_one(connection, record, update_bot) for record in records), Applied())


def _project_one(connection: Connection, record: Record, update_bot: UpdateBot) -> Applied:
    """A record that the tables cannot take becomes a dead letter."""
    reason = ""

    def refused(_: Record) -> Output:
        raise UndecodableError(reason)

    try:
        with connection.begin_nested():
            return _project(connection, [record], _decode_checked, update_bot)
    except RowTakenError as error:
        if not error.is_accounted_for(connection, record):
            raise
        reason = f"table {error.table.name} holds a row already that it gives anew, of another cause"
    except _UNFIT as error:
        reason = f"no table takes it: {one_line(error)}"
    return _project(connection, [record], refused, update_bot)


def _project(
    connection: Connection,
    records: Sequence[Record],
    decode: Callable[[Record], Output],
    update_bot: UpdateBot,
) -> Applied:
    reached = _load_positions(connection, {(record.topic, record.partition) for record in records})
    changes = Changes()
    applied = known = repeats = dead = 0
    for record in records:
        position = reached[record.topic, record.partition]
        if position.offset is not None and record.offset <= position.offset:
            known += 1
            continue
        if position.offset is not None and record.offset != position.offset + 1:
            raise ProjectionGapError(_gap(connection, record, position.offset))
        position.offset = record.offset
        applied += 1
        try:
            repeats += _add(changes, record, decode, position)
        except UndecodableError as error:
            dead += 1
            letter = dead_letter(record, str(error))
            changes.add_system(_text(record.key), letter, (record.partition, -1, -1), record)
    _write_changes(connection, changes, update_bot)
    _write_positions(connection, reached)
    return Applied(applied, known, repeats, dead)


def _add(changes: Changes, record: Record, decode: Callable[[Record], Output], position: Reached) -> int:
    """Add a record's new events to `changes` and move the cause of `position`; returns the repeats."""
    output = decode(record)
    market = _text(record.key)
    check_output(record, output, market)
    if record.topic != SYSTEM and _is_market_key(market):
        changes.markets.add(market)
    first = position.seen.repeats(market, output.offset, output.indexes)
    changes.add(market, output, first, record)
    return first


def check_output(record: Record, output: Output, market: str) -> None:
    """Raises `UndecodableError` for an output that cannot be what it says."""
    if len(output.indexes) != len(output.events):
        raise UndecodableError(f"{len(output.events)} events with {len(output.indexes)} indexes")
    if output.offset >= 0 and output.partition != record.partition:
        raise UndecodableError(
            f"its cause lies in journal partition {output.partition}, not {record.partition}"
        )
    if not _is_market_key(market):
        for event in output.events:
            if not isinstance(event, _NO_MARKET):
                raise UndecodableError(f"its key {market!r} is not venue:symbol")


_is_market_key = lru_cache(maxsize=4_096)(is_market_key)


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace").replace("\0", "\ufffd")


def _decode_checked(record: Record) -> Output:
    output = output_of(record)
    for leaf in _leaves(output):
        if isinstance(leaf, str) and "\0" in leaf:
            raise UndecodableError(f"the text {leaf!r} holds a NUL, which PostgreSQL does not store")
    return output


def _leaves(output: Output) -> Iterator[Any]:
    """All plain values in an output, keys of mappings too."""
    nested: list[Any] = [msgspec.to_builtins(output)]
    while nested:
        value = nested.pop()
        if isinstance(value, dict):
            nested.extend(value.keys())
            nested.extend(value.values())
        elif isinstance(value, list | tuple):
            nested.extend(value)
        else:
            yield value


def _gap(connection: Connection, record: Record, stored: int) -> str:
    return (
        f"database {_shown(connection.engine)} has applied {record.topic}:{record.partition} up to offset"
        f" {stored}, and got {record.offset}: continue from its stored positions, or run"
        " `tcpdashboard rebuild`"
    )


def _shown(database: Engine) -> str:
    return database.url.render_as_string()


# ------------------------------------------------------------------ reading and writing rows


def _load_positions(connection: Connection, places: set[Place]) -> dict[Place, Reached]:
    """Stored positions, locked until the end of the transaction; one without any where there is none."""
    table = tables.positions
    key = tuple_(table.c.topic, table.c.partition)
    stored = select(table).where(key.in_(sorted(places))).with_for_update()
    rows = connection.execute(stored).all()
    missing = places - {(row.topic, row.partition) for row in rows}
    if missing:
        # to be locked a place needs a row: another worker may be about to apply its first records
        write_missing(connection, table, [(*place, -1, -1, "{}") for place in sorted(missing)])
        rows = connection.execute(stored).all()
    reached: dict[Place, Reached] = {}
    for row in rows:
        indexes = msgspec.json.decode(row.cause_indexes, type=dict[str, int])
        offset = None if row.offset < 0 else row.offset
        reached[row.topic, row.partition] = Reached(offset, Seen(row.cause_offset, indexes))
    return reached


def _write_positions(connection: Connection, reached: dict[Place, Reached]) -> None:
    rows = [
        (*place, at.offset, at.seen.offset, msgspec.json.encode(at.seen.indexes).decode())
        for place, at in sorted(reached.items())
    ]
    write(connection, tables.positions, rows, replace=True)


def _write_changes(connection: Connection, changes: Changes, update_bot: UpdateBot) -> None:
    for table, rows in changes.inserts.items():
        _insert(connection, table, rows)
    _write_markets(connection, changes)
    for bot_id, state in changes.bots.items():
        update_bot(bot_id, state, connection)
    orders = {_order_key(row): row for row in _load(connection, tables.orders, changes.order_keys())}
    _write_rows(connection, tables.orders, merge_orders(changes, orders))
    traders = {(fill.bot_id,) for _, fill, _ in changes.fills}
    positions = {row["bot_id"]: row for row in _load(connection, tables.bot_positions, traders)}
    _write_rows(connection, tables.bot_positions, merge_positions(changes, positions))


def _insert(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    try:
        write(connection, table, rows)
    except IntegrityError as error:
        raise RowTakenError(connection.engine, table, rows, error) from error


def _write_markets(connection: Connection, changes: Changes) -> None:
    known = {
        row["market"] for row in _load(connection, tables.markets, {(market,) for market in changes.markets})
    }
    rows = [(market, *market.split(":", 1)) for market in sorted(changes.markets - known)]
    write(connection, tables.markets, rows, replace=True)


def _order_key(row: Row) -> tuple[int, int, int, int]:
    return (row["bot_id"], row["cause_partition"], row["cause_offset"], row["cause_index"])


def _load(connection: Connection, table: Table, keys: set[tuple[Any, ...]]) -> list[Row]:
    """The rows with these primary keys, as dicts."""
    key = list(table.primary_key.columns)
    ordered = sorted(keys)
    rows: list[Row] = []
    for start in range(0, len(ordered), KEYS_PER_QUERY):
        # joined, since SQLite answers `(a, b) IN (…)` by reading the whole table
        wanted = values(*(column(c.name, c.type) for c in key)).data(ordered[start : start + KEYS_PER_QUERY])
        sought = wanted.cte("sought")
        same = and_(*(c == sought.c[c.name] for c in key))
        query = select(table).select_from(sought.join(table, same))
        rows.extend(dict(row) for row in connection.execute(query).mappings())
    return rows


def _write_rows(connection: Connection, table: Table, rows: list[Row]) -> None:
    names = table.columns.keys()
    write(connection, table, [tuple(row[name] for name in names) for row in rows], replace=True)
