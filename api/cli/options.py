"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Format = Literal["csv", "json", "parquet", "arrow"]
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, one object a line.")]
Venue = Annotated[str, typer.Option("--venue", help="Exchange, such as bitmex.")]
Symbol = Annotated[str, typer.Option("--symbol", help="Unified symbol, such as BTC/USD:BTC.")]
Frame = Annotated[Timeframe, typer.Option("--timeframe", help="Length of the candles.")]
BotId = Annotated[int, typer.Argument(metavar="ID", help="Bot id, see `bots list`.")]
From = Annotated[
    str | None, typer.Option("--from", help="After this event time, exclusive: 2018-01-01T09:05:00Z.")
]
To = Annotated[str | None, typer.Option("--to", help="Up to this event time, inclusive.")]
Formatted = Annotated[Format | None, typer.Option("--format", help="csv unless given; json is JSON lines.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="File to write; needed for parquet and arrow.", dir_okay=False)
]
NoFold = Annotated[bool, typer.Option("--no-fold", help="Only append; whoever folds next will see it.")]
Params = Annotated[
    list[str] | None, typer.Option("--param", metavar="k=v", help="Parameter of the strategy; repeatable.")
]
Names = Annotated[list[str] | None, typer.Option("--name", help="A host name it is asked by; repeatable.")]
Sizing = Annotated[
    str | None, typer.Option("--sizing", help="amount:X, cash:X or equity:F. [default: equity:1]")
]


def format_of(given: Format | None, json: bool, out: Path | None) -> Format:
    """The format asked for. Raises `typer.BadParameter` for binary on standard output."""
    chosen: Format = given or ("json" if json else "csv")
    if json and given not in (None, "json"):
        raise typer.BadParameter(f"--json and --format {given} contradict each other")
    if chosen in ("parquet", "arrow") and out is None:
        raise typer.BadParameter(f"{chosen} is binary: name a file with --out FILE")
    return chosen


def time_of(text: str | None, option: str) -> int | None:
    """ns of an ISO 8601 time. Raises `typer.BadParameter`."""
    from infra.present.values import parse_time

    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
