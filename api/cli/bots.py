"""`tcpdashboard bots …`: commands to bots, and what has become of them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli.options import BotId, Frame, Json, NoFold, Params, Sizing, Symbol, Venue
from api.cli.output import print_json, print_rows, print_table, say
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.commands import warming
    from infra.commands.manager import Begun
    from streams.records import Position

app = typer.Typer(help="Create, start, stop and look at bots.", no_args_is_help=True, rich_markup_mode=None)

LISTED = (
    "bot_id", "name", "tags", "venue", "symbol", "timeframe", "strategy", "params", "status", "position",
    "cash", "currency", "realised_pnl", "message",
)  # fmt: skip

Warm = Annotated[
    str | None,
    typer.Option("--warm", metavar="N|all", help="Candles to warm on. [default: what its indicators need]"),
]
Cold = Annotated[bool, typer.Option("--cold", help="Begin without the candles before it.")]
Short = Annotated[bool | None, typer.Option("--short/--no-short", help="Whether it may go short.")]
OnStale = Annotated[
    Literal["hold", "flatten", "ignore"] | None,
    typer.Option("--on-stale", help="While the market's feed is not live: open nothing, close, or go on."),
]


@app.command()
def create(
    strategy: Annotated[str, typer.Option("--strategy", help="See `tcpdashboard strategies`.")],
    venue: Venue,
    symbol: Symbol,
    timeframe: Frame,
    cash: Annotated[str, typer.Option("--cash", help="Initial cash in the settle currency.")],
    param: Params = None,
    sizing: Sizing = None,
    short: Short = None,
    on_stale: OnStale = None,
    name: Annotated[str, typer.Option("--name", help="What you call it.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A word to find it by; repeatable.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    warm: Warm = None,
    cold: Cold = False,
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Create a bot; it is stopped unless --start."""
    with Session() as session:
        from infra.commands.given import params_of, sizing_of
        from infra.commands.manager import BotSpec

        spec = BotSpec(
            strategy, venue, symbol, timeframe, cash, params_of(param or ()),
            sizing_of(sizing or "equity:1"), bool(short), name, tuple(tag or ()),
            on_stale or "hold",
        )  # fmt: skip
        begun = session.manager.create_bot(spec, start=start, warm=_warm(warm, cold=cold))
        _begun(session, begun, json, no_fold, "created")


@app.command()
def start(
    bot_id: BotId, warm: Warm = None, cold: Cold = False, no_fold: NoFold = False, json: Json = False
) -> None:
    """Start a bot, with today's code of its strategy; where that is other code, it begins anew."""
    with Session() as session:
        begun = session.manager.start_bot(bot_id, warm=_warm(warm, cold=cold))
        _begun(session, begun, json, no_fold, "started")


