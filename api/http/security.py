"""Who may ask: hosts and origins, tokens and sessions, for every request and socket before it is routed.

A request is refused unless its path is among the public ones or its token or session is valid; what a route
needs beyond `read` it says itself (`needs`). The `Host` must be a name of this server, or a page of another
site could reach it through a name that its owner points here. The `Origin`, which browsers send and pages
cannot forge, must be this server too: another program's page on this machine is "the same site" to a cookie.

Why: ADR 12.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.http.failures import ApiError, answer, close_of
from infra.process.tokens import Scope as TokenScope
from infra.process.tokens import Token, TokenFile

COOKIE = "tcpd_session"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PUBLIC = frozenset({"/", "/health/live", "/health/ready", "/auth/login"})
"""Paths that need no token."""
PAGE = "/page/"
"""Paths below this one, the files of the page, need no token either."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
BODY_BYTES_MAX = 100_000
FAILURES_MAX = 10
FAILURES_S = 60.0
ADDRESSES_MAX = 10_000


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the token, and the session's secret where it is a browser."""

    token: Token
    cookie: bool

    @property
    def who(self) -> str:
        return f"api:{self.token.name}"


class Failures:
    """Wrong tokens by address: so many in a minute, and it is told to wait.

    A right token always passes: with 256 random bits nobody finds one by trying, and whoever shares an
    address with somebody who tries must not be locked out.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._by_address: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, address: str) -> None:
        """Raises `ApiError` 429 when there are too many."""
        now = self._now()
        began, count = self._by_address.pop(address, (now, 0))
        if now - began >= FAILURES_S:
            began, count = now, 0
        self._by_address[address] = (began, count + 1)
        if len(self._by_address) > ADDRESSES_MAX:
            self._by_address.popitem(last=False)
        if count >= FAILURES_MAX:
            wait = int(FAILURES_S - (now - began)) + 1
            raise ApiError(
                429,
                "too_many_wrong_tokens",
                f"more than {FAILURES_MAX} wrong tokens within {FAILURES_S:.0f} s came from this address",
                f"Wait {wait} s, and look at the token.",
                {"Retry-After": str(wait)},
            )


class Guard:
    """ASGI middleware around everything: sets `state.caller` or refuses."""

    def __init__(self, app: ASGIApp, tokens: TokenFile, names: Iterable[str] = ()) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = LOOPBACK | {name.lower() for name in names}
        self._failures = Failures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            await _refuse(error, scope, receive, send)
            return
        await self._app(scope, _bounded(receive), _private(send))

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_origin(scope, headers)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            raise too_large()
        state: dict[str, Any] = scope.setdefault("state", {})
        state["wrong_token"] = lambda: self._failures.note(_address(scope))
        if scope["type"] == "http" and (scope["path"] in PUBLIC or scope["path"].startswith(PAGE)):
            return
        caller = self._caller(scope, headers)
        if caller.cookie and scope.get("method", "GET") not in SAFE and "origin" not in headers:
            raise ApiError(
                403,
                "no_origin",
                "a command with a browser's session must come with an Origin",
                "Browsers send it; a program sends its token as `Authorization: Bearer TOKEN`.",
            )
        state["caller"] = caller

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if _name(f"//{host}") not in self._hosts:
            raise ApiError(
                400,
                "unknown_host",
                f"this server is not {host[:200]!r}",
                "Ask by 127.0.0.1 or localhost, or name the host with `tcpdashboard serve --name`.",
            )
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host.lower():
            raise ApiError(
                403,
                "foreign_origin",
                f"pages of {origin[:200]!r} may not use this server",
                "Open the page from this server itself.",
            )

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if kind.lower() == "bearer" and secret:
            found, used = self._tokens.find(secret.strip()), False
        elif cookie:
            found, used = self._tokens.find(cookie), True
        else:
            raise unauthenticated()
        # a session is no token and a token no cookie: what leaks of one is of no use as the other
        if found is None or found.session != used:
            self._failures.note(_address(scope))
            raise unauthenticated()
        return Caller(found, used)


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """A page sees the code of a close, but nothing of a handshake that failed: one of ours, whose token is
    no longer valid, is let in to be told."""
    ours = error.status in (401, 429) and "origin" in Headers(scope=scope)
    if scope["type"] == "websocket" and ours:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        code, reason = close_of(error)
        await socket.close(code, reason)
    else:
        await answer(error)(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """The caller that `Guard` has let in."""
    return request.state.caller


Who = Annotated[Caller, Depends(caller_of)]


def needs(scope: TokenScope) -> Any:
    """The dependency of routes that need more than a valid token."""

    def check(who: Who) -> None:
        if not who.token.allows(scope):
            raise ApiError(
                403,
                "scope",
                f"this needs a token of scope {scope}, and {who.token.name} has scope {who.token.scope}",
                f"`tcpdashboard tokens create --scope {scope} --name NAME` makes one.",
            )

    return Depends(check)


def unauthenticated() -> ApiError:
    return ApiError(
        401,
        "unauthenticated",
        "this needs a token, and none that is valid was given",
        "Send `Authorization: Bearer TOKEN`; the first token is in the file `token` of the home folder,"
        " `tcpdashboard tokens create` makes others.",
        {"WWW-Authenticate": "Bearer"},
    )


def too_large() -> ApiError:
    message = f"a request has at most {BODY_BYTES_MAX} bytes"
    return ApiError(413, "too_large", message, "Nothing that this server takes is larger.")


def _bounded(receive: Receive) -> Receive:
    """Bodies that do not say their length are cut off where they become too large."""
    left = BODY_BYTES_MAX

    async def received() -> Any:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large()
        return message

    return received


def _private(send: Send) -> Send:
    """Answers are kept by no cache, shown in no frame, and taken for nothing but what they say they are."""

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(h for h in _HEADERS if h[0] not in given)]
        await send(message)

    return sent


_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
