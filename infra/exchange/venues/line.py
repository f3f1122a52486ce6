"""One connection of a venue, dialled again for ever, and what its markets can be vouched for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import stamina

from infra.exchange.provider import FeedReport, Refused
from infra.exchange.venues.client import SubscriptionRefusedError, VenueClient
from infra.exchange.venues.flow import Flow
from infra.exchange.venues.rest import NOT_SERVED, Rest
from infra.exchange.venues.venue import NotServedError, Socket, Venue
from infra.exchange.venues.watching import CONFIRM_S, Watch
from infra.process.errors import one_line

FIRST_WAIT_S, WAIT_S_MAX, JITTER_S = 0.1, 60.0, 0.1
REFUSED_S = 3600.0
"""Before a symbol that was refused is tried again."""
STEADY_S = 5.0
"""After a connection that lasted so long, the waits begin anew."""
REASON_LENGTH_MAX = 120
CATCHING_UP = "the venue is asked for what is missing"


class LineLostError(RuntimeError):
    """A connection ended; it is dialled again."""


class Told(Protocol):
    """Who hears of what comes by a line."""

    @property
    def gap_wait_s(self) -> float: ...

    def now(self) -> float: ...

    def steady_ns(self) -> int: ...

    def arrived(self, line: "Line", told: Mapping[str, Any]) -> None:
        """A trade came."""

    def touch(self, flow: Flow) -> None:
        """Something may be due of a flow."""

    def failed(self, what: str) -> None:
        """Something went wrong, and is tried again."""

    def wake(self) -> None:
        """Something may be due."""

    def refuse(self, refused: Refused) -> None:
        """Something came that is of no market."""

    def specify(self) -> None:
        """The venue's list of markets may have changed."""

    async def pause(self, seconds: float) -> None:
        """By the provider's clock."""

    def apart(self, line: "Line") -> None:
        """Some flows of a line are this one's from now on."""


