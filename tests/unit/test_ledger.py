"""The ledger of trials: every run is in it before its first bar, whatever becomes of it, and counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from infra.research import backtest, backtest_strategy_batch, run_parallel_backtest, sweep
from infra.research.backtesting import BacktestError, data_of
from infra.research.holdout import HoldoutError
from infra.research.ledger import Ledger, ends_of
from infra.research.sources import Data
from infra.research.trials import same_bytes, trials_of
from infra.strategies.registry import Strategies, load_strategies
from streams.backends import open_log
from streams.codec import encode, research_of
from streams.events import TrialEnded, TrialStarted
from streams.log import Log, LogError
from streams.records import Entry
from streams.topics import ALL, RECORD_BYTES_MAX, RESEARCH
from tests.golden.make import read_ledger
from tests.programs import KERNELS
from tests.unit.test_sweeps import frame_of

GRID = {"fast": [3, 9], "slow": [8, 20]}
KINDS = [("backtest", 1), ("sweep", 3), ("batch", 2), ("batch", 1)]
WRITES = """
from pathlib import Path
from projections.strategies import BaseStrategy, Signal

class Writes(BaseStrategy):
    window = 5

    def process_data(self, df):
        Path(r"{file}").touch()
        return Signal(1.0)
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=2)
    yield log
    log.close()


@pytest.fixture
def ledger(log: Log, tmp_path: Path) -> Ledger:
    return Ledger(log, tmp_path, "ann@here")


@pytest.fixture(scope="module")
def data() -> Data:
    return data_of(frame_of(900, "1h"), market="any:BTC/USDT")


def events(ledger: Ledger) -> list[TrialStarted | TrialEnded]:
    return [research_of(record) for record in ledger.records()]


def test_every_door_writes_what_was_asked_and_what_came_of_it(
    ledger: Ledger, data: Data, strategies: Strategies
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies, "short": True, "fee": 75_000}
    result = backtest("sma_cross", data, {"fast": 3, "slow": 8}, cash="500", **asked)
    swept = sweep("sma_cross", data, GRID, chosen=4, seed=7, **asked)
    sets = [{"fast": 3, "slow": 8}, {"strategy": "rsi_reversion", "n": 5}, {"fast": 9, "slow": 8}]
    batch = backtest_strategy_batch(data, sets, **asked)
    run_parallel_backtest(data, sets[:1], n_jobs=2, **asked)
    one, many, some, last = trials_of(ledger).known.values()
    kinds = [(trial.started.kind, trial.started.sets, trial.state) for trial in (one, many, some, last)]
    assert kinds == [
        ("backtest", 1, "ended"),
        ("sweep", 3, "ended"),
        ("batch", 2, "ended"),
        ("batch", 1, "ended"),
    ]

    started, code = one.started, strategies.latest("sma_cross")
    assert started.strategies == {"sma_cross": code.code_hash}
    assert (started.market, started.timeframe, started.candles) == ("any:BTC/USDT", "1h", 900)
    assert (started.cash, started.sizing, started.short) == ("500.00000000", "equity:1", True)
    assert (started.fee, started.slippage, started.who) == (75_000, None, "ann@here")
    assert started.specification.fee == 75_000
    assert set(started.versions) == {"tcpdashboard", "python", "numba", "numpy"}
    assert one.parts[0].parameters == {"fast": (3,), "slow": (8,)}
    assert {k: v[0] for k, v in one.parts[0].metrics.items()} == result.found.values

    assert many.started.parameters == {"fast": (3, 9), "slow": (8, 20)}
    assert (many.started.chosen, many.started.seed) == (4, 7)
    assert [params for params, _ in many.rows()] == swept[["fast", "slow"]].to_dict("records")
    assert [values["sharpe"] for _, (values, _) in many.rows()] == swept["sharpe"].tolist()
    assert list(some.started.strategies) == ["sma_cross", "rsi_reversion"]
    assert [params["strategy"] for params, _ in some.rows()] == ["sma_cross", "rsi_reversion"]
    assert batch["error"].tolist()[:2] == ["", ""] and "fast must be below slow" in batch["error"][2]


