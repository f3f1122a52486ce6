"""Who may use the API: tokens, sessions, hosts and origins. `test_every_door.py` walks all routes."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.http import security
from api.http.security import COOKIE, PUBLIC
from infra.db.connect import database_at
from infra.process.settings import load_settings
from infra.strategies.registry import Strategies
from streams.backends import open_log
from tests.integration.api.conftest import Api, serving
from tests.integration.api.doors import BODY, problem, routes

GUARDED = [route for route in [*routes(), ("GET", "/api/openapi.json")] if route[1] not in PUBLIC]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tests here give wrong tokens from one address."""
    monkeypatch.setattr(security, "FAILURES_MAX", 10_000)


def test_the_public_routes_are_health_login_and_the_page_alone() -> None:
    assert {path for _, path in routes()} >= PUBLIC - {"/"}
    assert {"/", "/health/live", "/health/ready", "/auth/login"} == PUBLIC
    assert security.PAGE == "/page/"
    assert len(GUARDED) > 25


def test_there_are_seven_commands() -> None:
    assert len(routes(trade=True)) == 7


def test_health_needs_no_token(api: Api) -> None:
    for path in ("/health/live", "/health/ready"):
        assert httpx.get(api.url + path).json() == {"status": "ok"}


def test_a_token_in_the_url_is_none(api: Api) -> None:
    for name in ("token", "access_token", COOKIE):
        answer = httpx.get(f"{api.url}/api/bots", params={name: api.token("admin")})
        problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1:80"])
def test_another_host_is_refused_for_every_path(api: Api, host: str) -> None:
    with api.client("admin", Host=host) as client:
        for path in ("/api/bots", "/health/live"):
            answer = client.get(path)
            assert answer.status_code == 400
            assert answer.json()["code"] == "unknown_host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_the_loopback_are_known(api: Api, host: str) -> None:
    port = api.url.rpartition(":")[2]
    with api.client("read", Host=f"{host}:{port}") as client:
        assert client.get("/api/bots").status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[", ""])
def test_pages_of_others_are_refused(api: Api, origin: str) -> None:
    with api.client("admin", Origin=origin) as client:
        problem(client.get("/api/bots"), 403, "foreign_origin")
    answer = httpx.post(f"{api.url}/auth/login", headers={"Origin": origin}, json={"token": "x"})
    problem(answer, 403, "foreign_origin")


def test_no_answer_lets_pages_of_others_read_it(api: Api) -> None:
    with api.client("read", Origin=api.url) as client:
        headers = client.get("/api/bots").headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


def test_a_browser_logs_in_and_out(api: Api) -> None:
    with httpx.Client(base_url=api.url, headers={"Origin": api.url}) as browser:
        problem(browser.get("/auth/me"), 401, "unauthenticated")
        answer = browser.post("/auth/login", json={"token": api.token("trade")})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert api.token("trade") not in cookie
        me = browser.get("/auth/me").json()
        assert (me["name"], me["scope"]) == ("a-trade", "trade")
        stolen = {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}
        assert browser.post("/auth/logout").status_code == 204
    problem(httpx.get(f"{api.url}/auth/me", headers=stolen), 401, "unauthenticated")


def test_a_session_gives_commands_only_with_an_origin(fresh: Api) -> None:
    with httpx.Client(base_url=fresh.url) as browser:
        browser.post("/auth/login", json={"token": fresh.token("trade")})
        assert browser.get("/api/bots").status_code == 200
        problem(browser.post("/api/bots/1/stop"), 403, "no_origin")
        answer = browser.post("/api/bots/1/stop", headers={"Origin": fresh.url})
        assert answer.status_code == 202


def test_a_session_is_no_token_and_a_token_no_cookie(api: Api) -> None:
    with httpx.Client(base_url=api.url) as browser:
        browser.post("/auth/login", json={"token": api.token("read")})
        session = browser.cookies[COOKIE]
    for headers in (
        {"Authorization": f"Bearer {session}"},
        {"Cookie": f"{COOKIE}={api.token('read')}"},
    ):
        problem(httpx.get(f"{api.url}/api/bots", headers=headers), 401, "unauthenticated")
    answer = httpx.post(f"{api.url}/auth/login", json={"token": session})
    problem(answer, 401, "unauthenticated")


def test_wrong_tokens_are_told_to_wait_and_right_ones_pass(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "FAILURES_MAX", 3)
    headers = {"Authorization": "Bearer tcpd_guess"}
    codes = [httpx.get(f"{api.url}/api/bots", headers=headers).status_code for _ in range(5)]
    answer = httpx.post(f"{api.url}/auth/login", json={"token": "guess"})
    problem(answer, 429, "too_many_wrong_tokens")
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    assert codes[-1] == 429
    assert api.get("/auth/me")["name"] == "a-read"


def test_failures_are_counted_by_address_within_a_minute() -> None:
    now = [0.0]
    failures = security.Failures(lambda: now[0])
    for _ in range(security.FAILURES_MAX):
        failures.note("a")
    with pytest.raises(security.ApiError):
        failures.note("a")
    failures.note("b")
    now[0] = security.FAILURES_S
    failures.note("a")


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    large = b"x" * (security.BODY_BYTES_MAX + 1)
    answer = httpx.post(f"{api.url}/auth/login", content=large)
    problem(answer, 413, "too_large")
    answer = httpx.post(f"{api.url}/auth/login", content=iter([large]))
    assert answer.status_code in (400, 413)
    assert set(answer.json()) == {"code", "message", "hint"}


def test_an_admin_ends_a_token(fresh: Api) -> None:
    reader = fresh.client("read")
    assert reader.get("/api/bots").status_code == 200
    with fresh.client("admin") as admin:
        assert admin.delete("/api/tokens/a-read").status_code == 204
        problem(reader.get("/api/bots"), 401, "unauthenticated")
        problem(admin.delete("/api/tokens/a-read"), 404, "unknown_token")
        states = {token["name"]: token["state"] for token in admin.get("/api/tokens").json()["items"]}
    assert states["a-read"] == "revoked"
    reader.close()


def test_no_secret_is_told_when_the_database_is_gone(
    home: Path, strategies: Strategies, caplog: pytest.LogCaptureFixture
) -> None:
    url = "postgresql+psycopg2://tcpd:canary-7f3a@127.0.0.1:9/tcpd?connect_timeout=2"
    settings = replace(load_settings({"TCPD_HOME": str(home)}), database_url=url)
    caplog.set_level("DEBUG")
    told: list[str] = []
    with ExitStack() as stack:
        log = open_log(settings.log_url)
        stack.callback(log.close)
        api = serving(settings, log, database_at(url), strategies, stack)
        with api.client("admin") as client:
            for method, path in GUARDED:
                answer = client.request(method, path, json=BODY if path == "/api/bots" else None)
                told += [answer.text, str(answer.headers)]
                assert answer.status_code != 500, (path, answer.text)
            problem(client.get("/api/bots"), 503, "database_unavailable")
        problem(httpx.get(f"{api.url}/health/ready"), 503, "not_ready")
        assert httpx.get(f"{api.url}/health/live").status_code == 200
        records = [r for p in range(log.partitions) for r in log.read("journal", p)]
        secrets = ["canary-7f3a", api.token("admin")]
    everything = "\n".join([*told, caplog.text, str(records)])
    assert [secret for secret in secrets if secret in everything] == []
