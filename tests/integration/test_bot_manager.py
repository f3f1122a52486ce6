"""`BotManager`: commands in the journal and states in the database, on the path that runs."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from infra.commands import BotManager
from infra.commands.given import RefusedError, sizing_of
from infra.commands.journal_view import (
    WINDOW_RECORDS,
    SourceView,
    import_state,
    registrations,
    source_state,
    view,
)
from infra.commands.manager import BotSpec
from infra.db import queries
from infra.db.rows import Changes
from infra.db.schema import migrate, open_database
from infra.strategies.registry import Strategies, load_strategies
from infra.upkeep.fresh_home import fold_home
from projections.fold import pipeline
from projections.strategies import Signal, StrategyParameterError
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import (
    Command,
    CreateBot,
    ExternalSignal,
    HaltBot,
    ReconfigureBot,
    RegisterBot,
    Sizing,
    StartBot,
    TickBatch,
)
from streams.journal import JournalWriter, scan
from streams.log import Log
from streams.records import Output, Record, partition_of
from streams.topics import BOTS, JOURNAL
from tests.derived import bot_changed
from tests.integration.command_line import CommandLine
from tests.journal import START, batch, spot

MARKET = spot("A/USDT")
PART = partition_of(MARKET.key.encode(), 4)
SPEC = BotSpec("sma_cross", "test", "A/USDT", "1m", "1000", {"fast": "3", "slow": 8})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


@pytest.fixture
def market(log: Log) -> JournalWriter:
    """The source "feed", which has written the market and two minutes of trades."""
    writer = JournalWriter(log, "feed", 0)
    writer.append(MARKET, key=MARKET.key)
    writer.append(batch(MARKET, [(1, 100, 5), (61, 101, 5), (120,)], ids=[7, 8, -1]), key=MARKET.key)
    return writer


@pytest.fixture
def manager(log: Log, market: JournalWriter, strategies: Strategies) -> BotManager:
    return BotManager(log, strategies, "test:ann", now=lambda: START)


def commands(log: Log, partition: int) -> list[Command]:
    found = (decode_input(record.value).event for record in log.read(JOURNAL, partition))
    return [event for event in found if isinstance(event, Command)]


def test_a_bot_is_registered_in_partition_0_and_created_at_its_market(log: Log, manager: BotManager) -> None:
    created = manager.create_bot(SPEC, start=True)
    assert created.bot_id == 1
    (registered,) = (c for c in commands(log, 0) if isinstance(c, RegisterBot))
    (command,) = (c for c in commands(log, PART) if isinstance(c, CreateBot))
    assert (registered.market, command.market) == (MARKET.key, MARKET.key)
    assert (command.who, command.at, command.start) == ("test:ann", START, True)
    assert (command.params, command.cash, command.cash_scale) == ({"fast": 3, "slow": 8}, 1000 * 10**8, 8)
    assert registered.request != command.request


def test_ids_are_dense_and_distinct_however_many_create_at_once(log: Log, manager: BotManager) -> None:
    with ThreadPoolExecutor(4) as threads:
        created = list(threads.map(lambda _: manager.create_bot(SPEC), range(12)))
    assert sorted(c.bot_id for c in created) == list(range(1, 13))
    ids = [c.bot_id for c in commands(log, PART) if isinstance(c, CreateBot)]
    assert sorted(ids) == list(range(1, 13))


def test_ids_resume_behind_what_is_folded(log: Log, manager: BotManager, strategies: Strategies) -> None:
    for _ in range(3):
        manager.create_bot(SPEC)
    fold_home(log, strategies)
    assert manager.create_bot(SPEC).bot_id == 4
    assert manager.create_bot(SPEC).bot_id == 5


def test_an_id_does_not_count_bots_that_others_registered_and_folded_meanwhile(
    log: Log, manager: BotManager, strategies: Strategies
) -> None:
    for _ in range(3):
        manager.create_bot(SPEC)
    places = [r.offset for r in log.read(JOURNAL, 0) if isinstance(decode_input(r.value).event, RegisterBot)]
    fold_home(log, strategies)
    assert [registrations(log, offset + 1) for offset in places] == [1, 2, 3]


def test_nothing_is_written_for_a_bot_that_cannot_be(log: Log, manager: BotManager) -> None:
    with pytest.raises(StrategyParameterError, match="fats"):
        manager.create_bot(SPEC._replace(params={"fats": 3}))
    with pytest.raises(RefusedError, match="timeframe '2m': choose one of 1m, 5m"):
        manager.create_bot(SPEC._replace(timeframe="2m"))
    with pytest.raises(RefusedError, match="test:Z/USDT is not in the journal; known are test:A/USDT"):
        manager.create_bot(SPEC._replace(symbol="Z/USDT"))
    assert commands(log, 0) == commands(log, PART) == []


@pytest.mark.parametrize("folded", [False, True])
def test_a_bot_is_found_in_the_journal_folded_or_not(
    log: Log, manager: BotManager, strategies: Strategies, folded: bool
) -> None:
    manager.create_bot(SPEC)
    if folded:
        fold_home(log, strategies)
    position = manager.start_bot(1).position
    assert (position.topic, position.partition) == (JOURNAL, PART)
    start = commands(log, PART)[-1]
    assert isinstance(start, StartBot)
    assert start.code_hash == strategies.latest("sma_cross").code_hash
    with pytest.raises(RefusedError, match="bot 2 does not exist"):
        manager.stop_bot(2)


@pytest.mark.parametrize("folded", [False, True])
def test_reconfiguring_keeps_the_parameters_that_are_not_given(
    log: Log, manager: BotManager, strategies: Strategies, folded: bool
) -> None:
    manager.create_bot(SPEC)
    manager.reconfigure_bot(1, {"fast": 4})
    if folded:
        fold_home(log, strategies)
    manager.reconfigure_bot(1, {"slow": "9"})
    assert view(log, PART).bots[1].params == {"fast": 4, "slow": 9}


CODE = """
from projections.strategies import BaseStrategy, param, sma
class Mine(BaseStrategy):
    n: int = param(2, low=1, high={high})
    average = sma("close", "n")
    @staticmethod
    def signal(bar, x, p, pos):
        return {target}
