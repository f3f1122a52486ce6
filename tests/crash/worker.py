"""A worker in a process of its own, for tests that kill it.

    python -m tests.crash.worker --url URL --worker NAME --epoch N --dir DIR
        --fold MODULE:FACTORY [--sink FILE]

It runs until SIGTERM; with `--until-caught-up`, until everything is folded and projected.
"""

import argparse
import importlib
import logging
import time
from pathlib import Path

from streams.agents.app import make_app, run_worker
from streams.agents.engine import Engine
from streams.agents.projector import Projector
from streams.backends import open_log


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--url", "--worker", "--dir", "--fold"):
        parser.add_argument(name, required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--sink", type=Path)
    parser.add_argument("--until-caught-up", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")

    log = open_log(options.url)
    app = make_app(options.url, worker=options.worker, datadir=Path(options.dir))
    module, _, factory = options.fold.partition(":")
    fold = getattr(importlib.import_module(module), factory)
    followers: list[Engine | Projector] = [Engine(app, log, fold, epoch=options.epoch, code="toy")]
    if options.sink:
        toy = importlib.import_module("tests.crash.toy")
        followers.append(Projector(app, log, toy.ToySink(options.sink), toy.TOPICS))
    began = time.monotonic()
    until = (lambda: all(one.is_at_end() for one in followers)) if options.until_caught_up else None
    run_worker(app, log, followers, until)
    log.close()
    logging.info("done after %.2f s", time.monotonic() - began)


if __name__ == "__main__":
    main()
