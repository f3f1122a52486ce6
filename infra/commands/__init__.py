"""Commands to bots: who may write them into the journal, and what was asked before."""

from infra.commands.manager import BotManager

__all__ = ["BotManager"]
