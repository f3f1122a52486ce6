"""A channel that has readers: its newest messages, and what each reader has of it."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from api.http.wire import Wire, text_frame
from infra.channels.messages import GAP
from infra.channels.reader import ChannelReader, Message

CHUNK_BYTES = 16_000
"""Sent at once, and so at most what waits for a reader beside the kernel's buffer, unless one message has
more."""
RECENT_BYTES = 256_000
"""Of a channel's newest messages, kept for all who are a little behind."""


class Framed(NamedTuple):
    """A message ready to be sent. `first` 0: outside the count, behind `seq`."""

    first: int
    seq: int
    frame: bytes


class _Head(msgspec.Struct):
    seq: int
    type: str
    forming: bool = False
    first: int | None = None


_head = msgspec.json.Decoder(_Head)


class Reader:
    """A socket as the hub sees it. `seq`: the last counted message sent; None: a snapshot is due."""

    def __init__(self, wire: Wire, seq: int | None) -> None:
        self.wire = wire
        self.seq = seq
        self.woken = asyncio.Event()
        self.source: ChannelReader | None = None
        self.messages: Iterator[Message] = iter(())

    def push(self, framed: Sequence[Framed]) -> None:
        """Send counted messages, which follow what it has."""
        for one in framed:
            self.seq = one.seq
        self.wire.push(b"".join(one.frame for one in framed))


class Channel:
    """A channel that has readers: its newest messages, and those who get the next one at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seq: int | None = None
        """The last message here; None until the first reader has found out."""
        self.is_due = False
        """Whether it is to be read from the log, once more where that is under way."""
        self.readers: set[Reader] = set()
        self.live: set[Reader] = set()
        self.pulling: asyncio.Task[None] | None = None
        self.source: ChannelReader | None = None
        self._recent: deque[Framed] = deque()
        self._recent_bytes = 0
        self._fresh: list[Framed] = []
        self._fresh_bytes = 0
        self._fresh_after = 0

    def hear(self, text: bytes) -> bool:
        """Take a message from Redis; False when there is a hole before it. Raises `msgspec.DecodeError`."""
        head = _head.decode(text)
        first = head.first or head.seq
        if head.forming or (head.type == GAP and head.first is None):
            if head.seq == self.seq:  # else it is older than what readers have, or there is a hole
                self._send(Framed(0, head.seq, text_frame(text)), head.seq)
            first = head.seq + 1
        elif self.seq is not None and first <= self.seq + 1:
            self.add(first, head.seq, text)
        return self.seq is None or first <= self.seq + 1

    def add(self, first: int, seq: int, text: bytes) -> None:
        """Take the message that follows; one that is here already is let go."""
        if self.seq is None or seq <= self.seq:
            return
        before, self.seq = self.seq, seq
        framed = Framed(first, seq, text_frame(text))
        self._recent.append(framed)
        self._recent_bytes += len(framed.frame)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft().frame)
        self._send(framed, before)

    def after(self, seq: int) -> list[Framed] | None:
        """The first of what follows `seq` here, one chunk; None where it is not here."""
        if self.seq is None or seq > self.seq:
            return None
        if seq < self.seq and (not self._recent or self._recent[0].first > seq + 1):
            return None
        found: list[Framed] = []
        size_bytes = 0
        for framed in self._recent:
            if framed.seq > seq:
                size_bytes += len(framed.frame)
                if found and size_bytes > CHUNK_BYTES:
                    break
                found.append(framed)
        return found

    def restart(self, seq: int) -> None:
        """The count was set back, so this is another database: for readers everything begins anew."""
        self.seq = seq
        self._recent.clear()
        self._fresh.clear()
        self._recent_bytes = self._fresh_bytes = 0
        for reader in tuple(self.live):
            reader.seq = None
            self.wake(reader)

    def _send(self, framed: Framed, before: int) -> None:
        """Soon, with what comes in the same moment, in one piece; `before`: the count before it."""
        if self._fresh_bytes + len(framed.frame) > CHUNK_BYTES:
            self._flush()
        if not self._fresh:
            self._fresh_after = before
            asyncio.get_running_loop().call_soon(self._flush)
        self._fresh.append(framed)
        self._fresh_bytes += len(framed.frame)

    def _flush(self) -> None:
        fresh, self._fresh, self._fresh_bytes = self._fresh, [], 0
        if not fresh:  # it went ahead, when there was a chunk of it
            return
        counted = [one for one in fresh if one.first]
        whole = b"".join(one.frame for one in fresh)
        for reader in tuple(self.live):
            seq = reader.seq or 0
            if not reader.wire.is_free:
                if counted:  # a forming candle is soon followed by another
                    self.wake(reader)
            elif seq == self._fresh_after:
                reader.wire.push(whole)
                reader.seq = fresh[-1].seq
            else:  # it has read further in the log than Redis has told
                reader.push([one for one in counted if one.seq > seq])

    def wake(self, reader: Reader) -> None:
        """A reader that is live is behind now."""
        self.live.discard(reader)
        reader.woken.set()