def test_a_set_has_the_same_bytes_from_every_door(ledger: Ledger, data: Data, strategies: Strategies) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies, "short": True}
    backtest("sma_cross", data, {"fast": 3, "slow": 8}, **asked)
    sweep("sma_cross", data, {"fast": [3], "slow": [8]}, **asked)
    backtest_strategy_batch(data, {"fast": 3, "slow": 8}, **asked)
    ends = [event for event in events(ledger) if isinstance(event, TrialEnded)]
    assert len({(end.blocks, tuple(end.metrics.items()), end.errors) for end in ends}) == 1
    blocks = np.frombuffer(ends[0].blocks).reshape(16, 3)
    total, squares, days = blocks.sum(axis=0)
    assert days == ends[0].metrics["days"][0] > 30
    mean = total / days
    deviation = ((squares / days - mean**2) * days / (days - 1)) ** 0.5
    assert mean / deviation * 365**0.5 == pytest.approx(ends[0].metrics["sharpe"][0], rel=1e-9)


def test_beside_every_sharpe_stands_how_many_sets_were_tried_on_its_market(
    ledger: Ledger, data: Data, strategies: Strategies, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies}
    assert sweep("sma_cross", data, GRID, **asked).attrs["tried"] == 3
    other = data_of(frame_of(300, "1h"), market="any:ETH/USDT")
    backtest("sma_cross", other, {"fast": 3, "slow": 8}, **asked)
    result = backtest("sma_cross", data, {"fast": 3, "slow": 8}, **asked)
    words = "the ledger counts 4 sets tried on any:BTC/USDT"
    assert words in dict(result.told)["sharpe"]
    assert result.to_dict()["tried"] == 4
    assert any(words in note for note in result.to_dict()["notes"])
    result.report(tmp_path / "report.html")
    assert words in (tmp_path / "report.html").read_text()
    frame = sweep("sma_cross", data, GRID, **asked)
    assert frame.attrs["tried"] == 7 and any("counts 7 sets" in note for note in frame.attrs["notes"])


