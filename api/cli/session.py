"""What a command works with: settings, log, database, strategies, opened when first asked for."""

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from infra.process.settings import Settings, account, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from infra.commands import BotManager
    from infra.research.ledger import Ledger
    from infra.strategies.registry import Strategies
    from streams.log import Log


class Session:
    """One run of a command. Use it as a context manager."""

    def __init__(self, settings: Settings | None = None, *, answer_s: float | None = None) -> None:
        """`answer_s`: see `open_log`."""
        self.settings = settings or load_settings()
        self._answer_s = answer_s

    @cached_property
    def log(self) -> "Log":
        from streams.backends import open_log

        return open_log(self.settings.log_url, partitions=self.settings.partitions, answer_s=self._answer_s)

    @property
    def has_log(self) -> bool:
        """Whether the log is there already; opening it would make it."""
        url = urlsplit(self.settings.log_url)
        return url.scheme != "embedded" or Path(url.path).exists()

    @property
    def ledger(self) -> "Ledger | None":
        """The ledger of trials; None without a log, which is not made for it."""
        from infra.research.ledger import Ledger

        return Ledger(self.log, self.settings.home, self.settings.who) if self.has_log else None

    @cached_property
    def database(self) -> "Engine":
        """The projections; a SQLite file that is not there yet is made. Raises `SchemaError`."""
        from infra.db.schema import SchemaError, open_database

        file = self._sqlite_file
        if file is not None and not file.exists():
            self.migrate()
        try:
            return open_database(self.settings.database_url)
        except SchemaError as error:
            if file is None or error.revision is not None:
                raise
            self.migrate()  # another process is making it at this moment, and has not got to its tables
            return open_database(self.settings.database_url)

    def migrate(self, *, waiting: bool = False) -> str:
        """Bring the database to this version's tables, waiting for one that is away; returns the revision."""
        from infra.db.schema import migrate, migrate_when_reachable

        if self._sqlite_file is not None:
            self._sqlite_file.parent.mkdir(parents=True, exist_ok=True)
        return (migrate_when_reachable if waiting else migrate)(self.settings.database_url)

    @property
    def _sqlite_file(self) -> Path | None:
        scheme, _, path = self.settings.database_url.partition(":///")
        return Path(path) if scheme == "sqlite" and path else None

    @cached_property
    def strategies(self) -> "Strategies":
        from infra.strategies.registry import load_strategies

        return load_strategies(self.settings.kernels, self.settings.strategies)

    @cached_property
    def manager(self) -> "BotManager":
        from infra.commands import BotManager

        return BotManager(self.log, self.strategies, who(), self.database)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened = vars(self)
        if "database" in opened:
            self.database.dispose()
        if "log" in opened:
            self.log.close()


def who() -> str:
    """Who gives commands on this machine."""
    return f"cli:{account()}"
