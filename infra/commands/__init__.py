"""Commands to bots: who may write them into the journal, and what was asked before."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.commands.manager import BotManager

__all__ = ["BotManager"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: it brings the database, which a reader of the journal does without."""
    if name != "BotManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infra.commands import manager  # noqa: PLC0415 - as said

    return manager.BotManager
