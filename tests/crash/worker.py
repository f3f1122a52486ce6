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

from streams.agents import Projector, caught_up, engine_agent, projector_agent
from streams.app import Follower, make_app, run_worker
from streams.log import open_log


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
    engine = engine_agent(app, log, fold, epoch=options.epoch, code="toy")
    followers: list[Follower] = [engine]
    projector: Projector | None = None
    if options.sink:
        toy = importlib.import_module("tests.crash.toy")
        projector = projector_agent(app, log, toy.ToySink(options.sink), toy.TOPICS)
        followers.append(projector)
    began = time.monotonic()
    until = (lambda: caught_up(log, engine, projector)) if options.until_caught_up else None
    run_worker(app, log, followers, until)
    log.close()
    logging.info("done after %.2f s", time.monotonic() - began)


if __name__ == "__main__":
    main()
