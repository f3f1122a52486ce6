"""`up`: everything at once. `worker` and `collect`: its parts as processes of their own, beside `serve`."""

import asyncio
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.failures import refusing
from api.cli.fakes import faked
from api.cli.options import Json, Names
from api.cli.running import (
    Standing,
    announce,
    listen_for_probes,
    probing,
    refuse_second_fold,
    running,
    tell,
    until_signalled,
    when_ready,
)
from api.cli.session import Session
from api.http.listening import API_PORT, LOOPBACK, listen, url_of
from infra.process.signals import raise_delivered

if TYPE_CHECKING:
    from infra.exchange.collecting import Collecting
    from infra.process.bundled_redis import RedisServer
    from infra.process.settings import Settings
    from infra.worker.root import Feed, Progress

SPEED = 60.0
"""A minute a second: enough to see candles close and bots trade."""
MARKETS = 3
DEMO_CASH = "100000"
DEMO_SIZE = "equity:0.1"
"""They trade so often that fees would eat whoever always stakes everything."""
DEMO_WAIT_S = 0.1
DEMO: tuple[tuple[str, dict[str, object]], ...] = (
    ("sma_cross", {"fast": 2, "slow": 5}),
    ("rsi_reversion", {"n": 3, "low": 40, "high": 60}),
    ("bollinger_breakout", {"n": 5, "width": 1}),
    ("macd_cross", {"fast": 2, "slow": 5, "signal": 2}),
)
"""Demo bots: strategy and parameters, each on 1m candles; the markets take turns. Their windows are so short
that all of them trade within twenty candles, that is seconds."""

Speed = Annotated[
    float | None,
    typer.Option(
        "--speed", min=0.001, help=f"Venue seconds a second of simulated markets. [default: {SPEED:g}]"
    ),
]
ApiPort = Annotated[
    int | None,
    typer.Option("--api-port", min=0, max=65535, help="API and page. [default: 8321 where it is free]"),
]
RedisPort = Annotated[
    int | None,
    typer.Option("--redis-port", min=1, max=65535, help="Bundled Redis. [default: 6379 where it is free]"),
]
Feeds = Annotated[
    list[str] | None,
    typer.Option(
        "--feed",
        metavar="VENUE:SYMBOL",
        help="Collect this of a real exchange; repeatable. [default: the setting `feeds`]",
    ),
]
BackfillMax = Annotated[
    str | None,
    typer.Option(
        "--backfill-max",
        metavar="SPAN",
        help="How old trades may be that were missed of a feed and are fetched; 0: none are. [default: 24h]",
    ),
]
Raw = Annotated[
    bool, typer.Option("--raw", help="Keep what comes by sockets, as it came: raw/VENUE/DATE.gz of the home.")
]
Fakes = Annotated[
    list[str] | None,
    typer.Option(
        "--fake",
        metavar="VENUE",
        help="Collect a made exchange of the tests, in a home that is gone at the end; repeatable.",
    ),
]
ProbePort = Annotated[
    int | None,
    typer.Option("--probe-port", min=0, max=65535, help="Health, metrics. [default: 9464 where it is free]"),
]
ProbeHost = Annotated[str, typer.Option("--probe-host", help="Address that health and metrics listen on.")]


