"""Fake exchanges in a process of their own, by hand or for a test that kills what is connected to them.

    python -m tests.venues.serve binance okx

prints the two settings that lead `tcpdashboard` to them, and makes trades until it is interrupted; with
`--child`, as `tcpdashboard up --fake` starts it, until its standard input ends. A test has `Served`, whose
process does what it is told:

    with Served("binance") as served:
        environment = served.environment(tmp_path)        # TCPD_PROXY, SSL_CERT_FILE
        played = served.start("binance", "play", frames, speed=100, script=[(500, Cut(away=20))])
        ...
        played()                                          # waits for it
        served.call("binance", "published")
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from decimal import Decimal
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.venues.authority import write_authority
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.fake import FakeVenue
from tests.venues.okx import Okx
from tests.venues.proxy import Proxy
from tests.venues.trades import Frame, Trade, made

VENUES: dict[str, type[FakeVenue]] = {kind.name: kind for kind in (Binance, Okx, Bybit)}


class Served:
    """The process ends with the block, and by itself when the one that started it is gone."""

    def __init__(self, *names: str, listings: dict[str, list[dict[str, Any]]] | None = None) -> None:
        """`listings` are what venues have, by name, each in its form; else a few made instruments."""
        spawning = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = spawning.Pipe()
        arguments = (names, listings or {}, self._theirs)
        self._process = spawning.Process(target=_obey, args=arguments, daemon=True)
        self._asked = 0
        self._answers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(10)
        self._process.kill()

    def environment(self, folder: Path) -> dict[str, str]:
        """Settings by which a program reaches the fakes. A file of the authority is put into the folder."""
        authority = folder / "authority.pem"
        url, certificate = self.call("", "reached_by")
        authority.write_bytes(certificate)
        return {"TCPD_PROXY": url, "SSL_CERT_FILE": str(authority)}

    def start(self, venue: str, name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """Begins a method of a `FakeVenue`, or reads an attribute; what is returned waits for the answer."""
        self._asked += 1
        number = self._asked
        self._pipe.send((number, venue, name, args, kwargs))
        return lambda: self._answer(number)

    def call(self, venue: str, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.start(venue, name, *args, **kwargs)()

    def _answer(self, number: int) -> Any:
        while number not in self._answers:
            answered, answer = self._pipe.recv()
            self._answers[answered] = answer
        answer = self._answers.pop(number)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class _Orders:
    """What a process of fakes is told by its pipe."""

    def __init__(self, pipe: Connection, venues: dict[str, FakeVenue], proxy: Proxy) -> None:
        self._pipe, self._venues, self._proxy = pipe, venues, proxy
        self.ended = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def read(self) -> None:
        try:
            order = self._pipe.recv()
        except EOFError:
            self.ended.set()
            return
        task = asyncio.ensure_future(self._do(*order))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _do(self, number: int, venue: str, name: str, args: Any, kwargs: Any) -> None:
        try:
            answer = getattr(self._venues[venue] if venue else self, name)
            answer = answer(*args, **kwargs) if callable(answer) else answer
            answer = await answer if asyncio.iscoroutine(answer) else answer
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            answer = error
        self._pipe.send((number, answer))

    def reached_by(self) -> tuple[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            write_authority(Path(folder) / "authority.pem")
            return self._proxy.url, (Path(folder) / "authority.pem").read_bytes()


def _obey(names: tuple[str, ...], listings: dict[str, list[dict[str, Any]]], pipe: Connection) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            venues = {
                name: await stack.enter_async_context(VENUES[name](listings.get(name, ()))) for name in names
            }
            proxy = await stack.enter_async_context(Proxy(list(venues.values())))
            orders = _Orders(pipe, venues, proxy)
            asyncio.get_running_loop().add_reader(pipe.fileno(), orders.read)
            await orders.ended.wait()
            asyncio.get_running_loop().remove_reader(pipe.fileno())
            for task in orders.tasks:
                task.cancel()
            for venue in venues.values():
                venue.refused_names.clear()

    asyncio.run(run())


def stepped(venue: FakeVenue, trade: Trade) -> Trade:
    """At the steps of its market, and above 0."""
    price, size = map(Decimal, venue.steps(venue.listing[trade.market]))
    return trade._replace(
        price=str(max(Decimal(trade.price) // price, 1) * price),
        size=str(max(Decimal(trade.size) // size, 1) * size),
    )


def _endless(venue: FakeVenue) -> Iterator[Frame]:
    """A trade every 100 ms of each market, from now on: one walk a market, without an end."""
    start = time.time_ns() // 1_000_000
    cents = dict.fromkeys(venue.listing, 6_000_000)
    for minute in count():
        began, first = start + minute * 60_000, 600 * minute + 1
        walks = [
            made(market, 600, start=began, first_id=first, seed=minute, cents=at)
            for market, at in cents.items()
        ]
        for trades in zip(*walks, strict=True):
            yield from venue.frames(stepped(venue, trade) for trade in trades)
        cents = {walk[-1].market: int(walk[-1].price.replace(".", "")) for walk in walks}


async def _by_hand(names: list[str], *, is_child: bool) -> None:
    async with AsyncExitStack() as stack:
        venues = [await stack.enter_async_context(VENUES[name]()) for name in names]
        proxy = await stack.enter_async_context(Proxy(venues))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        write_authority(Path(folder) / "authority.pem")
        print(f"export TCPD_PROXY={proxy.url} SSL_CERT_FILE={folder}/authority.pem", flush=True)
        playing = [venue.play(_endless(venue), speed=1, wait=False) for venue in venues]
        ends = [asyncio.to_thread(sys.stdin.read)] if is_child else []
        tasks = [asyncio.ensure_future(one) for one in (*playing, *ends)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for venue in venues:
            venue.refused_names.clear()
        done.pop().result()


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--child"]
    if unknown := set(names) - VENUES.keys():
        sys.exit(f"there is no fake of {', '.join(sorted(unknown))}; there are: {', '.join(VENUES)}")
    with suppress(KeyboardInterrupt):
        asyncio.run(_by_hand(names or list(VENUES), is_child="--child" in sys.argv[1:]))
