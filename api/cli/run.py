"""`up`: collector, engine and projector in one process, with a live view."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.failures import refusing
from api.cli.options import Json
from api.cli.output import say
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.worker import Feed, Progress

SPEED = 60.0
"""A minute a second: enough to see candles close and bots trade."""
MARKETS = 3
SOURCE = "sim"
DEMO_CASH = "100000"
DEMO_WAIT_S = 0.1
DEMO: tuple[tuple[str, dict[str, object]], ...] = (
    ("sma_cross", {"fast": 2, "slow": 5}),
    ("rsi_reversion", {"n": 3, "low": 40, "high": 60}),
    ("bollinger_breakout", {"n": 5, "width": 1}),
    ("macd_cross", {"fast": 2, "slow": 5, "signal": 2}),
)
"""Demo bots: strategy and parameters, each on 1m candles; the markets take turns. Their windows are so short
that all of them trade within twenty candles, that is seconds."""


def up(
    speed: Annotated[float, typer.Option("--speed", min=0.001, help="Venue seconds a second.")] = SPEED,
    markets: Annotated[
        int, typer.Option("--markets", min=0, max=1000, help="Simulated markets; 0 only folds.")
    ] = MARKETS,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.0, help="End after so long.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Create demo bots where there are none.")] = False,
    json: Json = False,
) -> None:
    """Run everything on the simulated exchange; Ctrl-C ends it cleanly, the next start continues."""
    with Session() as session:
        from api.cli.live import Live
        from infra.exchange.simulated import symbols
        from infra.worker import work

        names = symbols(markets)
        feeds = [_collector(session, names, speed)] if names else []
        if demo and names:
            feeds.append(_demo(session, names))
        session.migrate()
        ends = None if seconds is None else time.monotonic() + seconds

        def until(_: "Progress") -> bool:
            return ends is not None and time.monotonic() >= ends

        with Live(session, json=json) as view:
            work(session.settings, feeds=feeds, until=until, observe=view.observe)
        say("stopped; the next start continues here")


def _collector(session: Session, names: list[str], speed: float) -> "Feed":
    from infra.exchange.collector import DataCollector
    from infra.exchange.simulated import SimulatedExchange
    from infra.journal_view import source_state

    async def collect() -> None:
        state = await asyncio.to_thread(source_state, session.log, SOURCE)
        collector = DataCollector(session.log, state)
        collector.register_provider(SOURCE, SimulatedExchange(seed=session.settings.sim_seed, speed=speed))
        with refusing():
            await collector.start_collection(names)

    return collect


def _demo(session: Session, names: list[str]) -> "Feed":
    """Creates the demo bots when their markets stand in the journal, unless there is any bot."""
    from infra.commands import BotSpec
    from infra.exchange.simulated import VENUE
    from infra.journal_view import view
    from streams.topics import market_key

    def views() -> "tuple[set[str], bool]":
        seen = [view(session.log, partition) for partition in range(session.log.partitions)]
        return {key for v in seen for key in v.markets}, any(v.bots for v in seen)

    async def create() -> None:
        wanted = {market_key(VENUE, name) for name in names}
        known, has_bots = await asyncio.to_thread(views)
        while not wanted <= known:
            await asyncio.sleep(DEMO_WAIT_S)
            known, has_bots = await asyncio.to_thread(views)
        if has_bots:
            return
        for number, (strategy, params) in enumerate(DEMO):
            symbol = names[number % len(names)]
            spec = BotSpec(strategy, VENUE, symbol, "1m", DEMO_CASH, params, short=True)
            await asyncio.to_thread(session.manager.create_bot, spec, start=True)

    return create