def up(
    speed: Speed = None,
    markets: Annotated[
        int | None,
        typer.Option(
            "--markets", min=0, max=1000, help=f"Simulated markets; 0 only folds. [default: {MARKETS}]"
        ),
    ] = None,
    feed: Feeds = None,
    backfill_max: BackfillMax = None,
    raw: Raw = False,
    fake: Fakes = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.0, help="End after so long.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Create demo bots where there are none.")] = False,
    api_port: ApiPort = None,
    redis_port: RedisPort = None,
    probe_port: ProbePort = None,
    json: Json = False,
) -> None:
    """Run everything, on the simulated exchange or on real ones; Ctrl-C ends it cleanly, the next start
    continues."""
    with faked(fake or (), feed or ()) as wanted, running() as session, ExitStack() as stack:
        from api.http.child import ApiProcess

        refuse_second_fold(session)
        collected = _collecting(stack, session.settings, wanted, markets, speed, raw=raw, span=backfill_max)
        keys, collecting = collected
        if demo and collecting is None:
            raise typer.BadParameter("--demo needs a market, and --markets 0 leaves none")
        probes = listen_for_probes(probe_port)
        listener = listen(LOOPBACK, api_port, API_PORT, "give another with --api-port")
        redis = stack.enter_context(_bundled_redis(session, redis_port))
        redis_url = str(session.settings.redis_url if redis is None else redis.url)
        api = stack.enter_context(ApiProcess(listener, {"TCPD_REDIS_URL": redis_url}))

        from api.cli.live import Live
        from infra.worker.root import work

        session.migrate(waiting=True)
        standing = Standing(session)
        feeds: list[Feed] = [] if collecting is None else [collecting.run]
        if demo and collecting is not None:
            feeds.append(_demo(session, keys, collecting))

        def is_ready() -> bool:
            return standing.is_ready() and (collecting is None or collecting.is_connected())

        why = str if collecting is None else collecting.why
        probe = stack.enter_context(probing(session, probes, is_ready, why=why))
        places = _places(session, api=url_of(listener), redis=redis_url, probe=probe)
        if json:
            ready = when_ready(lambda: is_ready() and api.is_ready(), lambda: announce(places, "", json=True))
            stack.enter_context(ready)
        else:
            tell(_message(places))
        view = None if json else stack.enter_context(Live(session, _message(places)))
        ends = None if seconds is None else time.monotonic() + seconds

        def observe(progress: "Progress") -> None:
            standing.observe(progress)
            if view is not None:
                view.observe(progress)

        def until(_: "Progress") -> bool:
            return ends is not None and time.monotonic() >= ends

        raise_delivered()
        work(session.settings, feeds=feeds, until=until, observe=observe, redis=redis, counting=True)
    tell("stopped" if fake else "stopped; the next start continues here")


def worker(
    probe_host: ProbeHost = LOOPBACK, probe_port: ProbePort = None, name: Names = None, json: Json = False
) -> None:
    """Fold, project and mirror, beside `serve` and `collect`; on Kafka as many as you like."""
    with running() as session:
        from infra.worker.root import work

        refuse_second_fold(session)
        standing = Standing(session)
        probes = listen_for_probes(probe_port, probe_host)
        with probing(session, probes, standing.is_ready, [probe_host, *(name or ())]) as probe:
            places = _places(
                session, worker=session.settings.worker, redis=session.settings.redis_url, probe=probe
            )
            with when_ready(standing.is_ready, lambda: announce(places, _message(places), json=json)):
                raise_delivered()
                work(session.settings, observe=standing.observe, counting=True)
    tell("stopped")


def collect(
    speed: Speed = None,
    markets: Annotated[
        int | None,
        typer.Option("--markets", min=1, max=1000, help=f"Simulated markets. [default: {MARKETS}]"),
    ] = None,
    feed: Feeds = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="Collect this one instead; repeatable.")
    ] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Beside other collectors: sources VENUE#NAME.")
    ] = None,
    backfill_max: BackfillMax = None,
    raw: Raw = False,
    probe_host: ProbeHost = LOOPBACK,
    probe_port: ProbePort = None,
    name: Names = None,
    json: Json = False,
) -> None:
    """Collect market data into the journal, beside `worker`."""
    with running() as session, ExitStack() as stack:
        _, collecting = _collecting(
            stack, session.settings, feed or (), markets, speed, symbol, as_, raw=raw, span=backfill_max
        )
        assert collecting is not None, "there is a market at least"
        probes = listen_for_probes(probe_port, probe_host)
        hosts = [probe_host, *(name or ())]
        with probing(session, probes, collecting.is_ready, hosts, collecting.why) as probe:
            places = _places(session, source=", ".join(collecting.sources), probe=probe)
            with (
                when_ready(collecting.is_ready, lambda: announce(places, _message(places), json=json)),
                refusing(),
            ):
                raise_delivered()
                asyncio.run(until_signalled(collecting.run()))
    tell("stopped")


def _fetching(settings: "Settings", backfill_max: str | None) -> "Settings":
    """The settings, with what is given of them. Raises `typer.BadParameter`."""
    from infra.process.spans import seconds

    try:
        return settings if backfill_max is None else replace(settings, backfill_max=seconds(backfill_max))
    except ValueError as error:
        raise typer.BadParameter(f"--backfill-max {backfill_max!r} {error}") from None


