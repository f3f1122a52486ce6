"""A venue's ccxt client as it is, with our hands on three of its parts: frames, trades and REST's answers.

ccxt's own cache of trades keeps the newest 1,000, and what it hands out comes with the next trade only; so an
object of ours stands in its place. A frame that it cannot read would end its receive loop without a word; so
frames pass through us on their way. What a trade costs in all is reckoned by nobody: of a number that is none
it cannot be, and the frame would be lost with its row.
"""

import asyncio
import gc
import importlib
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from infra.exchange.venues.markets import Markets, loaded
from infra.exchange.venues.rest import Rest
from infra.exchange.venues.venue import FLAW, NumberedVenue, Page, Socket, Venue
from infra.process.errors import named

if TYPE_CHECKING:
    import aiohttp

CLOSE_S = 1.0
ALIVE = "tcpdashboard"
"""Name of a future that ccxt rejects with all others when a connection ends."""


class UnreadableFrameError(RuntimeError):
    """A frame that is no JSON or of no form that is known."""


class SubscriptionRefusedError(RuntimeError):
    """A venue refuses what was asked for on a connection, or says that it ends it."""


class UnreadableAnswerError(RuntimeError):
    """An answer of REST that is no JSON, or no page of trades."""


class _Trades(list[Any]):
    """In the place of ccxt's cache: hands on what is appended."""

    def __init__(self, put: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self.append = put

    def getLimit(self, symbol: str | None, limit: int | None) -> int | None:  # noqa: N802 - ccxt's name
        return limit


@dataclass
class _Dialled:
    """A connection as ccxt has it."""

    client: Any
    symbols: dict[str, str]
    """Those that were not refused, by the venue's ids."""
    unconfirmed: set[str]
    """Those whose subscription was not confirmed yet, and of which no trade came."""
    pings: deque[bytes] = field(default_factory=deque[bytes])
    """Those of the venue's own that are out, in their order."""


class _Caches(dict[str, _Trades]):
    """In the place of ccxt's caches by symbol, also of one that we have not asked for."""

    def __init__(self, put: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._put = put

    def __missing__(self, symbol: str) -> _Trades:
        return self.setdefault(symbol, _Trades(self._put))


class VenueClient:
    """Made by `opened`."""

    def __init__(
        self,
        venue: Venue,
        exchange: Any,
        session: "aiohttp.ClientSession",
        rest: Rest,
        raw: Callable[[str], None] | None,
    ) -> None:
        self._venue, self._session, self.rest, self._raw = venue, session, rest, raw
        self.exchange = exchange
        self._hearing: tuple[Socket, _Dialled] | None = None
        self._trades = 0
        """How many the frame at hand has brought."""
        self._dialling: tuple[Socket, dict[str, str], Any] | None = None
        self._sockets: dict[Socket, _Dialled] = {}
        self._sending: set[asyncio.Future[Any]] = set()
        self._future = importlib.import_module("ccxt.async_support.base.ws.future").Future
        errors = importlib.import_module("ccxt")
        self._refusal, self._denial = errors.ExchangeError, errors.BadRequest
        exchange.on_rest_response = self._noted
        self._fetch, self._sent = exchange.fetch, _nothing
        exchange.fetch = lambda *args, **named: self.rest.one(lambda: self._sends(*args, **named))
        exchange.trades = _Caches(self._traded)
        exchange.safe_trade = self._as_told
        exchange.ws_dial_delay = _at_once
        self._make = exchange.client
        exchange.client = self._client

    async def markets(self, symbols: Iterable[str] = (), *, again: bool = False) -> Markets:
        """What the venue has. Raises `MarketsUnreadError`, also where it says nothing of a symbol's kind,
        `UnreadableAnswerError`, `NotServedError` and what ccxt raises."""
        found = await self.rest.ask(lambda: self.exchange.load_markets(again))
        return loaded(self._venue.name, self._venue.kinds, found, symbols)

    async def newest(self, symbol: str, sent: Callable[[], None] | None = None) -> Page:
        """As the venue has it. `sent` is called when the request goes out, which may be a while after this.
        Raises what ccxt raises, and `UnreadableAnswerError`, as the next two."""

        async def ask() -> Page:
            self._sent = sent or _nothing
            return await self._venue.newest(self.exchange, symbol)

        try:
            return _read(await self.rest.ask(ask))
        finally:
            self._sent = _nothing

    async def _sends(self, url: str, *args: Any, **named: Any) -> Any:
        """In the place of ccxt's own, which sends a request. Of an answer that is cut or a page for people
        ccxt makes a text, in which it finds nothing. Raises `UnreadableAnswerError` for one."""
        self._sent()
        answer = await self._fetch(url, *args, **named)
        if not isinstance(answer, Mapping | list):
            raise UnreadableAnswerError(f"its answer is no JSON: {str(answer)[:80]!r}")
        return answer

    async def trades_from(self, symbol: str, first: int, stop: int) -> Page:
        """Of a `NumberedVenue`, as the next one."""
        venue = self._numbered
        return _read(await self.rest.ask(lambda: venue.trades_from(self.exchange, symbol, first, stop)))

    async def trades_behind(self, symbol: str, last: int) -> tuple[Page, bool]:
        venue = self._numbered
        page, is_newest = await self.rest.ask(lambda: venue.trades_behind(self.exchange, symbol, last))
        return _read(page), is_newest

    @property
    def _numbered(self) -> NumberedVenue:
        assert isinstance(self._venue, NumberedVenue), f"ids of {self._venue.name} tell no order"
        return self._venue

    def denies(self, error: Exception) -> bool:
        """Whether by an answer of REST the venue refuses what was asked for, rather than to answer now."""
        return isinstance(error, self._denial)

    async def time_ms(self) -> int:
        """The venue's time."""
        return int(await self.rest.ask(self.exchange.fetch_time))

    async def watch(self, symbols: Iterable[str], socket: Socket) -> None:
        """Dial, subscribe, and tell `socket` of what comes, until the connection ends. Raises why, and
        `SubscriptionRefusedError` for what the venue does not have."""
        names = list(symbols)
        ended = self._future()
        ended.add_done_callback(_seen)
        watching = asyncio.ensure_future(self._dial(names, socket, ended))
        try:
            done, _ = await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
            if done == {watching} and not watching.cancelled() and watching.exception() is None:
                await asyncio.wait({ended})
            for future in (ended, watching):
                if future.done() and not future.cancelled() and (error := future.exception()) is not None:
                    self._refused(error)
                    if isinstance(error, self._refusal):
                        raise SubscriptionRefusedError(str(error)) from error
                    raise error
            raise ConnectionError("it was closed here")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._forget(socket)

    def _refused(self, error: BaseException) -> None:
        """Obey a venue that refused a connection, as one that refused a request."""
        answer = error.args[0] if error.args else None
        if status := getattr(answer, "status", 0):
            self.rest.obey(status, getattr(answer, "headers", None) or {})

    async def _dial(self, symbols: list[str], socket: Socket, ended: Any) -> None:
        # ccxt makes its client before it lets go for the first time
        self._dialling = socket, {self.exchange.market_id(symbol): symbol for symbol in symbols}, ended
        await self._venue.watch(self.exchange, symbols)

    def ping(self, socket: Socket, token: bytes) -> None:
        """Send one; its answer is told by `Socket.pong`."""
        dialled = self._sockets.get(socket)
        if dialled is None or dialled.client.closed():
            return
        text = self._venue.ping_text(token)
        if text is None:
            self._run(dialled.client.connection.ping(token))
        else:
            dialled.pings.append(token)
            self._run(dialled.client.send(text))

    def end(self, socket: Socket, reason: str) -> None:
        """End a connection, so that `watch` raises with the reason."""
        dialled = self._sockets.get(socket)
        if dialled is not None:
            dialled.client.on_error(ConnectionError(reason))

    async def close(self) -> None:
        """A connection that does not answer is not waited for."""
        self.exchange.timeout_on_exit = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.exchange.close()
        self.exchange.session = None
        await self._session.close()

    def _client(self, url: str) -> Any:
        """In the place of ccxt's own, which makes the client of a connection, or finds it: each dial has a
        connection of its own, also where all have one address."""
        if self._dialling is None:
            return self._make(url)
        (socket, symbols, ended), self._dialling = self._dialling, None
        self.exchange.clients.pop(url, None)
        client = self._make(url)
        self._sockets[socket] = _Dialled(client, symbols, set(symbols.values()))
        client.futures[ALIVE] = ended
        handle = client.handle_message
        client.handle_message = lambda message: self._tapped(client, socket, handle, message)
        return client

    def _tapped(self, client: Any, socket: Socket, handle: Callable[[Any], None], message: Any) -> None:
        dialled = self._sockets.get(socket)
        if dialled is None or dialled.client is not client:
            return  # it has ended, and this was on its way
        kind = message.type.name
        socket.frame()
        if self._raw is not None and kind == "TEXT":
            self._raw(message.data)
        if kind == "PONG":
            socket.pong(bytes(message.data))
        self._hearing, self._trades = (socket, dialled), 0
        try:
            if kind == "TEXT" and dialled.unconfirmed and self._refuses(socket, dialled, message.data):
                return
            handle(message)
            if kind in ("TEXT", "BINARY") and not self._trades:
                data = message.data
                self._control(socket, dialled, data if isinstance(data, str) else data.decode())
        except Exception as error:  # noqa: BLE001 - whatever a frame makes ccxt raise ends its connection
            text = message.data if isinstance(message.data, str) else repr(message.data)
            reason = f"a frame could not be read: {named(error)}"
            socket.unreadable(text, reason)
            client.on_error(ConnectionError(reason))
            self._forget(socket)
        finally:
            self._hearing = None

    def _control(self, socket: Socket, dialled: _Dialled, text: str) -> None:
        """A frame without trades. Raises `UnreadableFrameError`, and `ValueError` for one that is no text of
        the venue's."""
        control = self._venue.control(text)
        if control == "unknown":
            raise UnreadableFrameError("its form is not known")
        if control == "pong" and dialled.pings:
            socket.pong(dialled.pings.popleft())
        if control == "subscribed":
            self._confirmed(socket, dialled, dialled.symbols.get(self._venue.confirmed(text), ""))

    def _confirmed(self, socket: Socket, dialled: _Dialled, symbol: str) -> None:
        """By a frame that says so, or by a trade: of this symbol alone where the venue confirms each."""
        if dialled.unconfirmed:
            dialled.unconfirmed -= {symbol} if self._venue.confirms_each else dialled.unconfirmed.copy()
            if not dialled.unconfirmed:
                socket.subscribed()

    def _refuses(self, socket: Socket, dialled: _Dialled, text: str) -> bool:
        """Tell which symbols a frame refuses. Whether others of the subscription go on; if not, it is for
        ccxt, which ends the connection. Raises `ValueError` for what cannot be decoded."""
        refusal = self._venue.refusal(text)
        found = [id for id in refusal.ids if id in dialled.symbols] if refusal else []
        for id in found:
            socket.refused(dialled.symbols.pop(id), refusal.words if refusal else "")
        if not found or not self._venue.confirms_each or not dialled.symbols:
            return False
        dialled.unconfirmed.intersection_update(dialled.symbols.values())
        if not dialled.unconfirmed:
            socket.subscribed()
        return True

    def _traded(self, trade: Mapping[str, Any]) -> None:
        self._trades += 1
        if self._hearing is not None:
            socket, dialled = self._hearing
            if dialled.unconfirmed:
                self._confirmed(socket, dialled, str(trade["symbol"]))
            socket.trade(trade)

    def _forget(self, socket: Socket) -> None:
        dialled = self._sockets.pop(socket, None)
        if dialled is not None:
            client = dialled.client
            if self.exchange.clients.get(client.url) is client:
                del self.exchange.clients[client.url]
            self._run(client.close())

    def _run(self, sending: Awaitable[Any]) -> None:
        """Something that may fail with the connection, whose end is told elsewhere."""
        task = asyncio.ensure_future(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        task.add_done_callback(_seen)

    def _as_told(self, trade: Mapping[str, Any], market: Any = None) -> Mapping[str, Any]:
        """In the place of what adds costs and fees to a trade: as it is, or with why it is none."""
        told = trade["info"]
        flaw = self._venue.flaw(told) if isinstance(told, Mapping) else ""
        return {**trade, FLAW: flaw} if flaw else trade

    def _noted(self, status: int, reason: str, *rest: Any) -> str:
        """Called by ccxt with each answer of REST, before it is read."""
        _, _, headers, body, *_ = rest
        self.rest.answered(int(status), headers)
        return body.strip()


def _at_once(url: str) -> float:
    """In the place of ccxt's own waits before it dials again, which would come on top of a line's."""
    return 0.0


def _nothing() -> None:
    """Nobody wants to know."""


def _read(page: Page) -> Page:
    """ccxt takes an answer of another form as a page of trades, one for each thing in it."""
    if not all(isinstance(trade["info"], Mapping) for trade in page):
        raise UnreadableAnswerError("its answer is no page of trades")
    return page


def _seen(done: "asyncio.Future[Any]") -> None:
    """Its error is nobody's news."""
    if not done.cancelled():
        done.exception()


@cache
def _ccxt() -> ModuleType:
    """Seconds, for those who need it alone. It brings 300,000 objects that stay: no collection of garbage
    goes through them from here on, which stopped the event loop for 130 ms, nor puts itself off for them."""
    module = importlib.import_module("ccxt.pro")
    gc.collect()
    gc.freeze()
    return module


async def opened(
    venue: Venue,
    rest: Rest,
    *,
    proxy: str | None = None,
    connector: "aiohttp.BaseConnector | None" = None,
    raw: Callable[[str], None] | None = None,
) -> VenueClient:
    """A client of the venue. `proxy` is a URL that REST and sockets go by. Certificates are those that
    OpenSSL trusts (`SSL_CERT_FILE` names others) and certifi's, unless a `connector` brings its own. `raw` is
    told each text that comes by a socket."""
    pro = await asyncio.to_thread(_ccxt)
    import aiohttp  # noqa: PLC0415 - as above
    import certifi  # noqa: PLC0415 - as above

    if connector is None:
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        connector = aiohttp.TCPConnector(ssl=context)
    session = aiohttp.ClientSession(connector=connector)
    given = {"httpsProxy": proxy, "wssProxy": proxy} if proxy else {}
    exchange = getattr(pro, venue.ccxt_id)({**venue.options, **given, "session": session})
    exchange.number = str  # exact prices
    venue.prepare(exchange)
    return VenueClient(venue, exchange, session, rest, raw)