"""


def mine(tmp_path: Path, high: int = 9, target: str = "1.0") -> Strategies:
    """A user's strategy, as its file stands now; all of them share an archive."""
    file = tmp_path / "mine.py"
    file.write_text(CODE.format(high=high, target=target))
    return load_strategies(tmp_path / "kernels", [file])


@pytest.mark.parametrize("folded", [False, True])
def test_new_parameters_are_checked_by_the_code_that_the_bot_has(
    log: Log, market: JournalWriter, tmp_path: Path, folded: bool
) -> None:
    old, spec = mine(tmp_path), SPEC._replace(strategy="mine", params={})
    BotManager(log, old, "test").create_bot(spec)
    if folded:
        fold_home(log, old)
    today = mine(tmp_path, high=5)
    manager = BotManager(log, today, "test")
    manager.reconfigure_bot(1, {"n": 9})
    command = commands(log, PART)[-1]
    assert isinstance(command, ReconfigureBot)
    assert (command.params, command.code_hash) == ({"n": 9}, None)
    manager.start_bot(1)
    assert view(log, PART).bots[1].code_hash == today.latest("mine").code_hash
    with pytest.raises(StrategyParameterError, match="from 1 to 5"):
        manager.reconfigure_bot(1, {"n": 9})


def test_a_bot_whose_code_is_gone_is_reconfigured_to_todays(
    log: Log, market: JournalWriter, tmp_path: Path
) -> None:
    BotManager(log, mine(tmp_path), "test").create_bot(SPEC._replace(strategy="mine", params={}))
    shutil.rmtree(tmp_path / "kernels")
    today = mine(tmp_path, high=5)
    BotManager(log, today, "test").reconfigure_bot(1, {"n": 4})
    command = commands(log, PART)[-1]
    assert isinstance(command, ReconfigureBot)
    assert (command.params, command.code_hash) == ({"n": 4}, today.latest("mine").code_hash)


def test_a_strategy_that_does_not_compile_is_refused_with_its_line_before_anything_is_written(
    log: Log, market: JournalWriter, tmp_path: Path
) -> None:
    manager = BotManager(log, mine(tmp_path, target="x.no_such_average"), "test")
    with pytest.raises(RefusedError, match=r"strategy mine does not compile: line 8: .*no_such_average"):
        manager.create_bot(SPEC._replace(strategy="mine", params={}))
    assert commands(log, 0) == commands(log, PART) == []