@app.command()
def stop(
    bot_id: BotId,
    flatten: Annotated[bool, typer.Option("--flatten", help="Close the position at the next trade.")] = False,
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Stop a bot: what is pending is cancelled, its position is kept."""
    with Session() as session:
        position = session.manager.stop_bot(bot_id, flatten=flatten)
        _done(session, [position], json, no_fold, f"bot {bot_id} stopped", bot_id)


@app.command()
def halt(
    bot_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="Bot id, or --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Halt every bot.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Stands in each bot's state.")] = "",
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Halt a bot, or all at once, and say why."""
    if every == (bot_id is not None):
        raise typer.BadParameter("name one bot, or --all")
    with Session() as session:
        if bot_id is None:
            positions = session.manager.halt_all(reason or "all bots halted by command")
            _done(session, positions, json, no_fold, "all bots halted")
        else:
            position = session.manager.halt_bot(bot_id, reason or "halted by command")
            _done(session, [position], json, no_fold, f"bot {bot_id} halted", bot_id)


@app.command()
def reconfigure(
    bot_id: BotId,
    param: Params = None,
    sizing: Sizing = None,
    short: Short = None,
    on_stale: OnStale = None,
    warm: Warm = None,
    cold: Cold = False,
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Change what is given of a bot; the rest stays, its indicators begin anew."""
    if not param and sizing is None and short is None and on_stale is None:
        raise typer.BadParameter("nothing to change: give --param, --sizing, --short or --on-stale")
    with Session() as session:
        from infra.commands.given import params_of, sizing_of

        begun = session.manager.reconfigure_bot(
            bot_id,
            params_of(param or ()),
            sizing_of(sizing) if sizing else None,
            short,
            on_stale,
            warm=_warm(warm, cold=cold),
        )
        _begun(session, begun, json, no_fold, "reconfigured")


@app.command("signal", context_settings={"ignore_unknown_options": True})
def signal_(
    bot_id: BotId,
    target: Annotated[float, typer.Argument(metavar="TARGET", help="-1 to 1, share of the bot's size.")],
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Give a bot a target by hand; the engine decides on it as on its strategy's own."""
    with Session() as session:
        position = session.manager.process_signal(bot_id, target)
        _done(session, [position], json, no_fold, f"bot {bot_id} was given target {target}", bot_id)


@app.command()
def show(bot_id: BotId, json: Json = False) -> None:
    """One bot: its specification, status and holdings, and why it opens nothing now, if so."""
    with Session() as session:
        row = _row(session, bot_id)
        row["holds"] = _holds(session, row)
        if json:
            print_json(row)
        else:
            print_table(({"field": name, "value": value} for name, value in row.items()), ("field", "value"))


@app.command("list")
def list_(json: Json = False) -> None:
    """All bots."""
    with Session() as session:
        from infra.db import queries
        from infra.db.pages import Window, every
        from infra.present import facts

        found = every(lambda window: queries.bots(session.database, window), Window())
        print_rows(map(facts.bot, found), LISTED, json=json)


def _row(session: Session, bot_id: int) -> dict[str, Any]:
    from infra.db import queries
    from infra.present import facts

    row = queries.bot(session.database, bot_id)
    if row is None:
        from infra.commands.given import RefusedError

        known = session.manager.market_of(bot_id)
        raise RefusedError(
            f"bot {bot_id} on {known} is in the journal and not in the database yet; fold it with"
            " `tcpdashboard up`"
        )
    return facts.bot(row)


def _warm(text: str | None, *, cold: bool) -> "warming.Warm":
    from infra.commands.manager import warm_of

    if cold and text is not None:
        raise typer.BadParameter("--warm and --cold contradict each other")
    return 0 if cold else None if text is None else warm_of(text)


def _begun(session: Session, begun: "Begun", json: bool, no_fold: bool, what: str) -> None:
    """What became of a bot that begins or begins anew, and on what it was warmed."""
    warmed, needed = begun.warm_up.candles, begun.warm_up.needed
    message = f"bot {begun.bot_id} {what}"
    if begun.warm_up.name:
        above = [f"{one.candles} of {timeframe}" for timeframe, one in begun.higher.items()]
        message += f", warmed on {' and '.join([f'{warmed} candles', *above])}"
        all_ = {"": begun.warm_up, **begun.higher}
        missing = [
            f"{one.needed - one.candles}{f' of {timeframe}' if timeframe else ''}"
            for timeframe, one in all_.items()
            if one.candles < one.needed
        ]
        if missing:
            message += (
                f": {' and '.join(missing)} are missing until its indicators are those of a bot that saw all"
                " before"
            )
    _done(session, [begun.position], json, no_fold, message, begun.bot_id, (warmed, needed))


def _holds(session: Session, row: dict[str, Any]) -> str:
    """Why a bot opens nothing now, "" where it may."""
    from infra.commands.journal_view import view
    from infra.present import facts
    from streams.feeds import Feeds
    from streams.records import partition_of

    market = row["market"]
    found = view(session.log, partition_of(market.encode(), session.log.partitions))
    feed = facts.feed(found.feeds.get(market, Feeds()))
    if row["on_stale"] == "ignore" or feed["feed"] == "live":
        return ""
    return facts.feed_words(feed)


def _done(
    session: Session,
    positions: list["Position"],
    json: bool,
    no_fold: bool,
    message: str,
    bot_id: int | None = None,
    warmed: tuple[int, int] | None = None,
) -> None:
    """Let the command take effect, then say where it stands."""
    if not no_fold:
        from api.cli.folding import fold_everything

        fold_everything(session)
    if json:
        places = [str(position) for position in positions]
        told: dict[str, Any] = {"positions": places}
        if bot_id is not None:
            told = {"bot_id": bot_id, "position": places[0]}
        if warmed is not None:
            told |= zip(("warmed", "needed"), warmed, strict=True)
        print_json(told)
    else:
        say(f"{message} at {', '.join(str(position) for position in positions)}")
