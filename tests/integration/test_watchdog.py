"""The watchdog ends what does not get on, and nothing else."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

import pytest

from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.process.settings import load_settings
from infra.strategies.registry import Strategies, load_strategies
from infra.worker.measured import Folding, MeasuredFold
from projections.fold.pipeline import Pipeline
from projections.fold.tape import Tape
from streams.agents.app import FAILED
from streams.agents.watchdog import Doing, Watchdog
from streams.backends import open_log
from streams.journal import JournalWriter
from streams.log import Log, LogError
from streams.records import Entry
from streams.topics import JOURNAL
from tests.crash.toy import journal
from tests.journal import START, batch, batch_of, fold, records, spot
from tests.programs import environment

PLACE, OTHER = (JOURNAL, 1), (JOURNAL, 2)
STALLED_S = 0.1
LOOKS = 20
"""So many looks last five times as long as it may stand still."""
BACKLOG = 10 * LOOKS
FOREVER = """
from projections.strategies import BaseStrategy, Signal

class Forever(BaseStrategy):
    def process_data(self, df):
        while True:
            pass
"""
COMPILED = """
from projections.strategies import BaseStrategy

class Forever(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        n = 1.0
        while n > 0.0:
            n += 1.0
        return n
"""
WORK = """
from infra.process.logs import log_as_service
from infra.process.settings import load_settings
from infra.worker.root import work

settings = load_settings()
log_as_service(settings.worker)
work(settings, stalled_s=2.0)
"""


class Follower:
    """A follower that has done `at`; it counts how often it was asked."""

    def __init__(self, at: int = 0) -> None:
        self.at: int | None = at
        self.asked = 0
        self.enough = threading.Event()

    def positions(self) -> dict[tuple[str, int], int]:
        self.asked += 1
        if self.asked >= LOOKS:
            self.enough.set()
        return {} if self.at is None else {PLACE: self.at}

    def doing(self) -> Doing:
        return Doing()


class Working(Follower):
    """Its fold goes on within one record."""

    def doing(self) -> Doing:
        return Doing(record="one", progress=self.asked)


class Sending(Follower):
    """Its record is folded in the first half of the time, and its outputs sent in the second."""

    def doing(self) -> Doing:
        return Doing(record="one", progress=min(self.asked, LOOKS // 2))


class Unfair(Follower):
    """It stands in one partition and goes on in another, one record with each look."""

    def __init__(self, log: Log, behind: int) -> None:
        super().__init__()
        self.end, self.behind = log.highwater(*OTHER), behind
        """So far the other partition was from its end when the first came to stand."""

    def positions(self) -> dict[tuple[str, int], int]:
        return {**super().positions(), OTHER: self.end - 1 - self.behind + self.asked}

    def doing(self) -> Doing:
        return Doing(record=self.asked, message="folding something else")


class Waiting(Follower):
    """Now and then it waits for something outside."""

    def positions(self) -> dict[tuple[str, int], int]:
        found = super().positions()
        return {} if self.asked % 3 == 0 else found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=4)
    log.append(journal(range(1, 20), 4))
    log.append([Entry(JOURNAL, b"", b"1", 0, OTHER[1])] * BACKLOG)
    yield log
    log.close()


def said(log: Log, follower: Follower) -> list[str]:
    """With which message it ends, if it does before it has looked often enough."""
    reasons: list[str] = []

    def end(reason: str, bound: Mapping[str, object] | None) -> None:
        reasons.append(reason)
        follower.enough.set()

    with Watchdog(log, [follower], follower.doing, end, stalled_s=STALLED_S):
        assert follower.enough.wait(30)
    return reasons


def test_a_follower_that_stands_still_while_records_wait_is_ended(log: Log) -> None:
    (reason,) = said(log, Follower())[:1]
    assert reason.startswith(f"{JOURNAL}:1 stands at offset 0 for ")
    assert reason.endswith(f"while records up to {log.highwater(*PLACE) - 1} wait")


def test_one_that_has_nothing_to_do_may_stand_still(log: Log) -> None:
    assert said(log, Follower(log.highwater(*PLACE) - 1)) == []


def test_one_whose_fold_goes_on_within_a_record_may_stand_still(log: Log) -> None:
    assert said(log, Working()) == []


def test_one_may_be_silent_in_proportion_to_what_it_folded(log: Log) -> None:
    assert said(log, Sending()) == []


def test_a_partition_that_stands_still_while_others_fold_is_ended(log: Log) -> None:
    (reason,) = said(log, Unfair(log, behind=0))[:1]
    assert reason.startswith(f"{JOURNAL}:1 stands at offset 0 for ")
    assert "it is" not in reason, "the record of another partition is none that stands"


def test_a_partition_may_wait_until_others_have_folded_what_waited_before_it(log: Log) -> None:
    assert said(log, Unfair(log, behind=BACKLOG)) == []


def test_the_fold_of_a_record_goes_on_with_each_of_its_markets(strategies: Strategies) -> None:
    markets = [spot(symbol) for symbol in ("A/X", "B/X", "C/X")]
    silent = batch_of(markets, [(market, (5 * 3_600, 100, 1)) for market in markets])
    *before, record = records([*((market.key, market) for market in markets), (markets[0].key, silent)])
    folding, pipeline = Folding(), Pipeline(0, strategies)
    fold(pipeline, before)
    seen: list[Doing] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is Tape.fold_rows.__code__:
            seen.append(folding.doing())

    sys.setprofile(look)
    try:
        MeasuredFold(pipeline, folding, lambda: None).fold(record)
    finally:
        sys.setprofile(None)
    assert len(seen) == len({doing.progress for doing in seen}) == len(markets)
    assert len({doing.record for doing in seen}) == 1
    assert folding.doing() == Doing()


def test_one_that_waits_for_something_outside_may_stand_still(log: Log) -> None:
    assert said(log, Waiting()) == []


def test_nobody_is_ended_while_the_log_does_not_say_how_far_it_goes(log: Log) -> None:
    log.close()
    with pytest.raises(LogError):
        log.highwater(*PLACE)
    assert said(log, Follower()) == []


@pytest.mark.parametrize("source", [FOREVER, COMPILED], ids=["pandas", "compiled"])
def test_a_strategy_that_never_returns_ends_its_worker_and_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "forever.py").write_text(source, encoding="utf-8")
    chosen = {"TCPD_PARTITIONS": "1", "TCPD_STRATEGIES": str(tmp_path / "forever.py")}
    environ = environment(tmp_path / "home", chosen)
    settings, market = load_settings(environ), spot()
    log = open_log(settings.log_url, partitions=1)
    writer = JournalWriter(log, "test", START)
    writer.append(market, key=market.key)
    manager = BotManager(log, load_strategies(settings.kernels, settings.strategies), "test")
    manager.create_bot(BotSpec("forever", "test", "BTC/USDT", "1m", "1000", {}), start=True)
    for second in (1, 61, 121):
        (position,) = writer.append(batch(market, [(second, 100, 1)]), key=market.key)
    log.close()
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=environ, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == FAILED, done.stderr
    last = json.loads(done.stderr.splitlines()[-1])
    stuck = position.offset - 1
    assert f"folding journal:0:{stuck} of test:BTC/USDT, in a step of the strategy forever" in last["message"]
    assert (last["partition"], last["offset"], last["market"]) == (0, stuck, "test:BTC/USDT")