def _collecting(
    stack: ExitStack,
    settings: "Settings",
    feeds: Sequence[str],
    markets: int | None,
    speed: float | None,
    symbols: list[str] | None = None,
    name: str | None = None,
    *,
    raw: bool,
    span: str | None,
) -> "tuple[list[str], Collecting | None]":
    """Keys of what is collected, and its collector: feeds that are given or set, else simulated markets.
    What is given and is of the others is refused: `typer.BadParameter`."""
    from infra.exchange.collecting import from_venues, simulated
    from infra.exchange.simulated import VENUE
    from infra.exchange.simulated import symbols as first
    from infra.exchange.venues.known import by_venue
    from streams.topics import market_key

    settings = _fetching(settings, span)
    found = list(dict.fromkeys(feeds or (() if symbols else settings.feeds)))
    if found:
        way = "--feed" if feeds else f"unset feeds ({settings.origins['feeds']})"
        of_simulated = {"--speed": speed, "--markets": markets, "--symbol": symbols or None}
        _refuse(of_simulated, f"of the simulated exchange; leave that out, or {way}")
        with refusing("" if feeds else f"; mend the setting feeds ({settings.origins['feeds']})"):
            by_venue(found)
        with refusing():
            return found, stack.enter_context(from_venues(settings, found, name=name, raw=raw))
    _refuse({"--raw": raw or None, "--backfill-max": span}, "of real exchanges; name one with --feed")
    if symbols:
        _refuse({"--markets": markets}, "so many, and --symbol names them; leave one of them out")
    names = list(dict.fromkeys(symbols or first(MARKETS if markets is None else markets)))
    if not names:
        return [], None
    speed = SPEED if speed is None else speed
    with refusing():
        collecting = stack.enter_context(simulated(settings, names, speed=speed, name=name))
    return [market_key(VENUE, symbol) for symbol in names], collecting


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raises `typer.BadParameter` where any of these is given."""
    if given := [name for name, value in options.items() if value is not None]:
        raise typer.BadParameter(f"{', '.join(given)}: {why}")


@contextmanager
def _bundled_redis(session: Session, port: int | None) -> "Generator[RedisServer | None]":
    """The bundled server at work, its address announced; None where the setting `redis_url` names another."""
    from infra.process.addresses import REDIS, announced
    from infra.process.bundled_redis import RedisServer

    if session.settings.redis_url is None:
        with RedisServer(port) as redis, announced(session.settings.home, REDIS, redis.url):
            yield redis
    elif port is None:
        yield None
    else:
        raise typer.BadParameter(
            "--redis-port is the bundled server's, but the setting redis_url names another"
        )


def _places(session: Session, **places: str | None) -> dict[str, str | None]:
    """Where everything is, as it may be shown."""
    from infra.process.settings import shown

    masked = {name: None if place is None else shown(place) for name, place in places.items()}
    return {**masked, "token_file": str(session.settings.home / "token")}


def _message(places: Mapping[str, str | None]) -> str:
    return "   ".join(f"{name.replace('_', ' ')} {place}" for name, place in places.items() if place)


def _demo(session: Session, keys: list[str], collecting: "Collecting") -> "Feed":
    """Creates the demo bots when their markets stand in the journal, unless there is any bot. A market that
    is not to be had gets none."""
    from infra.commands.given import sizing_of
    from infra.commands.journal_view import view
    from infra.commands.manager import BotSpec

    def views() -> "tuple[set[str], bool]":
        seen = [view(session.log, partition) for partition in range(session.log.partitions)]
        return {key for v in seen for key in v.markets}, any(v.bots for v in seen)

    async def create() -> None:
        while True:
            known, has_bots = await asyncio.to_thread(views)
            found = [key for key in keys if key not in collecting.refused()]
            if found and set(found) <= known:
                break
            await asyncio.sleep(DEMO_WAIT_S)
        if has_bots:
            return
        for number, (strategy, params) in enumerate(DEMO):
            venue, _, symbol = found[number % len(found)].partition(":")
            sizing = sizing_of(DEMO_SIZE)
            spec = BotSpec(strategy, venue, symbol, "1m", DEMO_CASH, params, sizing, short=True)
            await asyncio.to_thread(session.manager.create_bot, spec, start=True)

    return create
