"""Secrets are put into the settings of real processes and looked for in everything that leaves them.

The passwords of PostgreSQL and Redis and the API's token: in no output, answer, message, row, record,
argument of a process and file of the home, other than the settings file and the token's own. With services
that work, and with such that fail.
"""

from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis
import sqlalchemy

from api.http.app import ROUTERS
from streams.backends import open_log
from streams.topics import ALL
from tests.integration.api.doors import filled
from tests.integration.command_line import CommandLine
from tests.integration.running import children
from tests.programs import Program
from tests.services.postgres import Postgres
from tests.services.redis import Redis

POSTGRES, REDIS = "canary-a81f", "canary-b92e"
END = b"the end"
OWN = {"tcpd.toml", "token"}
"""Files of the home that hold secrets for whoever owns it."""
FILLED = {
    "bot_id": "1", "venue": "sim", "symbol": "BTC/USDT", "name": "sma_cross", "stream": "journal",
    "path": "index.html",
}  # fmt: skip
COMMANDS = (["settings"], ["settings", "--json"], ["bots", "list", "--json"], ["verify"], ["rebuild"])


class Seen:
    """All bytes that came out, by where."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}

    def add(self, where: str, what: object) -> None:
        self.bytes[f"{len(self.bytes)} {where}"] = what if isinstance(what, bytes) else str(what).encode()

    def run(self, cli: CommandLine) -> None:
        for words in COMMANDS:
            done = cli.run(*words)
            self.add(f"tcpdashboard {words}", f"{done.stdout}{done.stderr}")

    def program(self, program: Program) -> None:
        self.add(program.words().partition("(")[0], program.said + program.errors)

    def home(self, cli: CommandLine) -> None:
        for file in cli.home.rglob("*"):
            if file.is_file() and file.relative_to(cli.home).as_posix() not in OWN:
                self.add(str(file), file.read_bytes())

    def arguments(self, pid: int) -> None:
        """Of a process and its children, as everybody on the machine can read them."""
        for place in (f"/proc/{pid}/cmdline", f"/proc/{pid}/comm"):
            self.add(place, Path(place).read_bytes())
        for child in children(pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                self.arguments(child)

    def holding(self, *secrets: str) -> list[tuple[str, str]]:
        return [(where, s) for where, what in self.bytes.items() for s in secrets if s.encode() in what]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def home(tmp_path: Path) -> CommandLine:
    (tmp_path / "home").mkdir()
    return CommandLine(tmp_path / "home")


def configure(home: CommandLine, database: str, redis_url: str) -> None:
    (home.home / "tcpd.toml").write_text(f'database_url = "{database}"\nredis_url = "{redis_url}"\n')


def asked(seen: Seen, client: httpx.Client) -> None:
    """Every route is asked, right and wrong; `seen` gets the answers."""
    for router in ROUTERS:
        for route in router.routes:
            path = filled(getattr(route, "path", ""), FILLED)
            for method in getattr(route, "methods", ()):
                if not path.startswith(("/auth/logout", "/api/tokens/")):
                    answer = client.request(method, path, json={"strategy": "sma_cross", "cash": "x"})
                    seen.add(f"{method} {path}", f"{answer.headers}{answer.text}")
    for path in ("/api/openapi.json", "/api/bots/999", "/nowhere", "/api/bots?limit=x"):
        answer = client.get(path)
        seen.add(path, f"{answer.headers}{answer.text}")
    answer = client.post("/auth/login", json={"token": "no"})
    seen.add("login", f"{answer.headers}{answer.text}")


def stored(seen: Seen, home: CommandLine, database: str) -> None:
    """Every record of the log and every row of the database."""
    log = open_log(f"embedded://{home.home}/log")
    for topic in ALL:
        for partition in range(log.partitions):
            for record in log.read(topic, partition):
                seen.add(f"{topic}:{partition}:{record.offset}", repr(record))
    log.close()
    engine = sqlalchemy.create_engine(database)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.tables.values():
            seen.add(table.name, connection.execute(table.select()).all())
    engine.dispose()


def test_no_secret_leaves_processes_whose_services_work(
    home: CommandLine, postgres: Postgres, redis_server: Redis, seen: Seen
) -> None:
    database = postgres.fresh()
    locked = redis.Redis.from_url(redis_server.url)
    locked.config_set("requirepass", REDIS)
    redis_url = redis_server.url.replace("://", f"://:{REDIS}@")
    configure(home, database.replace("tcpd@", f"tcpd:{POSTGRES}@"), redis_url)
    heard = redis.Redis.from_url(redis_url).pubsub()
    heard.psubscribe("*")
    with (
        home.start("up", "--demo", "--speed", "600", "--markets", "2", "--json") as worker,
        home.start("serve", "--json") as server,
    ):
        address = server.line["api"]
        token = (home.home / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            worker.until(lambda: client.get("/api/bots/1/fills").json().get("items"), "fills")
            asked(seen, client)
        seen.arguments(worker.pid)
        seen.arguments(server.pid)
        seen.run(home)
        for program in (server, worker):
            program.end()
            seen.program(program)
    locked = redis.Redis.from_url(redis_url)
    locked.publish(END, b"")
    messages = 0
    while (message := heard.get_message(timeout=60))["channel"] != END:
        seen.add("Redis", message["data"])
        messages += 1
    assert messages > 20
    for key in locked.scan_iter():
        seen.add(f"Redis {key}", locked.get(key))
    seen.home(home)
    stored(seen, home, database)
    postgres.give_back(database)
    assert len(seen.bytes) > 200
    assert seen.holding(POSTGRES, REDIS, token) == []


def test_no_secret_leaves_processes_whose_services_fail(
    home: CommandLine, redis_server: Redis, seen: Seen
) -> None:
    """A database that is away; a Redis that refuses the password or is away; URLs that are none."""
    locked = redis.Redis.from_url(redis_server.url)
    locked.config_set("requirepass", "another")
    refusing = redis_server.url.replace("://", f"://:{REDIS}@")
    away = f"postgresql+psycopg2://tcpd:{POSTGRES}@127.0.0.1:9/x"
    configure(home, f"sqlite:///{home.home}/projections.db", refusing)
    seen.add("up", home.run("up", "--seconds", "2", "--markets", "1"))
    assert b"Redis is gone" in list(seen.bytes.values())[-1]
    configure(home, away, f"redis://:{REDIS}@127.0.0.1:9/0")
    for words in (["up", "--markets", "1"], ["serve"]):
        with home.start(*words) as program:
            program.until(lambda told=program: "waiting for database" in told.errors, "it waits")
            seen.arguments(program.pid)
            program.end()
            seen.program(program)
    seen.run(home)
    for setting, value in (
        ("LOG_URL", f"kafka://tcpd:{POSTGRES}@127.0.0.1:9"),
        ("DATABASE_URL", away.replace("postgresql+psycopg2", "mysql")),
        ("DATABASE_URL", away.replace(":9/", ":port/")),
        ("DATABASE_URL", away.partition("//")[2]),
        ("REDIS_URL", f"redis://:{REDIS}@127.0.0.1:port/0"),
    ):
        wrong = CommandLine(home.home, home.settings | {f"TCPD_{setting}": value})
        seen.add(f"{setting} {value}", words := wrong.error("up", "--seconds", "1"))
        assert "***" in words
    seen.home(home)
    assert seen.holding(POSTGRES, REDIS) == []
