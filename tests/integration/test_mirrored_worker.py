"""A whole worker with the simulated exchange beside it, as a subscriber of its Redis sees it."""

import asyncio
from pathlib import Path

from infra.commands.journal_view import source_state
from infra.exchange.collector import DataCollector
from infra.exchange.simulated import SimulatedExchange, symbols
from infra.process.settings import load_settings
from infra.worker.root import Progress, work
from streams.backends import open_log
from tests.services.redis import bundled_redis
from tests.subscriber import Subscriber


def test_candles_form_and_close_on_the_markets_channel(tmp_path: Path) -> None:
    settings = load_settings({"TCPD_HOME": str(tmp_path)})
    log, symbol = open_log(settings.log_url), symbols(1)[0]

    async def collect() -> None:
        collector = DataCollector(log, await asyncio.to_thread(source_state, log, "sim"))
        collector.register_provider("sim", SimulatedExchange(speed=300))
        await collector.start_collection([symbol])

    with bundled_redis() as server, Subscriber(server.url, f"market_data:{symbol}") as subscriber:

        def seen(_: Progress) -> bool:
            live = subscriber.sessions[-1:]
            return bool(live and len(live[0].counted) > 6 and len(live[0].forming) > 6)

        work(settings, feeds=[collect], until=seen, redis=server)
        session = next(session for session in subscriber.sessions if session.counted)
    log.close()
    assert session.is_dense()
    assert {message["timeframe"] for message in session.counted} >= {"1m", "5m"}
    assert not any(message["forming"] for message in session.counted)
    for forming in session.forming:
        assert forming["timeframe"] == "1m"
        closed = [m for m in session.counted if m["timeframe"] == "1m" and m["seq"] <= forming["seq"]]
        assert all(m["timestamp"] < forming["timestamp"] for m in closed[-1:])