def test_a_run_without_a_home_says_that_it_is_in_no_ledger(
    data: Data, strategies: Strategies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCPD_HOME", str(tmp_path / "home"))
    result = backtest("sma_cross", data, {"fast": 3, "slow": 8}, strategies=strategies)
    assert "not in the ledger" in dict(result.told)["sharpe"]
    assert any("not in the ledger" in note for note in result.to_dict()["notes"])
    assert any("not in the ledger" in note for note in sweep("sma_cross", data, GRID).attrs["notes"])
    assert not (tmp_path / "home" / "log").exists()


def test_a_home_that_is_named_is_made_and_from_then_on_is_that_of_the_settings(
    data: Data, strategies: Strategies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCPD_WHO", "ann")
    home = tmp_path / "home"
    first = backtest("sma_cross", data, {"fast": 3, "slow": 8}, strategies=strategies, home=home)
    monkeypatch.setenv("TCPD_HOME", str(home))
    second = backtest("sma_cross", data, {"fast": 3, "slow": 8}, strategies=strategies)
    assert (first.to_dict()["tried"], second.to_dict()["tried"]) == (1, 2)
    log = open_log(f"embedded://{home}/log")
    assert [event.who for event in events(Ledger(log, home, "")) if isinstance(event, TrialStarted)] == [
        "ann"
    ] * 2
    log.close()


# ------------------------------------------------------------------ what is broken off, or cannot be written


def test_a_ledger_that_cannot_be_written_stops_the_run_before_its_first_bar(
    log: Log, ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "writes.py"
    file.write_text(WRITES.format(file=tmp_path / "stepped"))
    bars = data_of(frame_of(60, "1h"))
    log.close()
    with pytest.raises(LogError, match="is closed"):
        backtest(file, bars, home=ledger, strategies=load_strategies(KERNELS))
    assert not (tmp_path / "stepped").exists()
    backtest(file, bars, home=tmp_path / "home", strategies=load_strategies(KERNELS))
    assert (tmp_path / "stepped").exists()


def test_a_result_that_the_ledger_cannot_take_is_given_all_the_same(
    log: Log, ledger: Ledger, data: Data, strategies: Strategies, tmp_path: Path
) -> None:
    frame = sweep(
        "sma_cross", data, GRID, home=ledger, strategies=strategies, told=lambda done, total: log.close()
    )
    assert frame["trades"].gt(0).all()
    assert "The ledger lacks what became of trial 0" in frame.attrs["notes"][-1]
    again = open_log(f"embedded://{tmp_path}/log")
    (trial,) = trials_of(Ledger(again, tmp_path, "")).known.values()
    assert not trial.is_whole and trial.parts == []
    again.close()


def test_a_run_that_is_refused_or_interrupted_counts(
    ledger: Ledger, data: Data, strategies: Strategies
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies}
    with pytest.raises(BacktestError, match="take a longer range"):
        backtest("sma_cross", data, {"slow": 4_990}, **asked)

    def interrupt(done: Any, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("sma_cross", data, GRID, told=interrupt, **asked)
    refused, interrupted = trials_of(ledger).known.values()
    ((_, (values, error)),) = refused.rows()
    assert refused.state == "ended" and not values and "take a longer range" in error
    assert (interrupted.is_whole, interrupted.started.sets) == (False, 3)
    assert backtest("sma_cross", data, {"fast": 3, "slow": 8}, **asked).to_dict()["tried"] == 5


def test_a_resumed_sweep_is_the_trial_that_was_broken_off_where_that_is(
    ledger: Ledger, data: Data, strategies: Strategies, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies, "n_jobs": 1}

    def interrupt(done: Any, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("sma_cross", data, GRID, told=interrupt, **asked)
    backtest("sma_cross", data, {"fast": 3, "slow": 8}, home=ledger, strategies=strategies)
    resumed = sweep("sma_cross", data, GRID, resume=True, **asked)
    trial = trials_of(ledger).known[resumed.attrs["trial"]]
    assert (resumed.attrs["trial"], resumed.attrs["tried"]) == (0, 4)
    assert (len(trial.starts), trial.state) == (2, "ended")
    other = open_log(f"embedded://{tmp_path}/other")
    backtest("sma_cross", data, {"fast": 3, "slow": 8}, home=Ledger(other, tmp_path, "bob"))
    elsewhere = sweep(
        "sma_cross", data, GRID, resume=True, **asked | {"home": Ledger(other, tmp_path, "bob")}
    )
    assert (elsewhere.attrs["trial"], elsewhere.attrs["tried"]) == (2, 4)
    other.close()
    whole = sweep("sma_cross", data, GRID, **asked)
    assert whole.attrs["tried"] == 7
    assert same_bytes(trials_of(ledger).known[whole.attrs["trial"]].parts, trial.parts)


# ------------------------------------------------------------------ records


def test_a_large_result_is_in_several_records_and_whole_with_the_last_alone(
    ledger: Ledger, data: Data, strategies: Strategies
) -> None:
    sweep("sma_cross", data, GRID, home=ledger, strategies=strategies)
    (started,) = [event for event in events(ledger) if isinstance(event, TrialStarted)]
    count = 2_500
    chance = np.random.default_rng(1)
    sets = [{"fast": number, "slow": number + 1} for number in range(count)]
    errors = ["x" * 1_500 if number < 700 else "" for number in range(count)]
    rows = [
        ({"sharpe": float(number), "trades": number, "calmar": None}, errors[number])
        for number in range(count)
    ]
    blocks = chance.normal(size=(count, 16, 3))
    entry = ledger.begin(structs.replace(started, sets=count))
    assert entry.trial is not None
    parts = list(ends_of(entry.trial, sets, rows.__getitem__, blocks, started.specification))
    assert len(parts) > 3 and all(len(encode(part)) < RECORD_BYTES_MAX for part in parts)
    for part in parts:
        trial = trials_of(ledger).known[entry.trial]
        assert not trial.is_whole
        ledger.add(part)
    trial = trials_of(ledger).known[entry.trial]
    assert trial.is_whole
    assert list(trial.rows()) == list(zip(sets, rows, strict=True))
    assert b"".join(end.blocks for end in trial.parts) == blocks.tobytes()


def test_a_batch_that_is_too_large_for_a_record_is_refused_with_the_way_out(ledger: Ledger) -> None:
    started = next(
        event for record in read_ledger() if isinstance(event := research_of(record), TrialStarted)
    )
    columns = {"fast": tuple(range(100_000, 300_000))}
    with pytest.raises(LogError, match=r"of 200,000 sets have .* bytes.*in several batches, or as a grid"):
        ledger.begin(structs.replace(started, sets=200_000, parameters=columns))
    assert list(ledger.records()) == []


def test_a_record_of_a_newer_release_is_told_in_words_and_the_others_are_read(
    ledger: Ledger, log: Log, data: Data, strategies: Strategies
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies}
    backtest("sma_cross", data, {"fast": 3, "slow": 8}, **asked)
    started = next(record for record in ledger.records())
    newer = started.value.replace(b"trial_started.v1", b"trial_started.v9")
    assert newer != started.value
    log.append([Entry(RESEARCH, started.key, newer, 1, 0, started.headers)])
    log.append([Entry(RESEARCH, b"", b"\xc1", 1, 0)])
    found = trials_of(ledger)
    assert len(found.known) == 1 and len(found.unread) == 2
    assert "research:0:2 is of a newer release, or damaged" in found.unread[0]
    result = backtest("sma_cross", data, {"fast": 3, "slow": 8}, **asked)
    assert "counts 2 sets tried on any:BTC/USDT, without 2 records" in dict(result.told)["sharpe"]


def test_nothing_but_the_ledger_is_written(
    log: Log, ledger: Ledger, data: Data, strategies: Strategies
) -> None:
    before = {place: log.highwater(*place) for place in [(topic, p) for topic in ALL for p in range(2)]}
    sweep("sma_cross", data, GRID, home=ledger, strategies=strategies)
    after = {place: log.highwater(*place) for place in before}
    assert {place for place in before if after[place] != before[place]} == {(RESEARCH, 0)}


# ------------------------------------------------------------------ holdout


def test_what_is_held_out_is_not_looked_at_and_a_look_is_at_that_alone(
    ledger: Ledger, data: Data, strategies: Strategies
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies}
    params = {"fast": 3, "slow": 8}
    kept = backtest("sma_cross", data, params, holdout="20%", **asked)
    ends = data.prepared.ends
    assert (
        kept.found.values == backtest("sma_cross", data, params, until=int(ends[719]), **asked).found.values
    )
    assert any(
        "Held out and not looked at: the last 20 % of the candles, 180 from" in note for note in kept.notes
    )
    look = backtest("sma_cross", data, params, holdout=0.2, look=True, **asked)
    apart = backtest("sma_cross", data, params, after=int(ends[719]), **asked)
    assert (look.found.values, look.warm) == (apart.found.values, 8)
    frame = sweep("sma_cross", data, GRID, holdout="20%", **asked)
    assert frame["sharpe"][0] == kept.found.values["sharpe"]


def test_a_share_is_told_as_it_was_given(data: Data, strategies: Strategies) -> None:
    notes = sweep("sma_cross", data, GRID, strategies=strategies, holdout="33.3333333%").attrs["notes"]
    assert any("the last 33.3333333 % of the candles" in note for note in notes)


def test_the_ledger_counts_the_looks_at_a_market_and_time(
    ledger: Ledger, data: Data, strategies: Strategies
) -> None:
    asked: dict[str, Any] = {"home": ledger, "strategies": strategies, "holdout": "20%"}
    params = {"fast": 3, "slow": 8}
    assert backtest("sma_cross", data, params, **asked).to_dict()["look"] is None
    first = backtest("sma_cross", data, params, look=True, **asked)
    assert "This is look 1 at held-out candles of any:BTC/USDT in this time." in first.notes
    other = data_of(frame_of(900, "1h"), market="any:ETH/USDT")
    assert backtest("sma_cross", other, params, look=True, **asked).to_dict()["look"] == 1
    before = data.prepared.ends[500]
    early = backtest("sma_cross", data, params, look=True, until=int(before), **asked)
    assert early.to_dict()["look"] == 1
    assert sweep("sma_cross", data, GRID, look=True, **asked).attrs["look"] == 2
    backtest("sma_cross", data, params, home=ledger, strategies=strategies)
    third = backtest("rsi_reversion", data, {"n": 5}, look=True, **asked)
    assert third.to_dict()["look"] == 3
    assert any("1 other trial ran over some of them" in note for note in third.notes)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"holdout": "0%"}, "give a share"),
        ({"holdout": "100%"}, "give a share"),
        ({"holdout": "much"}, "give a share"),
        ({"holdout": float("nan")}, "give a share"),
        ({"holdout": "0.01%"}, "leaves none on one side"),
        ({"look": True}, "say how much that is"),
    ],
)
def test_a_share_that_cannot_be_held_out_is_refused(
    data: Data, strategies: Strategies, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(HoldoutError, match=words):
        backtest("sma_cross", data, {"fast": 3, "slow": 8}, strategies=strategies, **asked)
