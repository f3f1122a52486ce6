"""A fake exchange: one server on loopback that speaks a venue's protocol over TLS under its real host names.

    async with Binance() as venue:
        venue.stand_at(frames[0].time)                       # before a client compares clocks
        session = aiohttp.ClientSession(connector=venue.connector())
        client = ccxt.pro.binance({"session": session})     # unmodified; it resolves the venue's names alone
        ...                                                  # load_markets, watch_trades
        await venue.play(frames, speed=0, script=[(5_000, Cut(away=200))])

`frames` come of `venue.frames(trades)` or of `tests.venues.recorded`, faults of `tests.venues.faults`. A
fault can also be struck by hand, between two plays or beside one: `await venue.strike(HalfOpen())`.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import aiohttp
from aiohttp import WSMsgType, web

from tests.venues.authority import server_context
from tests.venues.clock import VenueClock
from tests.venues.connection import Connection, text_frame
from tests.venues.pending import Pending
from tests.venues.playing import Play, Script
from tests.venues.resolving import connector_to
from tests.venues.trades import Frame, Trade, number

if TYPE_CHECKING:
    from tests.venues.faults import Fault, RestFault


class Request(NamedTuple):
    """One that came, also a refused one, and also a socket's handshake."""

    at: float
    """Seconds of `time.monotonic()`."""
    host: str
    path: str
    query: Mapping[str, str]
    kind: str
    """`markets`, `trades`, `time`, `socket`, or `other`."""
    status: int
    is_true: bool
    """Whether no fault changed the answer."""


