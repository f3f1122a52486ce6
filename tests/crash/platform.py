"""The real worker, importer or collector as a process that tests kill.

    python -m tests.crash.platform work
    python -m tests.crash.platform work --until-caught-up
    python -m tests.crash.platform import FILE MARKET_JSON ROWS
    python -m tests.crash.platform collect SPEED SYMBOL …

Settings come from the environment, as everywhere.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from infra.exchange.collector import DataCollector
from infra.exchange.files import import_file
from infra.exchange.simulated import SimulatedExchange
from infra.settings import load_settings
from infra.worker import work
from streams.events import Market
from streams.journal import scan
from streams.log import Log, open_log


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = load_settings()
    match sys.argv[1:]:
        case ["work"]:
            work(settings)
        case ["work", "--until-caught-up"]:
            work(settings, until=lambda progress: progress.caught_up)
        case ["import", file, market, rows]:
            log = open_log(settings.log_url)
            spec = msgspec.json.decode(market, type=Market)
            import_file(log, Path(file), spec, record_rows=int(rows))
            log.close()
        case ["collect", speed, *names]:
            log = open_log(settings.log_url)
            asyncio.run(collect(log, SimulatedExchange(speed=float(speed)), names))
            log.close()
        case other:
            raise SystemExit(f"unknown: {other}")


async def collect(log: Log, exchange: SimulatedExchange, names: Sequence[str]) -> None:
    """Until SIGTERM; what has arrived by then is written."""
    collector = DataCollector(log, scan(log, range(log.partitions)))
    collector.register_provider("sim", exchange)
    collecting = asyncio.ensure_future(collector.start_collection(names))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, collecting.cancel)
    with suppress(asyncio.CancelledError):
        await collecting


if __name__ == "__main__":
    main()