def test_a_snapshot_of_another_version_is_passed_over(
    log: Log, manager: BotManager, strategies: Strategies, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.create_bot(SPEC)
    fold_home(log, strategies)
    monkeypatch.setattr(pipeline, "STATE_VERSION", pipeline.STATE_VERSION + 1)
    assert list(view(log, PART).bots) == [1]
    assert watermark(log) == START + 120 * 10**9
    assert manager.create_bot(SPEC).bot_id == 2


def test_halting_all_is_one_command_in_every_partition(log: Log, manager: BotManager) -> None:
    positions = manager.halt_all("fire")
    assert [position.partition for position in positions] == [0, 1, 2, 3]
    for partition in range(4):
        halt = commands(log, partition)[-1]
        assert isinstance(halt, HaltBot)
        assert (halt.bot_id, halt.reason) == (None, "fire")


def test_a_signal_from_outside_becomes_the_target_that_the_engine_decides_on(
    log: Log, manager: BotManager, market: JournalWriter, strategies: Strategies
) -> None:
    manager.create_bot(SPEC, start=True)
    manager.process_signal(1, Signal(0.5))
    external = commands(log, PART)[-1]
    assert isinstance(external, ExternalSignal)
    assert external.target == 0.5
    market.append(batch(MARKET, [(130, 102, 5), (180,)]), key=MARKET.key)
    folded = fold_home(log, strategies)[PART]
    assert folded.view().markets[MARKET.key].bots[1].account.position > 0
    for target in (1.5, float("nan")):
        with pytest.raises(RefusedError, match="must be a number from -1 to 1"):
            manager.process_signal(1, target)


@pytest.mark.parametrize(
    ("text", "sizing"),
    [
        ("amount:0.5", Sizing("amount", 5, 1)),
        ("amount:100", Sizing("amount", 100, 0)),
        ("cash:1e3", Sizing("cash", 1000, 0)),
        ("equity:0.10", Sizing("equity", 1, 1)),
        ("equity:1", Sizing("equity", 1, 0)),
    ],
)
def test_a_size_is_an_exact_decimal(text: str, sizing: Sizing) -> None:
    assert sizing_of(text) == sizing


@pytest.mark.parametrize("text", ["", "half", "amount", "amount:0", "amount:-1", "cash:nan", "equity:1.01"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="sizing"):
        sizing_of(text)


def test_a_state_is_written_to_the_database(
    log: Log, strategies: Strategies, tmp_path: Path, manager: BotManager
) -> None:
    url = f"sqlite:///{tmp_path}/projections.db"
    migrate(url)
    database = open_database(url)
    changes = Changes()
    change = bot_changed(1, MARKET.key, initial_cash=10**11)
    changes.add(MARKET.key, Output(PART, 2, (0,), (change,)), 0, Record(BOTS, PART, 0, 0, None, b""))
    state = changes.bots[1]
    BotManager(log, strategies, "test:ann", database).update_bot_state(1, state)
    row = queries.bot(database, 1)
    assert row is not None
    assert (row.status, row.initial_cash, row.cause_offset) == ("running", 10**11, 2)
    with pytest.raises(RefusedError, match="no database"):
        manager.update_bot_state(1, state)
    database.dispose()


BROKEN = """
import sys
from infra.commands.manager import BotManager
def broken(self, bot_id, state, connection=None):
    raise RuntimeError("broken")
BotManager.update_bot_state = broken
from api.cli import main
sys.exit(main())
"""


def test_a_worker_ends_where_a_bots_state_cannot_be_written_and_the_next_one_goes_on(tmp_path: Path) -> None:
    cli = CommandLine(tmp_path / "home", {"TCPD_KERNELS": str(tmp_path / "kernels")})
    cli.home.mkdir()
    log = open_log(f"embedded://{cli.home}/log")
    JournalWriter(log, "feed", 0).append(MARKET, key=MARKET.key)
    log.close()
    create = ["bots", "create", "--strategy", "sma_cross", "--venue", "test", "--symbol", "A/USDT"]
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, *create, "--timeframe", "1m", "--cash", "1000"],
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 70, done.stderr
    assert "broken" in done.stderr
    assert cli.lines("bots", "list", "--json") == []
    cli.out("bots", "start", 1)
    assert cli.line("bots", "show", 1)["status"] == "running"


# ------------------------------------------------------------------ where a source stands


@pytest.mark.parametrize("folded", [False, True])
def test_a_source_stands_where_a_scan_of_the_whole_journal_says(
    log: Log, market: JournalWriter, strategies: Strategies, folded: bool
) -> None:
    if folded:
        fold_home(log, strategies)
    for rows in ([(130, 102, 5), (180,)], [(190, 102, 5), (240,)]):
        market.append(batch(MARKET, rows, ids=[len(rows) + 7, -1]), key=MARKET.key)
    known, scanned = source_state(log, "feed"), scan(log, range(4), source="feed")
    assert known.markets == scanned.markets
    assert known.source("feed").epoch == scanned.source("feed").epoch == 0
    assert known.source("feed").reached == scanned.source("feed").reached
    assert watermark(log) == START + 240 * 10**9


class Counting:
    """A log that counts the records that are read."""

    def __init__(self, log: Log) -> None:
        self._log, self.read_records = log, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, *where: Any) -> Iterator[Record]:
        for record in self._log.read(*where):
            self.read_records += 1
            yield record


