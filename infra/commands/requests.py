"""Commands that are given once, however often they are asked for: the request id of each, and its answer.

The fold drops a command whose request id it has seen, but whoever repeats a request wants the answer of the
first. It is kept in a small SQLite file of the home folder. What is about to be written stands there before
the journal does: after a crash between the two, the journal behind that place says whether it was written.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from infra.db.connect import use_wal
from streams.codec import UndecodableError, input_of
from streams.events import Command, CreateBot
from streams.log import Log
from streams.records import Position
from streams.topics import JOURNAL

KEEP_S = 30 * 86_400
BUSY_S = 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    request TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, began INTEGER NOT NULL, ends TEXT NOT NULL,
    answer TEXT
) WITHOUT ROWID
"""


class RequestReusedError(ValueError):
    """The key of a request was used for another one."""


class Answer(msgspec.Struct, frozen=True):
    """Where the commands of a request stand in the journal, as (partition, offset), and the bot it made; how
    many candles that warms on, and how many its indicators need."""

    places: tuple[tuple[int, int], ...]
    bot_id: int | None = None
    warmed: int | None = None
    needed: int | None = None

    @property
    def positions(self) -> list[Position]:
        return [Position(JOURNAL, *place) for place in self.places]


class Requests:
    """Request ids and their answers, for 30 days. Safe to use from several threads."""

    def __init__(self, file: Path, log: Log) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        use_wal(self._database)
        for statement in ("PRAGMA synchronous=FULL", _TABLE):
            self._database.execute(statement)

    def once(self, request: str, fingerprint: str, give: Callable[[], Answer]) -> Answer:
        """The answer of `give`, which writes commands under this request id, or the one it had before.

        Raises `RequestReusedError` where the fingerprint differs from the first one's.
        """
        with self._lock:
            row = self._database.execute(
                "SELECT fingerprint, ends, answer FROM requests WHERE request = ?", (request,)
            ).fetchone()
            if row is None:
                self._begin(request, fingerprint)
            elif row[0] != fingerprint:
                raise RequestReusedError(f"the key {request!r} was used before, for another request")
            elif row[2] is not None:
                return msgspec.json.decode(row[2], type=Answer)
            found = None if row is None else self._written(request, msgspec.json.decode(row[1]))
            answer = found or self._given(request, give)
            self._database.execute(
                "UPDATE requests SET answer = ? WHERE request = ?",
                (msgspec.json.encode(answer).decode(), request),
            )
            return answer

    def close(self) -> None:
        self._database.close()

    def _begin(self, request: str, fingerprint: str) -> None:
        now = int(time.time())
        ends = [self._log.highwater(JOURNAL, p) for p in range(self._log.partitions)]
        self._database.execute("DELETE FROM requests WHERE began < ?", (now - KEEP_S,))
        self._database.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, NULL)",
            (request, fingerprint, now, msgspec.json.encode(ends).decode()),
        )

    def _given(self, request: str, give: Callable[[], Answer]) -> Answer:
        try:
            return give()
        except (ValueError, LookupError):
            # refused before anything was written: the key is free again
            self._database.execute("DELETE FROM requests WHERE request = ?", (request,))
            raise

    def _written(self, request: str, ends: list[int]) -> Answer | None:
        """What the journal holds under this id behind `ends`, in all partitions."""
        places: list[tuple[int, int]] = []
        bot_id = None
        for partition, start in enumerate(ends):
            for record in self._log.read(JOURNAL, partition, start):
                try:
                    event = input_of(record).event
                except UndecodableError:
                    continue  # the fold reports it as a dead letter
                if isinstance(event, Command) and event.request == request:
                    places.append((partition, record.offset))
                    bot_id = event.bot_id if isinstance(event, CreateBot) else bot_id
        return Answer(tuple(places), bot_id) if places else None
