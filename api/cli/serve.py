"""`serve` and `tokens …`: the API, and who may use it."""

import sys
from typing import Annotated, Literal

import typer

from api.cli.options import Json
from api.cli.output import print_json, print_table, say
from api.cli.session import Session

app = typer.Typer(
    help="Make, list and revoke tokens of the API.", no_args_is_help=True, rich_markup_mode=None
)

LOOPBACK = "127.0.0.1"
LISTED = ("name", "scope", "created", "expires", "state")
Name = Annotated[str, typer.Option("--name", help="Stands in the journal beside each of its commands.")]


def serve(
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="[default: 8321 where it is free]")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = LOOPBACK,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A host name it is asked by; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Serve the API, beside whoever folds; Ctrl-C ends it."""
    with Session() as session:
        from api.http.app import make_app
        from api.http.server import Server, listen, services, url_of

        session.migrate()
        with (
            services(
                session.settings,
                session.log,
                session.database,
                session.strategies,
                session.settings.redis_url,
            ) as served,
            listen(host, port) as bound,
        ):

            def ready() -> None:
                if json:
                    print_json({"api": url_of(bound), "token_file": str(served.tokens.plain)})
                    sys.stdout.flush()
                else:
                    say(f"API at {url_of(bound)}; the first token is in {served.tokens.plain}")

            Server(make_app(served, [host, *(name or ())]), ready).run([bound])


@app.command()
def create(
    name: Name,
    scope: Annotated[Literal["read", "trade", "admin"], typer.Option("--scope", help="What it allows.")],
    expires: Annotated[
        str | None, typer.Option("--expires", help="Such as 30d, 12h or 15m. [default: never]")
    ] = None,
    json: Json = False,
) -> None:
    """Make a token; it is shown this once."""
    from infra.tokens import TokenFile

    with Session() as session:
        secret = TokenFile(session.settings.home).create(name, scope, expires)
        if json:
            print_json({"name": name, "scope": scope, "token": secret})
        else:
            typer.echo(secret)


@app.command("list")
def list_(json: Json = False) -> None:
    """Every token that was made, without its secret."""
    from infra.tokens import TokenFile

    with Session() as session:
        rows = TokenFile(session.settings.home).listed()
        if json:
            for row in rows:
                print_json(row)
        else:
            print_table(rows, LISTED)


@app.command()
def revoke(name: Annotated[str, typer.Argument(metavar="NAME")], json: Json = False) -> None:
    """End a token and every session with it, at once; the next start makes the first one anew."""
    from infra.tokens import TokenFile

    with Session() as session:
        TokenFile(session.settings.home).revoke(name)
        if json:
            print_json({"revoked": name})
        else:
            say(f"token {name} is revoked")
