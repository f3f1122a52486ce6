"""Publishing to Redis: a channel's messages and its snapshot in one atomic step, many channels in one trip.

The script goes by what stands in Redis, never by what this process believes: a message is published once, in
its order, also after a restart of either side and by two mirrors at once.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError, ResponseError

from infra.channels.messages import snapshot_key

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
KEYS_PER_TRIP = 1_000
NONE = -1
"""Stands for the `seq` of a channel that has no snapshot."""

_PUBLISH = b"""
local found = redis.pcall('GETRANGE', KEYS[1], 0, 31)
local head = type(found) == 'string' and string.match(found, '^{"seq":(%d+)')
local stored, first, last = tonumber(head or -1), tonumber(ARGV[2]), tonumber(ARGV[3])
if stored >= last then return stored end
if first > math.max(stored, 0) + 1 then return stored end
for i = 5 + math.max(stored + 1 - first, 0), #ARGV do redis.call('PUBLISH', ARGV[1], ARGV[i]) end
redis.call('SET', KEYS[1], ARGV[4])
return last
"""
"""KEYS: snapshot key; ARGV: channel, first and last seq, snapshot, messages. Returns the seq that stands
afterwards: less than `last` when messages are missing before `first`, and nothing was done."""

_UNCOUNTED = b"""
local snapshot, known = redis.pcall('GET', KEYS[1]) or '', tonumber(ARGV[3])
if type(snapshot) ~= 'string' then return 0 end
if known > 0 then
    local _, last = string.find(snapshot, string.sub(ARGV[2], 1, known), 1, true)
    local closed = last and string.sub(snapshot, last + 1, last + 20)
    if closed and closed >= string.sub(ARGV[2], known + 1, known + 20) then return 0 end
end
local seq = string.match(snapshot, '^{"seq":(%d+)') or '0'
return redis.call('PUBLISH', ARGV[1], '{"seq":' .. seq .. ',' .. ARGV[2])
"""
"""KEYS: snapshot key; ARGV: channel, message without its head, length of what stands before its candle's end,
0 for no candle. Published with the last seq, not counted; nothing for a minute that has closed, or beside a
key of another type, which tells no seq."""
_END = b'"timestamp":"'
_SEQ = re.compile(rb'{"seq":(\d+)')
"""As in the scripts: what somebody else put there, of whatever type, has none, and is replaced."""


class Batch(NamedTuple):
    """Messages of a channel with seq from `first` to `last`, and the snapshot behind them."""

    channel: str
    first: int
    last: int
    snapshot: bytes
    messages: Sequence[bytes]


class Publisher:
    """One connection to Redis. Its methods raise `RedisError`; it is then of no more use: open another."""

    def __init__(self, url: str) -> None:
        """Connects. Raises `RedisError` or `ValueError` for a URL that is none."""
        self._client = redis.Redis.from_url(
            url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S, client_name="tcpdashboard-mirror"
        )
        try:
            self._connection: Any = self._client.connection_pool.get_connection()
            self._trip([_command(b"SCRIPT", b"LOAD", script) for script in (_PUBLISH, _UNCOUNTED)])
        except BaseException:
            self._client.close()
            raise

    def publish(self, batches: Sequence[Batch]) -> list[int]:
        """Publish what follows in Redis; the `seq` that stands there afterwards, by batch."""
        return self._trip([_publish_command(batch) for batch in batches])

    def publish_uncounted(self, bodies: Iterable[tuple[str, bytes]]) -> None:
        """Publish messages by channel, without their head, with the channel's last `seq`."""
        commands: list[bytes] = []
        for channel, body in bodies:
            known = b"%d" % (body.find(_END) + len(_END) if _END in body else 0)
            key, name = snapshot_key(channel).encode(), channel.encode()
            commands.append(_command(b"EVALSHA", _UNCOUNTED_SHA, b"1", key, name, body, known))
        self._trip(commands)

    def snapshots(self, channels: Sequence[str]) -> list[bytes | None]:
        """The snapshot of each channel; None without one."""
        return self._by_key(b"GET", channels)

    def sequences(self, channels: Sequence[str]) -> list[int]:
        """The `seq` of each channel's snapshot, `NONE` without one."""
        heads = self._by_key(b"GETRANGE", channels, b"0", b"31")
        for channel in (one for one, head in zip(channels, heads, strict=True) if head is None):
            logger.warning("mirror: Redis has another type at %s; it is replaced", snapshot_key(channel))
        found = [_SEQ.match(head or b"") for head in heads]
        return [NONE if one is None else int(one[1]) for one in found]

    def put(self, snapshots: Iterable[tuple[str, bytes]]) -> None:
        """Set snapshots, whatever stands there."""
        self._trip([_command(b"SET", snapshot_key(name).encode(), text) for name, text in snapshots])

    def ping(self) -> None:
        self._trip([_command(b"PING")])

    def close(self) -> None:
        self._client.close()
        self._connection.disconnect()

    def _by_key(self, name: bytes, channels: Sequence[str], *rest: bytes) -> list[Any]:
        return self._trip([_command(name, snapshot_key(one).encode(), *rest) for one in channels])

    def _trip(self, commands: list[bytes]) -> list[Any]:
        """Send the commands at once and take their answers, a thousand at a time."""
        answers: list[Any] = []
        for start in range(0, len(commands), KEYS_PER_TRIP):
            part = commands[start : start + KEYS_PER_TRIP]
            self._connection.send_packed_command([b"".join(part)])
            answers += [self._answer() for _ in part]
        return answers

    def _answer(self) -> Any:
        """None where the key has another type."""
        try:
            return self._connection.read_response()
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            return None


def _sha(script: bytes) -> bytes:
    return sha1(script, usedforsecurity=False).hexdigest().encode()


_PUBLISH_SHA, _UNCOUNTED_SHA = _sha(_PUBLISH), _sha(_UNCOUNTED)


def _publish_command(batch: Batch) -> bytes:
    key, channel = snapshot_key(batch.channel).encode(), batch.channel.encode()
    numbers = (b"%d" % batch.first, b"%d" % batch.last)
    return _command(b"EVALSHA", _PUBLISH_SHA, b"1", key, channel, *numbers, batch.snapshot, *batch.messages)


def _command(*parts: bytes) -> bytes:
    """A command as it goes over the wire (RESP)."""
    return b"*%d\r\n%b" % (len(parts), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))


__all__ = ["NONE", "Batch", "Publisher", "RedisError"]