class RefusedError(Exception):
    """A request that the venue answers with an error of its own form."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


class FakeVenue(ABC):
    """What all venues share: the server, what was published, and the faults. See the module."""

    name: ClassVar[str]
    hosts: ClassVar[tuple[str, ...]]
    sockets: ClassVar[tuple[str, ...]]
    """How paths of WebSockets begin."""
    rest: ClassVar[dict[str, str]]
    """Path → kind of request."""
    numbered: ClassVar[bool] = True
    """Whether ids are numbers that go on by one."""

    def __init__(self, listing: Iterable[dict[str, Any]] = ()) -> None:
        """`listing` is what the venue has, in its own form; without it, a few made instruments."""
        self.listing = {self.id_of(row): row for row in listing or self.made_listing()}
        self.clock = VenueClock()
        self.skew_ms = 0
        """By how much the time that the venue tells is ahead of its trades."""
        self.public: dict[str, list[Trade]] = {}
        """What REST knows, by market."""
        self.published: list[Trade] = []
        """All trades that happened, in order."""
        self.unsent: list[Trade] = []
        """Those that went to no socket by a fault."""
        self.unasked: list[Trade] = []
        """Those that REST does not have."""
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.refused_names: list[str] = []
        """Names other than the venue's that a client asked for. If any is left at the end, that fails."""
        self.rest_faults: dict[RestFault, int | None] = {}
        """Each with how many requests it still answers; None: all."""
        self.refused: set[str] = set()
        """Markets that are in the listing and are not let be subscribed."""
        self.snapshot = 0
        """So many of the newest trades are sent to who subscribes."""
        self.port = 0
        self.pending = Pending()
        self._changed = asyncio.Condition()
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    # What is the venue's own

    @abstractmethod
    def made_listing(self) -> list[dict[str, Any]]: ...

    @classmethod
    @abstractmethod
    def pair(cls, base: str = "BTC") -> str:
        """The id of the spot market of a base currency against USDT."""

    @abstractmethod
    def id_of(self, row: dict[str, Any]) -> str:
        """The id of the market that a row of the listing describes."""

    @abstractmethod
    def texts(self, frame: Frame, channel: str) -> list[str]:
        """What is sent for a frame to who asked by that channel."""

    @abstractmethod
    def read(self, text: str) -> list[Trade]:
        """The trades of a text that the venue sent; none where it is about something else."""

    @abstractmethod
    async def heard(self, connection: Connection, text: str) -> None:
        """A client said something."""

    @abstractmethod
    def answer(self, kind: str, query: Mapping[str, str]) -> Any:
        """The body of a good answer. Raises `RefusedError`."""

    @abstractmethod
    def page(self, path: str, query: Mapping[str, str]) -> list[Trade]:
        """The trades that a request of kind `trades` gets, oldest first. Raises `RefusedError`."""

    @abstractmethod
    def rows(self, trades: Sequence[Trade], query: Mapping[str, str]) -> Any:
        """The body that holds these trades."""

    @abstractmethod
    def empty(self, kind: str) -> Any:
        """A good answer's form with nothing in it."""

    @abstractmethod
    def refusal(self, status: int) -> Any:
        """The body that comes with a status of an error."""

    @abstractmethod
    def suspend(self, row: dict[str, Any]) -> None:
        """A row of the listing comes to say that its market does not trade now."""

    @abstractmethod
    def steps(self, row: dict[str, Any]) -> tuple[str, str]:
        """Of price and size."""

    @abstractmethod
    def set_steps(self, row: dict[str, Any], price: str, size: str) -> None: ...

    def refuses(self, market: str) -> bool:
        """Whether a market is not subscribed."""
        return market in self.refused or market not in self.listing

    def is_about(self, query: Mapping[str, str], market: str) -> bool:
        """Whether a request for trades is for those of a market."""
        return market in query.values()

    def frames(self, trades: Iterable[Trade]) -> list[Frame]:
        return [Frame([trade]) for trade in trades]

    # For tests

    def connector(self) -> aiohttp.TCPConnector:
        """It resolves the venue's names to this server and trusts its authority; another name raises."""
        return connector_to([self])

    async def watched(self, market: str) -> None:
        """Waits until a live connection has subscribed to the market."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_watched(market))

    def is_watched(self, market: str) -> bool:
        return any(market in c.channels and not c.broken and not c.gone for c in self.connections)

    async def asked_since_watched(self, market: str) -> None:
        """Waits until REST has truly answered a request for trades of a market after who watches it
        subscribed."""

        def asked() -> bool:
            watching = [c.asked_before for c in self.connections if market in c.channels and not c.gone]
            since = self.requests[max(watching) :] if watching else ()
            return any(r.kind == "trades" and r.is_true and self.is_about(r.query, market) for r in since)

        async with self._changed:
            await self._changed.wait_for(asked)

    async def play(
        self,
        frames: Iterable[Frame],
        *,
        speed: float = 0.0,
        script: Script = (),
        wait: bool = True,
        rest_first: bool = False,
    ) -> None:
        """Publishes the frames in order, at `speed` times their own pace (0: as fast as they are taken).

        `script` are faults, each with the number of trades of this play before it, or the time `At` which it
        strikes. The play stands, and the venue's time with it, while nobody watches the next frame's market:
        so what is lost at a fault is what the fault says (`away`), on a slow machine too; with `rest_first`
        also until who watches again has asked REST for trades (where that has the newest alone, what was
        missed would be gone). Without `wait` it goes on.
        """
        await Play(self, speed, wait, rest_first).run(frames, script)

    def publish(self, trades: Iterable[Trade]) -> None:
        """The trades happen now, whatever their time says, whoever watches."""
        for frame in self.frames(trades):
            self.emit(frame)
        self.flush()

    def tell(self, trade: Trade) -> None:
        """The socket and REST show a trade that cannot have happened: the venue's time does not follow it."""
        self.public.setdefault(trade.market, []).append(trade)
        self.send(Frame([trade]))
        self.flush()

    async def strike(self, fault: "Fault") -> None:
        self.flush()
        await fault.strike(self)

    def stand_at(self, at: int) -> None:
        """The venue's time is `at`, in ms, and stands there until a play. To be called with the first frame's
        time before a client compares clocks, whose own is `wall_ns`: what is played is not of today."""
        self.clock.go(0.0, at)

    def wall_ns(self) -> int:
        """The time of day, ns, where the venue's time passes as what is played."""
        return self.clock.now() * 1_000_000

    def told_time(self) -> int:
        """The time in ms that the venue says it is."""
        return self.clock.now() + self.skew_ms

    def asked(self, kind: str) -> list[Request]:
        return [request for request in self.requests if request.kind == kind]

    # Publishing

    def emit(self, frame: Frame) -> None:
        """One frame becomes public, as the faults that are pending let it."""
        pending, count = self.pending, len(frame.trades)
        frame = pending.changed(frame)
        self.clock.reach(frame.time)
        self.published += frame.trades
        pending.take("burst", count)
        pending.take("away", count)
        self.release_held()
        if pending.take("unasked", count):
            self.unasked += frame.trades
        else:
            self._know(frame)
        if pending.take("unsent", count):
            self.unsent += frame.trades
            return
        if pending.take("late", count):
            pending.held.append((frame.time + pending.late_ms, frame))
            return
        overtaken = pending.swapped
        self.send(pending.altered(frame))
        if overtaken is not None and overtaken.market == frame.market:
            pending.swapped = None
            self.send(overtaken)

    def _know(self, frame: Frame) -> None:
        """REST has each numbered trade once and in its place, however the socket sent it."""
        known = self.public.setdefault(frame.market, [])
        for trade in frame.trades:
            if not self.numbered or not known or number(known[-1]) < number(trade):
                known.append(trade)
                continue
            place = bisect_left(known, number(trade), key=number)
            if known[place].id != trade.id:
                known.insert(place, trade)

    def send(self, frame: Frame) -> None:
        """A frame goes to all who asked for its market; with a swap pending, after the next one."""
        if self.pending.swap:
            self.pending.swap, self.pending.swapped = False, frame
            return
        for connection in self.connections:
            channel = connection.channels.get(frame.market)
            if channel is not None:
                connection.put_trades(self.wire(frame, channel))

    def wire(self, frame: Frame, channel: str) -> bytes:
        made = frame.wire.get(channel)
        if made is None:
            made = frame.wire[channel] = b"".join(map(text_frame, self.texts(frame, channel)))
        return made

    def flush(self) -> None:
        for connection in self.connections:
            connection.flush()

    def release_held(self, *, last: bool = False) -> None:
        """Late frames whose time has come are sent; with the `last` frame, all that wait for another."""
        pending = self.pending
        while pending.held and (last or pending.held[0][0] <= self.clock.now()):
            self.send(pending.held.pop(0)[1])
        if last and pending.swapped is not None:
            self.send(pending.swapped)
            pending.swapped = None

    async def subscribe(self, connection: Connection, channels: Mapping[str, str]) -> None:
        """Called by a venue that has acknowledged: trades of these markets go to the connection from now."""
        connection.channels.update(channels)
        for market, channel in channels.items():
            for trade in self.public.get(market, [])[-self.snapshot :] if self.snapshot else ():
                connection.put(self.wire(Frame([trade]), channel))
        connection.flush()
        connection.asked_before = len(self.requests)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # The server

    async def __aenter__(self) -> Self:
        self._server = web.Server(self._handle)
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._stop_listening()
        for transport in self._transports():
            transport.abort()
        await self._server.shutdown(1)
        if kind is None:
            assert not self.refused_names, f"names that are not {self.name}'s were asked for"

    async def up(self) -> None:
        """The server listens, at the port that it had before."""
        assert self._server is not None
        loop, context = asyncio.get_running_loop(), server_context(self.hosts)
        self._listener = await loop.create_server(
            self._server, "127.0.0.1", self.port, ssl=context, ssl_shutdown_timeout=1
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Nobody listens, and all connections end; what was sent before arrives."""
        self._stop_listening()
        self.flush()
        for transport in self._transports():
            transport.close()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _transports(self) -> list[asyncio.Transport]:
        assert self._server is not None
        found = (handler.transport for handler in self._server.connections)
        return [transport for transport in found if isinstance(transport, asyncio.Transport)]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = request.path.startswith(self.sockets)
        kind = "socket" if socket else self.rest.get(request.path, "other")
        faults = dict(self.rest_faults)
        response = self._faulty(kind) or (None if socket else self._rest(request, kind))
        status = 101 if response is None else response.status
        host = request.host.partition(":")[0]
        query, is_true = dict(request.query), not self._faults_on(kind) and faults == self.rest_faults
        self.requests.append(Request(time.monotonic(), host, request.path, query, kind, status, is_true))
        await self._notify()
        return await self._socket(request) if response is None else response

    def _faulty(self, kind: str) -> web.Response | None:
        """What a pending fault answers in the venue's place."""
        for fault in self._faults_on(kind):
            if (response := fault.response(self, kind)) is not None:
                self._use(fault)
                return response
        return None

    def _faults_on(self, kind: str) -> "list[RestFault]":
        return [fault for fault in self.rest_faults if kind in fault.on]

    def _use(self, fault: "RestFault") -> None:
        left = self.rest_faults[fault]
        if left is not None:
            self.rest_faults[fault] = left - 1
            if left == 1:
                del self.rest_faults[fault]

    def _rest(self, request: web.BaseRequest, kind: str) -> web.Response:
        try:
            if kind == "trades":
                return web.json_response(self.rows(self._page(request), request.query))
            return web.json_response(self.answer(kind, request.query))
        except RefusedError as refusal:
            return web.json_response(refusal.body, status=refusal.status)

    def _page(self, request: web.BaseRequest) -> list[Trade]:
        """In the order of time, as the venue has it, or as a fault makes it."""
        page = self.page(request.path, request.query)
        for fault in self._faults_on("trades"):
            known = self.public.get(page[0].market, []) if page else []
            older = known[: known.index(page[0])] if page else []
            if (changed := fault.page(page, older)) is not None:
                self._use(fault)
                return changed
        return page

    async def _socket(self, request: web.BaseRequest) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False, autoclose=False, compress=False)
        await ws.prepare(request)
        connection = Connection(ws, request)
        self.connections.append(connection)
        try:
            while True:
                message = await ws.receive()
                if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                    break
                if connection.deaf:
                    continue
                if message.type is WSMsgType.PING:
                    connection.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self.heard(connection, message.data)
                elif message.type is WSMsgType.CLOSE:
                    await ws.close()
                    break
        finally:
            self.connections.remove(connection)
        return ws
