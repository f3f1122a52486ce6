"""Commands over HTTP: into the journal once, and answered when they are durable or have taken effect."""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated

import anyio
import msgspec
from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api.http.failures import ApiError
from api.http.models import Accepted
from api.http.security import Who
from api.http.services import Key, Served, Services, Wait, folded
from infra.commands import BotManager
from infra.commands.given import RefusedError
from infra.commands.manager import Begun
from infra.commands.requests import Answer
from infra.db import queries
from streams.records import Position
from streams.topics import PROJECTED

WAIT_S = 30.0
LOOK_S = 0.05
SNAPSHOT_LOOK_S = 0.5
"""A command without any effect is seen by the fold's snapshot alone, which is larger to read."""

Command = Callable[[BotManager, str | None], Answer]
"""Writes to the journal under a request id."""


def answer(*positions: Position, bot_id: int | None = None) -> Answer:
    return Answer(tuple((p.partition, p.offset) for p in positions), bot_id)


def begun(given: Begun) -> Answer:
    """Of a bot that begins, or begins anew."""
    place = (given.position.partition, given.position.offset)
    return Answer((place,), given.bot_id, given.warm_up.candles, given.warm_up.needed)


class Giver:
    """Gives a request's command in the caller's name; 202 when durable, 200 when its effect was awaited."""

    def __init__(
        self, services: Served, who: Who, request: Request, response: Response,
        key: Key = None, wait: Wait = None,
    ) -> None:  # fmt: skip
        self._services = services
        self._who = who.who
        self._request = request
        self._response = response
        self._key = key
        self._wait = wait

    async def __call__(self, command: Command) -> Accepted:
        """A command that may be to no bot, or make one."""
        manager = self._services.manager(self._who)
        if self._key is None:
            given = await run_in_threadpool(command, manager, None)
        else:
            name = f"{self._who}:{self._key}"
            fingerprint = await _fingerprint(self._request)
            given = await run_in_threadpool(
                self._services.requests.once, name, fingerprint, lambda: command(manager, name)
            )
        applied = self._wait is not None and await _applied(self._services, given)
        self._response.status_code = 200 if applied else 202
        return Accepted(
            positions=[str(position) for position in given.positions],
            bot_id=given.bot_id,
            warmed=given.warmed,
            needed=given.needed,
            applied=applied,
        )

    async def to(
        self, bot_id: int, command: Callable[[BotManager, str | None], Position | Begun]
    ) -> Accepted:
        """A command to one bot. Raises `ApiError` 404 where it does not exist."""
        try:
            await run_in_threadpool(self._services.manager(self._who).market_of, bot_id)
        except RefusedError as error:
            raise ApiError(404, "unknown_bot", str(error), "GET /api/bots lists them.") from None

        def answered(manager: BotManager, named: str | None) -> Answer:
            given = command(manager, named)
            return begun(given) if isinstance(given, Begun) else answer(given, bot_id=bot_id)

        return await self(answered)


Give = Annotated[Giver, Depends()]


async def _fingerprint(request: Request) -> str:
    body = await request.body()
    return sha256(b"\0".join((request.method.encode(), request.url.path.encode(), body))).hexdigest()


async def _applied(services: Services, given: Answer) -> bool:
    """Wait until the database shows what followed. Raises `ApiError` for what the fold refused."""
    deadline = time.monotonic() + WAIT_S
    waiting = _Effect(services, given)
    while not await run_in_threadpool(waiting.shows):
        if time.monotonic() > deadline:
            return False
        await anyio.sleep(LOOK_S)
    for partition, offset in given.places:
        letter = await run_in_threadpool(queries.refusal, services.database, partition, offset)
        if letter is not None:
            raise ApiError(
                409,
                "command_refused",
                msgspec.json.decode(letter)["reason"],
                f"The command stands at journal:{partition}:{offset} and had no effect.",
            )
    return True


class _Effect:
    """Whether the database has reached what followed from some journal records."""

    def __init__(self, services: Services, given: Answer) -> None:
        self._services = services
        self._left = dict(given.places)
        self._outputs: dict[tuple[str, int], int] = {}
        self._looked = time.monotonic()

    def shows(self) -> bool:
        log = self._services.log
        reached = queries.reached(self._services.database)
        snapshots = time.monotonic() - self._looked > SNAPSHOT_LOOK_S
        if snapshots:
            self._looked = time.monotonic()
        for partition, offset in list(self._left.items()):
            seen = max(reached.get((topic, partition), (-1, -1))[1] for topic in PROJECTED)
            if seen < offset and not (snapshots and (folded(log, partition) or -1) >= offset):
                continue
            del self._left[partition]
            self._outputs |= {(t, partition): log.highwater(t, partition) for t in PROJECTED}
        return not self._left and all(
            reached.get(place, (-1, -1))[0] + 1 >= end for place, end in self._outputs.items()
        )
