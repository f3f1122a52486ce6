"""The installed command line in a home folder of its own."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.programs import COMMAND, Program, environment, run
from tests.services.redis import Redis, RedisMissingError

BITMEX = ["--venue", "bitmex", "--symbol", "BTC/USD:BTC"]
SPECIFICATION = [*BITMEX, "--contract", "inverse", "--price-step", "0.5", "--size-step", "1"]

CHROMIUM = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip

Run = Callable[..., subprocess.CompletedProcess[str]]


class Home:
    """A `TCPD_HOME` and the commands in it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = environment(folder, settings)

    def run(self, *command: object, code: int = 0) -> str:
        """What a command prints; it must end with `code`."""
        done = run(*command, environment=self.environment, timeout_s=280)
        told = f"{command}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == code, told
        return done.stdout if code == 0 else done.stdout + done.stderr

    def copy(self, folder: Path) -> "Home":
        """The same in a copy of the home folder."""
        shutil.copytree(self.folder, folder)
        copied = Home(folder)
        copied.environment = self.environment | {"TCPD_HOME": str(folder)}
        return copied

    def start(self, *command: object) -> Program:
        return Program(COMMAND, *command, environment=self.environment)

    def json(self, *command: object, code: int = 0) -> Any:
        return json.loads(self.run(*command, "--json", code=code).splitlines()[-1])

    def lines(self, *command: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*command, "--format", "json").splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    try:
        server = Redis(tmp_path_factory.mktemp("redis")).start()
    except RedisMissingError as error:
        missing(str(error))
    yield server
    server.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Any]]:
    """Opens pages, each in a session of its own; they are closed afterwards."""
    from tests.e2e.browser import Visit

    visits: list[Visit] = []

    def opened(*given: Any, **options: Any) -> Visit:
        visits.append(Visit(browser, *given, **options))
        return visits[-1]

    yield opened
    for one in visits:
        one.close()


def chromium() -> str:
    """Skips where there is none; fails where CI says that there should be."""
    found = shutil.which("chromium")
    return found or missing("no chromium on this machine: tests/services/install.sh installs it (as root)")


def missing(words: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)
