"""The real worker or importer as a process that tests kill.

    python -m tests.crash.platform work
    python -m tests.crash.platform work --until-caught-up
    python -m tests.crash.platform import FILE MARKET_JSON ROWS

Settings come from the environment, as everywhere.
"""

import logging
import sys
from pathlib import Path

import msgspec

from infra.process.settings import load_settings
from infra.worker.root import work
from streams.backends import open_log
from streams.events import Market
from tests.trade_files import import_file


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
        case other:
            raise SystemExit(f"unknown: {other}")


if __name__ == "__main__":
    main()
