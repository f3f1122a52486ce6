"""Heartbeats come while others, or the reader's own log, take their time."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api.http import hub
from api.http.hub import LOOK_UP_THREADS, THREADS, Hub
from infra.strategies.registry import Strategies
from streams.log import Log
from streams.records import Record
from tests.integration.api.socket_world import MARKET, WAIT_S, World, world


class Ear:
    """A wire whose reader takes everything at once."""

    is_free = True

    def __init__(self) -> None:
        self.heard = b""
        self._more = asyncio.Event()

    async def free(self) -> None: ...

    def push(self, frames: bytes) -> None:
        self.heard += frames
        self._more.set()

    async def until(self, word: bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            while word not in self.heard:
                self._more.clear()
                await self._more.wait()


class Held:
    """A log that is read only after `go_on`."""

    def __init__(self, log: Log, go_on: threading.Event) -> None:
        self._log, self._go_on = log, go_on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, *place: Any) -> Iterator[Record]:
        self._go_on.wait()
        return self._log.read(*place)


@pytest.fixture
def made(tmp_path: Path, strategies: Strategies, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.05)
    with world(tmp_path, strategies) as made:
        yield made


def run(hub: Hub, go_on: threading.Event, test: Callable[[Ear], Coroutine[Any, Any, None]]) -> None:
    """With an ear as the reader of the market from the beginning; what is held goes on in the end."""

    async def reading() -> None:
        ear = Ear()
        reader = asyncio.create_task(hub.serve(MARKET, ear, 0, lambda: None))  # type: ignore[arg-type] - an ear is a wire
        try:
            await test(ear)
        finally:
            go_on.set()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    with closing(hub):
        asyncio.run(reading())


def test_a_reader_waits_for_no_look_up_of_another(made: World) -> None:
    hub, go_on = Hub(made.log, made.api.services.database, lambda: None), threading.Event()

    async def test(ear: Ear) -> None:
        held = [asyncio.create_task(hub.look_up(go_on.wait)) for _ in range(THREADS + LOOK_UP_THREADS)]
        await ear.until(b'{"seq":%d,' % made.last())
        await ear.until(b'"heartbeat"')
        go_on.set()
        await asyncio.gather(*held, return_exceptions=True)

    run(hub, go_on, test)


def test_heartbeats_come_while_the_log_does_not_answer(made: World) -> None:
    go_on = threading.Event()
    hub = Hub(Held(made.log, go_on), made.api.services.database, lambda: None)  # type: ignore[arg-type] - a log held up

    async def test(ear: Ear) -> None:
        await ear.until(b'"heartbeat"')
        assert b'"cause"' not in ear.heard
        go_on.set()
        await ear.until(b'{"seq":%d,' % made.last())

    run(hub, go_on, test)