def test_a_source_that_is_looked_at_again_is_read_from_there_on(log: Log, market: JournalWriter) -> None:
    counting = Counting(log)
    again = SourceView(cast(Log, counting), "feed")
    for second in range(130, 190, 10):
        market.append(batch(MARKET, [(second, 102, 5)], ids=[second]), key=MARKET.key)
        counting.read_records = 0
        state, anew = again.read(), source_state(log, "feed")
        assert state.source("feed") == anew.source("feed")
        assert (state.markets, state.epochs) == (anew.markets, anew.epochs)
        assert counting.read_records == 1 or second == 130


def test_a_market_is_as_far_in_time_as_its_newest_row(log: Log, market: JournalWriter) -> None:
    assert watermark(log) == START + 120 * 10**9
    assert import_state(log, "test:B/USDT", []).newest == {}


def test_an_import_knows_the_market_and_what_its_source_wrote_behind_the_snapshot(
    log: Log, market: JournalWriter, strategies: Strategies
) -> None:
    for fold in (lambda: None, lambda: fold_home(log, strategies)):
        fold()
        state = import_state(log, MARKET.key, ["file:x"])
        assert (state.markets, state.source("file:x").epoch) == ({MARKET.key: MARKET}, -1)
    JournalWriter(log, "file:x", 0).append(file_batch(190, 0), key=MARKET.key)
    assert import_state(log, MARKET.key, ["file:x"]).source("file:x").reached[MARKET.key].row == 1


def test_an_import_goes_on_from_the_last_batch_of_its_source(
    log: Log, market: JournalWriter, strategies: Strategies
) -> None:
    """Many records before the snapshot; what an older writer of the source appended later is passed over."""
    file, older = JournalWriter(log, "file:x", 1), JournalWriter(log, "file:x", 0)
    for row in (0, 1):
        file.append(file_batch(130 + row, row), key=MARKET.key)
    older.append(file_batch(132, 7), key=MARKET.key)
    for second in range(3 * WINDOW_RECORDS):
        market.append(batch(MARKET, [(200 + second,)]), key=MARKET.key)
    JournalWriter(log, "file:y", 0).append(file_batch(500, 3), key=MARKET.key)
    fold_home(log, strategies)
    state = import_state(log, MARKET.key, ["file:x", "file:y", "file:z"])
    rows = {name: source.reached[MARKET.key].row for name, source in state.sources.items() if source.reached}
    assert rows == {"file:x": 2, "file:y": 4}


def test_an_import_whose_newest_writer_appended_no_batch_goes_on_from_the_older_ones(
    log: Log, market: JournalWriter, strategies: Strategies
) -> None:
    JournalWriter(log, "file:x", 0).append(file_batch(130, 0), key=MARKET.key)
    JournalWriter(log, "file:x", 1).append(replace(MARKET, fee=5), key=MARKET.key)
    fold_home(log, strategies)
    known = import_state(log, MARKET.key, ["file:x"]).source("file:x")
    assert (known.epoch, known.reached[MARKET.key].row) == (1, 1)


def file_batch(second: int, row: int) -> TickBatch:
    return replace(batch(MARKET, [(second, 102, 5)]), first_row=row)


def watermark(log: Log) -> int:
    return import_state(log, MARKET.key, []).newest[MARKET.key].time
