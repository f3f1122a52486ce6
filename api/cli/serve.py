"""`serve` and `tokens …`: the API, and who may use it."""

import socket
from typing import Annotated, Literal

import typer

from api.cli.options import Json, Names
from api.cli.output import print_json, print_rows, say
from api.cli.running import announce, running
from api.cli.session import Session
from api.http.listening import LOOPBACK
from infra.process.signals import raise_delivered

app = typer.Typer(
    help="Make, list and revoke tokens of the API.", no_args_is_help=True, rich_markup_mode=None
)

LOG_ANSWER_S = 5.0
"""Who asks the API is told soon that Kafka is away, and does not hold one of its threads for long."""
LISTED = ("name", "scope", "created", "expires", "state")
Name = Annotated[
    str | None,
    typer.Option(
        "--name", help="Stands in the journal beside each of its commands. [default: such as read-1]"
    ),
]


def serve(
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="[default: 8321 where it is free]")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = LOOPBACK,
    name: Names = None,
    json: Json = False,
    child: Annotated[int | None, typer.Option("--child", hidden=True)] = None,
) -> None:
    """Serve the API, beside whoever folds; Ctrl-C ends it."""
    # `child` is a listening socket of the parent, `up`: the API then ends when standard input does
    with running(answer_s=LOG_ANSWER_S) as session:
        from api.http.child import end_with_parent

        if child is not None:
            end_with_parent()
        from api.http.app import make_app
        from api.http.listening import API_PORT, listen, url_of
        from api.http.server import Server, services
        from infra.process.addresses import API, announced

        session.migrate(waiting=True)
        hint = "name another with --host and --port"
        listener = listen(host, port, API_PORT, hint) if child is None else socket.socket(fileno=child)
        with (
            listener,
            services(session.settings, session.log, session.database, session.strategies) as served,
            announced(session.settings.home, API, url_of(listener)),
        ):

            def ready() -> None:
                line = {"api": url_of(listener), "token_file": str(served.tokens.plain)}
                announce(line, f"API at {line['api']}; the first token is in {line['token_file']}", json=json)

            said = ready if child is None else lambda: None
            raise_delivered()
            Server(make_app(served, [host, *(name or ())]), said).run([listener])


@app.command()
def create(
    scope: Annotated[Literal["read", "trade", "admin"], typer.Option("--scope", help="What it allows.")],
    name: Name = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Such as 30d, 12h or 15m. [default: never]")
    ] = None,
    json: Json = False,
) -> None:
    """Make a token; it is shown this once."""
    from infra.process.tokens import TokenFile

    with Session() as session:
        tokens = TokenFile(session.settings.home)
        name = name or tokens.free_name(scope)
        secret = tokens.create(name, scope, expires)
        if json:
            print_json({"name": name, "scope": scope, "token": secret})
        else:
            say(f"token {name}:")
            typer.echo(secret)


@app.command("list")
def list_(json: Json = False) -> None:
    """Every token that was made, without its secret."""
    from infra.process.tokens import TokenFile

    with Session() as session:
        rows = TokenFile(session.settings.home).listed()
        print_rows(rows, LISTED, json=json)


@app.command()
def revoke(name: Annotated[str, typer.Argument(metavar="NAME")], json: Json = False) -> None:
    """End a token and every session with it, at once; the next start makes the first one anew."""
    from infra.process.tokens import TokenFile

    with Session() as session:
        TokenFile(session.settings.home).revoke(name)
        if json:
            print_json({"revoked": name})
        else:
            say(f"token {name} is revoked")
