"""Listening to channels on Redis: one connection, kept up, and what comes over it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

CONNECT_S = 5.0
RETRY_S = 0.5
PING_S = 2.0
"""After such a silence Redis is asked whether it is there, and after a second one it is taken for gone."""


class Subscriber:
    """Subscribes to the channels that are wanted, again after every loss, until its task is cancelled.

    `find` says where Redis is at this moment; None: nowhere. The owner is told of each message, of each
    subscription, from which on messages come, and of each loss.
    """

    def __init__(
        self,
        find: Callable[[], str | None],
        heard: Callable[[str, bytes], None],
        subscribed: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        self._find = find
        self._heard, self._subscribed, self._lost = heard, subscribed, lost
        self._channels: set[str] = set()
        self._connection: Any = None
        self._away = False

    async def run(self) -> None:
        """Raises `ValueError` for a URL that is none."""
        while True:
            url = self._find()
            if url is not None:
                await self._stay(url)
            self._lost()
            await asyncio.sleep(RETRY_S)

    async def _stay(self, url: str) -> None:
        """At one Redis, until it is lost."""
        client = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),  # it would connect again without telling, and so hide a loss
            client_name="tcpdashboard-sockets",
        )
        try:
            await self._follow(client)
        except (RedisError, OSError) as error:
            if not self._away:
                logger.warning("sockets: Redis is gone (%s); reading the database and the log", error)
            self._away = True
        finally:
            await client.aclose()

    async def add(self, channel: str) -> None:
        self._channels.add(channel)
        await self._send("SUBSCRIBE", channel)

    async def remove(self, channel: str) -> None:
        self._channels.discard(channel)
        await self._send("UNSUBSCRIBE", channel)

    async def _send(self, *command: str) -> None:
        if self._connection is not None:
            try:
                await self._connection.send_command(*command, check_health=False)
            except (RedisError, OSError) as error:
                logger.debug("sockets: %s: %s; whoever reads the connection finds it lost", command[0], error)

    async def _follow(self, client: Any) -> None:
        """Until the connection is lost, which it raises."""
        connection = await client.connection_pool.get_connection()
        try:
            await connection.send_command("PING", check_health=False)
            await connection.read_response(timeout=CONNECT_S)
            self._connection, self._away = connection, False
            if self._channels:
                await connection.send_command("SUBSCRIBE", *self._channels, check_health=False)
            silent = False
            while True:
                answer = await connection.read_response(timeout=PING_S, disconnect_on_error=False)
                if answer is not None:
                    self._take(answer)
                elif silent:
                    raise RedisConnectionError(f"no answer within {PING_S:.0f} s")
                elif self._channels:  # outside of subscriptions the answer would have another form
                    await connection.send_command("PING", check_health=False)
                silent = answer is None and bool(self._channels)
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    def _take(self, answer: Any) -> None:
        kind = answer[0] if isinstance(answer, list) else answer
        if kind == b"message":
            self._heard(answer[1].decode(), answer[2])
        elif kind == b"subscribe":
            self._subscribed(answer[1].decode())
