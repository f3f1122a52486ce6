"""`tcpdashboard`: the command line. Commands stand by theme in the modules beside this one.

Standard output is data only; messages for people go to standard error. A command imports what it needs when
it runs, so that `--help` is quick.
"""

import gc
import logging

import typer

from api.cli import (
    audit,
    bots,
    doctor,
    gaps,
    imports,
    letters,
    logs,
    markets,
    parity,
    reads,
    research,
    run,
    runs,
    serve,
    sources,
    strategies,
    sweep,
    upkeep,
)
from api.cli.failures import guarded

app = typer.Typer(
    name="tcpdashboard",
    help="Trading bots as a fold over a log: run, import, look at, replay and verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("up")(run.up)
app.command("worker")(run.worker)
app.command("collect")(run.collect)
app.command("serve")(serve.serve)
app.add_typer(serve.app, name="tokens")
app.command("import")(imports.import_)
app.add_typer(markets.app, name="markets")
app.add_typer(gaps.app, name="gaps")
app.add_typer(sources.app, name="sources")
app.add_typer(bots.app, name="bots")
app.command("candles")(reads.candles)
app.command("signals")(reads.signals)
app.command("trades")(reads.trades)
app.command("equity")(reads.equity)
app.command("log")(logs.log)
app.command("topics")(logs.topics)
app.command("schemas")(logs.schemas)
app.add_typer(letters.app, name="dead-letters")
app.command("replay")(audit.replay)
app.command("verify")(audit.verify)
app.command("anchor")(audit.anchor)
app.command("backtest")(research.backtest)
app.command("sweep")(sweep.sweep)
app.add_typer(runs.app, name="runs")
app.command("parity")(parity.parity)
app.command("rebuild")(upkeep.rebuild)
app.command("migrate")(upkeep.migrate)
app.command("settings")(upkeep.settings)
app.command("doctor")(doctor.doctor)
app.command("strategies")(strategies.strategies)


NEW_OBJECTS = 10_000
"""How many there may be before garbage is looked for, instead of Python's 700: imports make hundreds of
thousands that stay, and to look through them again and again takes a seventh of a worker's start."""


def main() -> int:
    """Run the command line; the exit code: 0, 1 when it failed, 2 when it was called wrongly."""
    gc.set_threshold(NEW_OBJECTS)
    # Faust's libraries give their loggers handlers that are silent: without one of ours nobody would be told
    # why a worker ended itself
    logging.basicConfig(format="tcpdashboard: %(message)s", level=logging.WARNING)
    return guarded(app)
