"""A real PostgreSQL server for tests: Debian's binaries, one cluster on 127.0.0.1, ended by its pid.

    python -m tests.services.postgres

prints the URL of an empty database and serves until it is interrupted. Needs Debian's package `postgresql`
(`tests/services/install.sh`); nothing else of it is used, neither its own cluster nor its settings.
"""

import argparse
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg2

from tests.services.server import Server, free_ports

BINARIES = Path("/usr/lib/postgresql")
OWNER = "tcpd"


class PostgresMissingError(Exception):
    """PostgreSQL's programs cannot be had; the message says the way out."""


class Postgres(Server):
    """One server with its data in a folder of its own; start, kill and restart keep data and address.

    Everybody on this machine is let in while it runs; its data are synced to the disk as in production.
    """

    ends_on = signal.SIGINT
    """Its clients' connections end with it."""

    def __init__(self) -> None:
        self.programs = programs()
        (self.port,) = free_ports(1)
        self._as_user = _as_user()
        self._numbers = count()
        self._given_back: list[str] = []
        super().__init__(Path(tempfile.mkdtemp(prefix="postgres-")))
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

    def command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self._as_user, str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]

    def answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def kill9(self) -> None:
        """Kill the server and all its processes, as a failing machine would."""
        self.running.freeze()  # so that it starts none while they are counted
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        workers: list[int] = []
        for pid in children:  # once it is gone a number may be another's
            with suppress(ProcessLookupError):
                workers.append(os.pidfd_open(int(pid)))
        super().kill9()
        for worker in workers:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            # one that waits for the disk still holds the shared memory, and the next server is refused
            select.select([worker], [], [], self.start_s)
            os.close(worker)

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

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
        done = subprocess.run(command, cwd="/", capture_output=True, timeout=self.start_s, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace")
            raise RuntimeError(f"{program} failed ({done.returncode}): {words}")


def programs() -> Path:
    """The folder of the newest version's programs. Raises `PostgresMissingError`."""
    found = [path.parent for path in BINARIES.glob("*/bin/postgres") if (path.parent / "initdb").exists()]
    if not found:
        raise PostgresMissingError(
            f"no PostgreSQL below {BINARIES}: tests/services/install.sh installs it (as root)"
        )
    return max(found, key=lambda path: int(path.parent.name))


def _as_user() -> list[str]:
    """The server refuses to run as root. Who becomes another is to be tied to its parent again."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if os.geteuid():
        return []
    if not setpriv:
        raise PostgresMissingError(
            "PostgreSQL does not run as root, and no setpriv is here to become another"
        )
    user = _unprivileged()
    group = pwd.getpwnam(user).pw_gid
    return [setpriv, "--pdeathsig", "KILL", f"--reuid={user}", f"--regid={group}", "--clear-groups"]


def _unprivileged() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


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
