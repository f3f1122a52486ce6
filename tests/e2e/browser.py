"""Debian's chromium on the page of a running server, and the programs behind it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.e2e.conftest import Home
from tests.programs import LOOK_S

WAIT_MS = 30_000
PHONE = {"width": 360, "height": 740}

expect.set_options(timeout=WAIT_MS)


def wait_for(holds: Callable[[], bool], seconds: float = 120) -> None:
    """Asks again and again, and leaves the processor to what it asks meanwhile."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never came about"
        threading.Event().wait(LOOK_S)


class Site:
    """The API and page of a home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._server = home.start("serve", "--json", "--port", "0")
        said = self._server.line
        self.url: str = said["api"]
        self.token = Path(said["token_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {self.token}"}
        self.api = httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def freeze(self) -> None:
        """The server takes connections and answers none, as where only its API process is gone."""
        self._server.freeze()

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._server.kill()

    def start(self) -> None:
        """The server once more, on the same port."""
        port = urlsplit(self.url).port
        self._server = self.home.start("serve", "--json", "--port", port)
        assert self._server.line["api"] == self.url

    def stop(self) -> None:
        self.api.close()
        self._server.kill()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def site(home: Home) -> Iterator[Site]:
    running = Site(home)
    try:
        yield running
    finally:
        running.stop()


class Visit:
    """A page in a session of its own, and what it said and asked for since it was logged in."""

    def __init__(self, browser: Browser, site: Site, token: str | None = None, **options: Any) -> None:
        self.site = site
        self.context: BrowserContext = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._ask)
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.login(token or site.token)

    def login(self, token: str) -> None:
        self.page.goto(self.site.url)
        self.page.get_by_label("Token").fill(token)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#logout")).to_be_visible()
        self.errors.clear()  # whoever is not logged in yet is told so with a 401, which chromium reports

    def open(self, route: str) -> None:
        """Go there by its address, as from a bookmark."""
        self.page.evaluate("route => { location.hash = route; }", f"#/{route}")

    def close(self) -> None:
        self.context.close()

    def _ask(self, request: Request) -> None:
        self.asked.append(request.url)


Open = Callable[..., Visit]


def table(page: Page) -> list[list[str]]:
    """Closed candles as the page shows them, oldest first: close time, open, high, low, close, volume."""
    rows: list[list[str]] = page.locator(".candles tbody").evaluate(
        "body => Array.from(body.rows, row => Array.from(row.cells, cell => cell.textContent))"
    )
    return [[cell.replace(",", "") for cell in row] for row in reversed(rows)]
