"""A subscriber as users are told to write one: subscribe, read the snapshot, go on from there."""

import threading
from types import TracebackType
from typing import Any

import msgspec
import redis

ANSWER_S = 0.05

Message = dict[str, Any]


class Session:
    """From one connection to its loss: the snapshot's `seq` (None: there was none), and what followed it."""

    def __init__(self, seq: int | None) -> None:
        self.seq = seq
        self.counted: list[Message] = []
        self.forming: list[Message] = []

    def is_dense(self) -> bool:
        seqs = [message["seq"] for message in self.counted]
        first = seqs[0] if self.seq is None and seqs else (self.seq or 0) + 1
        return seqs == list(range(first, first + len(seqs)))


class Subscriber:
    """Follows one channel in a thread, through losses of the connection, until it is closed."""

    def __init__(self, url: str, channel: str, *, wait: bool = True) -> None:
        """`wait`: until it is subscribed, before the block begins."""
        self.sessions: list[Session] = []
        self._url, self._channel, self._wait = url, channel, wait
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Subscriber":
        self._thread.start()
        if self._wait:
            self.wait_for(lambda: bool(self.sessions))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    @property
    def counted(self) -> list[Message]:
        return [message for session in self.sessions for message in session.counted]

    @property
    def last(self) -> int:
        """The last `seq` it knows, from a snapshot or a message."""
        session = self.sessions[-1]
        return session.counted[-1]["seq"] if session.counted else session.seq or 0

    def wait_for(self, condition: Any, deadline_s: float = 120) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, deadline_s), f"{self._channel}: not in {deadline_s} s"

    def _run(self) -> None:
        while not self._closed.is_set():
            client = redis.Redis.from_url(self._url, socket_timeout=60)
            try:
                self._follow(client)
            except redis.RedisError:
                self._closed.wait(ANSWER_S)
            finally:
                client.close()

    def _follow(self, client: Any) -> None:
        heard = client.pubsub(ignore_subscribe_messages=False)
        # redis-py subscribes again by itself after a loss, and so would hide it
        heard.connection_pool.connection_kwargs["retry"] = None
        heard.subscribe(self._channel)
        assert heard.get_message(timeout=60)["type"] == "subscribe"
        text = client.get(f"{self._channel}:snapshot")
        session = Session(None if text is None else msgspec.json.decode(text)["seq"])
        with self._changed:
            self.sessions.append(session)
            self._changed.notify_all()
        while not self._closed.is_set():
            got = heard.get_message(timeout=ANSWER_S)
            if got is None:
                continue
            if got["type"] == "subscribe":
                raise redis.ConnectionError("the connection was lost and made again")
            self._take(session, msgspec.json.decode(got["data"]))

    def _take(self, session: Session, message: Message) -> None:
        with self._changed:
            if message.get("forming"):
                session.forming.append(message)
            elif session.seq is None or message["seq"] > session.seq:
                session.counted.append(message)
            self._changed.notify_all()
