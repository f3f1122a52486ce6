"""A real PostgreSQL server for tests: Debian's binaries, one cluster on 127.0.0.1, ended by its pid.

    python -m tests.services.postgres

prints the URL of an empty database and serves until it is interrupted. Needs Debian's package `postgresql`
(`tests/services/install.sh`); nothing else of it is used, neither its own cluster nor its settings.
"""

import argparse
import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg2

BINARIES = Path("/usr/lib/postgresql")
OWNER = "tcpd"
START_S = 60.0
STEP_S = 0.05


class PostgresMissingError(Exception):
    """PostgreSQL's programs cannot be had; the message says the way out."""


class Postgres:
    """One server with its data in a folder of its own; start, kill and restart keep data and address.

    Everybody on this machine is let in while it runs; its data are synced to the disk as in production.
    """

    def __init__(self) -> None:
        self.programs = programs()
        self.port = _free_port()
        self._as_user = _as_user()
        self._numbers = count()
        self._given_back: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if self._as_user:
            shutil.chown(self.folder, _unprivileged())
        options = ["-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        try:
            self._run("initdb", "-D", str(self.folder / "data"), *options)
        except RuntimeError:
            shutil.rmtree(self.folder)
            raise

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg2://{OWNER}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of an empty database."""
        if self._given_back:
            return self.url(self._given_back.pop())
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empty the database at `url`, also while somebody is connected, so that `fresh` gives it again.

        Dropping it would take the server ten times as long.
        """
        name = url.rsplit("/", 1)[1]
        self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()",
            name,
        )
        self._execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", name)
        self._given_back.append(name)

    def start(self) -> "Postgres":
        """Start the server and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options],
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; they stop the server
            )
        atexit.register(self.stop)
        self._wait_until_it_answers()
        return self

    def kill9(self) -> None:
        """Kill the server and all its processes, as a failing machine would."""
        assert self._process is not None
        pid = self._process.pid
        self._process.send_signal(signal.SIGSTOP)  # so that it starts none while they are counted
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._end(signal.SIGKILL)
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(int(worker), signal.SIGKILL)

    def restart(self) -> "Postgres":
        self.stop()
        return self.start()

    def stop(self) -> None:
        """End the server in order, and its clients' connections with it."""
        self._end(signal.SIGINT)

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self) -> int:
        """Wait until the server ends, whoever ends it; its exit code."""
        assert self._process is not None
        return self._process.wait()

    def _execute(self, statement: str, database: str = "postgres") -> None:
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=OWNER, dbname=database)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self.programs / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, timeout=START_S, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace")
            raise RuntimeError(f"{program} failed ({done.returncode}): {words}")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._exited_within(STEP_S):
                raise RuntimeError(f"PostgreSQL ended at its start:\n{self._last_words()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise RuntimeError(f"PostgreSQL did not answer in {START_S:.0f} s:\n{self._last_words()}")

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def _exited_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        if not self._exited_within(30):
            self._process.kill()
            self._process.wait()
        self._process = None
        atexit.unregister(self.stop)

    def _last_words(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]


def programs() -> Path:
    """The folder of the newest version's programs. Raises `PostgresMissingError`."""
    found = [path.parent for path in BINARIES.glob("*/bin/postgres") if (path.parent / "initdb").exists()]
    if not found:
        raise PostgresMissingError(
            f"no PostgreSQL below {BINARIES}: tests/services/install.sh installs it (as root)"
        )
    return max(found, key=lambda path: int(path.parent.name))


def _as_user() -> list[str]:
    """The server refuses to run as root. On Linux it dies with the process that started it."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    tied = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    if os.geteuid():
        return tied
    if not setpriv:
        raise PostgresMissingError(
            "PostgreSQL does not run as root, and no setpriv is here to become another"
        )
    user = _unprivileged()
    return [*tied, f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]


def _unprivileged() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main() -> None:
    argparse.ArgumentParser(description="Serve PostgreSQL for tests until interrupted.").parse_args()
    server = Postgres()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.start()
        print(server.fresh(), flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


if __name__ == "__main__":
    main()
