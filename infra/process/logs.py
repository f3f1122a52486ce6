"""How a process that runs on logs: lines for people on a terminal, else JSON on standard error.

Each JSON line has time, level, logger, message and worker; and where a record is being folded, the journal's
partition, offset and market. Passwords and tokens in URLs are hidden in both forms.
"""

import logging
import sys
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from infra.process.settings import shown
from streams.records import Record

OURS = ("streams", "projections", "infra", "api")
PLAIN = "tcpdashboard: %(message)s"

folding: ContextVar[Record | None] = ContextVar("folding", default=None)
"""The journal record that is being folded here."""


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


class _ToStandardError(logging.Handler):
    """To what standard error is at the time: a view on a terminal has lines put above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - as the handlers of the standard library do
            self.handleError(record)


class _Json(JsonFormatter):
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        record = folding.get()
        if record is not None:
            market = (record.key or b"").decode(errors="replace")
            place = {"partition": record.partition, "offset": record.offset, "market": market}
            log_data = {**place, **log_data}
        return {name: shown(value) if isinstance(value, str) else value for name, value in log_data.items()}


def log_as_service(worker: str) -> None:
    """Log to standard error in the form that fits it. `worker` names this process's slot."""
    handler = _ToStandardError()
    if sys.stderr.isatty():
        handler.setFormatter(_Plain(PLAIN))
    else:
        handler.setFormatter(
            _Json(
                "%(levelname)s %(name)s %(message)s",
                rename_fields={"levelname": "level", "name": "logger"},
                static_fields={"worker": worker},
                timestamp="time",
            )
        )
        for name in OURS:
            logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("stamina").setLevel(logging.ERROR)  # who tries again says why in words of its own
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