class Line(Socket):
    """The connection of some markets; `provider` is told what comes by it."""

    def __init__(
        self, venue: Venue, provider: Told, flows: Sequence[Flow], now: float, wait_s: float = 0.0
    ) -> None:
        """It is dialled in `wait_s`."""
        self._venue, self._provider, self.flows = venue, provider, tuple(flows)
        self.watch = self._new_watch(now)
        self._lost_at, self._reason, self._is_deaf = now, "", False
        self._dial_at = now + wait_s
        self.reconnects = 0
        """How often a connection that was subscribed has ended."""

    def _new_watch(self, now: float) -> Watch:
        return Watch(now, silence_s=self._venue.silence_s, grace_ms=self._venue.grace_ms)

    async def run(self, client: VenueClient, rest: Rest) -> None:
        """Dial, and dial again, until it is cancelled or every market has ended. Raises `NotServedError`."""
        while self._symbols:
            async for attempt in stamina.retry_context(
                on=LineLostError, attempts=None, timeout=None,
                wait_initial=FIRST_WAIT_S, wait_max=WAIT_S_MAX, wait_jitter=JITTER_S,
            ):  # fmt: skip
                with attempt:
                    await self._dial(client, rest)

    @property
    def _symbols(self) -> list[str]:
        """Of one that is gone, a subscription is refused, and of all with it."""
        return [flow.market.symbol for flow in self.flows if not flow.ended]

    async def _dial(self, client: VenueClient, rest: Rest) -> None:
        """One connection from its beginning to its end. Raises `LineLostError` where it did not last."""
        await self._provider.pause(self._dial_at - self._provider.now())
        await rest.allowed()
        symbols = self._symbols
        if not symbols:
            return
        dialled = self._provider.now()
        self.watch = self._new_watch(dialled)
        try:
            await client.watch(symbols, self)
        except Exception as error:  # however a connection ends, it is dialled again
            if isinstance(error, SubscriptionRefusedError):
                self._provider.specify()
            now, steady = self._provider.now(), self.watch.subscribed
            self._lost(now, error)
            if not steady or now - dialled < STEADY_S:
                raise LineLostError(self._reason) from error

    def _lost(self, now: float, error: Exception) -> None:
        from aiohttp import ClientHttpProxyError  # noqa: PLC0415 - it is loaded with ccxt

        answer = error.args[0] if error.args else None
        status = getattr(answer, "status", 0)
        if status in NOT_SERVED and not isinstance(answer, ClientHttpProxyError):
            raise NotServedError(f"not served from here: HTTP {status}") from error
        reason = one_line(error)[:REASON_LENGTH_MAX]
        if self.watch.subscribed or not self._reason:
            self._lost_at, self._reason = now, reason
            self._provider.failed(f"connection lost: {reason}")
        else:
            self._provider.failed(f"connecting failed: {reason}")
        self.reconnects += self.watch.subscribed
        self.watch.subscribed = False
        self._doubt()

    def _doubt(self) -> None:
        for flow in self.flows:
            flow.doubt()
            self._provider.touch(flow)

    def look(self, client: VenueClient, now: float, venue_now: int | None) -> None:
        """Do what is due with the connection."""
        act = self.watch.act(now, venue_now)
        if act == "ping":
            client.ping(self, self.watch.ping(now, venue_now))
        elif act == "deaf":
            self._is_deaf = True
            client.end(self, f"silent for {self.watch.silent_s(now):.0f} s, and no answer to a ping")
        elif act == "unconfirmed":
            client.end(self, f"its subscription was not confirmed within {CONFIRM_S:.0f} s")
        elif act == "renew":
            client.end(self, "dialled anew, before the venue ends it")

    def report(self, flow: Flow, now: float) -> FeedReport | None:
        """What can be vouched for of a market, where that has changed. What lasts no longer than rows wait
        for a hole is not told: nothing came that anybody could act on."""
        if flow.ended:
            return flow.report("down", flow.ended)
        if flow.denied and not flow.is_sure:
            return flow.report("down", flow.denied)
        if flow.market.status != "trading":
            return flow.report("halted", f"the venue says that it is {flow.market.status}")
        if flow.is_sure:
            flow.sure = now
        if self.watch.subscribed:
            if flow.is_sure:
                return flow.report("live")
            if not flow.is_live or now - flow.sure > self._provider.gap_wait_s:
                return flow.report("catching_up", CATCHING_UP)
        elif self._reason and now - self._lost_at > self._provider.gap_wait_s:
            return flow.report("down", self._reason)
        elif self._is_deaf:
            return flow.report("stale", self._reason)
        elif not flow.is_live:
            return flow.report("catching_up", CATCHING_UP)
        return None

    # ------------------------------------------------------------ what the client tells

    def trade(self, trade: Mapping[str, Any]) -> None:
        self._provider.arrived(self, trade)

    def frame(self) -> None:
        self.watch.heard(self._provider.now())

    def pong(self, token: bytes) -> None:
        self.watch.pong(token, self._provider.now())
        self._provider.wake()

    def subscribed(self) -> None:
        self.watch.subscribed = True
        self._reason, self._is_deaf = "", False
        self._doubt()
        for flow in self.flows:
            flow.denied = ""
            flow.opened(self._provider.steady_ns())

    def refused(self, symbol: str, words: str) -> None:
        """It is tried again by and by, on a connection of its own: it costs no other."""
        flow = next(flow for flow in self.flows if flow.market.symbol == symbol)
        flow.deny(words)
        self._provider.specify()
        if len(self.flows) == 1:
            self._dial_at = self._provider.now() + REFUSED_S
            return
        self._part(flow, REFUSED_S)

    def back(self, flow: Flow) -> None:
        """The venue has a market again that was gone. This connection may not be subscribed to it, and the
        others of it are not to be cut."""
        flow.ended = ""
        flow.doubt()
        self._part(flow, 0.0)

    def _part(self, flow: Flow, wait_s: float) -> None:
        self.flows = tuple(other for other in self.flows if other is not flow)
        self._provider.apart(Line(self._venue, self._provider, [flow], self._provider.now(), wait_s))

    def unreadable(self, frame: str, reason: str) -> None:
        self._provider.refuse(Refused("", reason, frame.encode(errors="backslashreplace")))
