"""Every route and socket that the app has, walked in the app itself: who is refused, and what stands open."""

from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIWebSocketRoute
from starlette.routing import Mount
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from api.http import security
from api.http.app import make_app
from api.http.security import COOKIE, SAFE
from infra.process.tokens import PREFIX
from tests.integration.api.conftest import Api
from tests.integration.api.doors import BODY, filled

OPEN = {"/", "/health/live", "/health/ready", "/auth/login"}
"""What needs no token: the page, which holds no data, and health."""
OPEN_FOLDERS = {"/page", "/page/vendor"}
OWN = {"/auth/logout"}
"""Anybody with a session may end it."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many wrong tokens come from one address here."""
    monkeypatch.setattr(security, "FAILURES_MAX", 10_000)


def walked(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from walked(inner.routes)


def doors(api: Api) -> list[tuple[str, str]]:
    """(method, path) of all routes, sockets as `WS`."""
    found: list[tuple[str, str]] = []
    for route in walked(make_app(api.services).routes):
        if isinstance(route, Mount):
            assert route.path in OPEN_FOLDERS
            continue
        path = filled(route.path)
        methods = {"WS"} if isinstance(route, APIWebSocketRoute) else route.methods
        found += [(method, path) for method in methods]
    return sorted(set(found))


def answered(api: Api, method: str, path: str, headers: dict[str, str]) -> int:
    """The HTTP status, also of a handshake; 101 for a socket that opened, or its close code."""
    if method != "WS":
        return httpx.request(method, api.url + path, headers=headers, json=BODY).status_code
    try:
        with connect(
            api.url.replace("http", "ws", 1) + path, additional_headers=headers, proxy=None
        ) as socket:
            socket.recv(timeout=30)
    except InvalidStatus as error:
        return error.response.status_code
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else 0
    return 101


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_a_valid_token_every_door_is_shut_but_those_that_are_listed(api: Api) -> None:
    given = api.services.tokens
    revoked, expired = given.create("revoked", "admin"), given.create("expired", "admin", "1m")
    given.revoke("revoked")
    now, given._now = given._now, lambda: now() + 61 * 10**9
    wrong = [
        {}, bearer(revoked), bearer(expired), bearer(f"{PREFIX}wrong"),
        {"Authorization": "Basic dXNlcjpwYXNz"}, {"Cookie": f"{COOKIE}={api.token('admin')}"},
    ]  # fmt: skip
    try:
        told = {
            (method, path, number): answered(api, method, path, headers)
            for method, path in doors(api)
            if path not in OPEN
            for number, headers in enumerate(wrong)
        }
    finally:
        given._now = now
        given.revoke("expired")
    assert {place: status for place, status in told.items() if status != 401} == {}
    assert len(told) > 200
    assert sum(method == "WS" for method, _, _ in told) == 4 * len(wrong)


def test_what_is_listed_stands_open(api: Api) -> None:
    for method, path in doors(api):
        if path in OPEN and method in SAFE:
            assert answered(api, method, path, {}) == 200


def test_a_page_is_told_by_a_close_code_that_its_session_is_over(api: Api) -> None:
    headers = {"Origin": api.url, "Cookie": f"{COOKIE}={PREFIX}gone"}
    for method, path in doors(api):
        if method == "WS":
            assert answered(api, method, path, headers) == 4401, path


def test_no_socket_opens_to_another_host_or_the_page_of_another_site(api: Api) -> None:
    valid = bearer(api.token("admin"))
    for method, path in doors(api):
        if method == "WS":
            assert answered(api, method, path, valid | {"Host": "evil.example"}) == 400, path
            for origin in ("http://evil.example", "http://127.0.0.1:1"):
                assert answered(api, method, path, valid | {"Origin": origin}) == 403, path


def test_a_read_token_opens_what_reads_and_nothing_else(api: Api) -> None:
    before, valid = api.get("/api/log"), bearer(api.token("read"))
    for method, path in doors(api):
        if path in OPEN or path in OWN:
            continue
        status = answered(api, method, path, valid)
        if path.startswith("/api/tokens") or method not in {*SAFE, "WS"}:
            assert status == 403, (method, path)
        else:
            assert status in (101, 200), (method, path)
    assert api.get("/api/log") == before


def test_a_trade_token_opens_nothing_of_the_tokens(api: Api) -> None:
    valid = bearer(api.token("trade"))
    found = [(method, path) for method, path in doors(api) if path.startswith("/api/tokens")]
    assert len(found) >= 2
    assert {answered(api, method, path, valid) for method, path in found} == {403}
