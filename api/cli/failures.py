"""From exceptions to one line on standard error and an exit code: the only place that does so."""

import errno
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import typer
from typer.exceptions import TyperException

from infra.process.errors import one_line

FAILED = 1
INTERRUPTED = 130

EXPECTED = {
    "api.cli.failures.CommandFailedError",
    "infra.process.settings.SettingsError",
    "infra.commands.given.RefusedError",
    "infra.process.tokens.TokenError",
    "infra.exchange.in_hand.InHandError",
    "infra.exchange.pieces.FileReadError",
    "infra.exchange.trade_file.BadRowError",
    "infra.exchange.files.OldFileError",
    "infra.strategies.archive.ArchiveError",
    "infra.strategies.sources.StrategyFileError",
    "infra.strategies.registry.UnknownStrategyError",
    "infra.research.certificate.ParityError",
    "projections.strategies.parameters.StrategyParameterError",
    "projections.fold.bots.CodeMissingError",
    "projections.research.bars.BarsError",
    "projections.research.gather.ChainError",
    "projections.research.round_trips.TooLargeError",
    "infra.research.report.ReportError",
    "infra.research.pieces.PiecesError",
    "projections.research.run.NotKnownError",
    "infra.db.schema.SchemaError",
    "infra.db.projector.ProjectionError",
    "infra.worker.root.FeedError",
    "infra.process.bundled_redis.RedisServerError",
    "streams.log.LogError",
    "streams.agents.sinks.SinkUnreachableError",
    "streams.codec.UndecodableError",
    "streams.genesis.JournalRefusedError",
    "builtins.OSError",
}
"""Errors whose message says all: what is wrong and what to do. They are named, not imported, since their
modules are heavy and loaded already where one of them is raised."""
SAID = {"infra.db.connect.DatabaseGoneError", "infra.db.connect.DiskFullError"}
"""Of a database's errors those that say themselves what to do."""
DATABASE = "sqlalchemy.exc.SQLAlchemyError"


class CommandFailedError(Exception):
    """A command that could not do what it was asked; the message says what to do."""


@contextmanager
def refusing(way: str = "") -> Generator[None]:
    """What is said with a plain ValueError in here is about what the user gave; `way` is said behind it."""
    try:
        yield
    except ValueError as error:
        raise CommandFailedError(f"{error}{way}") from error


def guarded(app: typer.Typer) -> int:
    """Run `app` on the command line's arguments; a failure becomes its line and its exit code."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        _say(_usage(error))
        return int(getattr(error, "exit_code", 2))
    except typer.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read the output has seen enough; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        line = told(error)
        if line is None:
            raise
        _say(line)
        return FAILED
    return code if isinstance(code, int) else 0


def told(error: Exception) -> str | None:
    """What people are told of an expected error; None for one that is a fault of ours."""
    names = set(_names(type(error)))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: {one_line(error)}; free space, start again"
    if names & SAID:
        return one_line(error)
    if DATABASE in names:
        return f"database: {one_line(error)}; look at `tcpdashboard settings` for its URL"
    if names & EXPECTED:
        return one_line(error)
    return None


def _names(kind: type) -> Iterable[str]:
    return (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" or context is None:
        return error.format_message()
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}. See `{context.command_path} --help`."


def _say(line: str) -> None:
    prefix = "" if "\n" in line else "tcpdashboard: "
    sys.stderr.write(f"{prefix}{line}\n")
