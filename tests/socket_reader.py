"""A reader of a WebSocket as docs/channels.md tells to write one: it goes on after the last `seq`."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

SILENCE_S = 15.0
AGAIN_S = 0.1

Message = dict[str, Any]


class SocketReader:
    """Follows one socket in a thread, through losses of the connection, until it is closed."""

    def __init__(self, api: str, path: str, authorization: str) -> None:
        self.snapshot: Message = {}
        self.counted: list[Message] = []
        self.failed: list[Message] = []
        """Snapshots after the first: what came before them would be lost."""
        self._url = api.replace("http:", "ws:") + path
        self._headers = {"Authorization": authorization}
        self._socket: ClientConnection | None = None
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "SocketReader":
        self._thread.start()
        self.wait_for(lambda: bool(self.snapshot))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._socket is not None:
            self._socket.close()
        self._thread.join()

    @property
    def last(self) -> int:
        """The last `seq` it knows."""
        return self.counted[-1]["seq"] if self.counted else self.snapshot["seq"]

    def of(self, venue: str) -> list[Message]:
        """What it was told of a venue: those of a market's channel have the symbol in common."""
        return [message for message in self.counted if message.get("venue") == venue]

    def wait_for(self, condition: Callable[[], bool], deadline_s: float = 120) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, deadline_s), f"{self._url}: not in {deadline_s} s"
        assert not self.failed, self.failed

    def _run(self) -> None:
        while not self._ended.is_set():
            since = f"?since={self.last}" if self.snapshot else ""
            try:
                with connect(self._url + since, additional_headers=self._headers) as self._socket:
                    while not self._ended.is_set():
                        self._take(msgspec.json.decode(self._socket.recv(SILENCE_S)))
            except (WebSocketException, OSError):
                self._ended.wait(AGAIN_S)

    def _take(self, message: Message) -> None:
        with self._changed:
            if message["type"] != "snapshot":
                if message["type"] != "heartbeat" and not message.get("forming"):
                    self.counted.append(message)
            elif self.snapshot:
                self.failed.append(message)
            else:
                self.snapshot = message
            self._changed.notify_all()
