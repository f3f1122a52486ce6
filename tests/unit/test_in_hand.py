"""A symbol is in one collector's hand at a time, and in nobody's when that one is gone."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from infra.exchange.in_hand import InHandError, collectors, in_hand
from infra.process.settings import load_settings
from infra.upkeep.checks.services import collecting

SPAWN = multiprocessing.get_context("spawn")


def test_a_symbol_in_hand_is_refused_naming_it_and_its_collector(tmp_path: Path) -> None:
    with (
        in_hand(tmp_path, "sim#a", ["BTC/USDT", "ETH/USDT"]),
        pytest.raises(
            InHandError, match=r"symbol 'ETH/USDT' of sim is collected by 'sim#a' \(pid \d+, since"
        ),
        in_hand(tmp_path, "sim#b", ["SOL/USDT", "ETH/USDT"]),
    ):
        pass


def test_a_source_in_hand_is_refused_whatever_it_collects(tmp_path: Path) -> None:
    with (
        in_hand(tmp_path, "sim", ["BTC/USDT"]),
        pytest.raises(InHandError, match=r"'sim' collects already .* a name with --as"),
        in_hand(tmp_path, "sim", ["ETH/USDT"]),
    ):
        pass


def test_other_symbols_and_other_providers_are_collected_beside_it(tmp_path: Path) -> None:
    with (
        in_hand(tmp_path, "sim", ["BTC/USDT"]),
        in_hand(tmp_path, "sim#b", ["ETH/USDT"]),
        in_hand(tmp_path, "other", ["BTC/USDT"]),
    ):
        pass


def test_a_refused_collector_holds_nothing(tmp_path: Path) -> None:
    with in_hand(tmp_path, "sim", ["BTC/USDT"]):
        with pytest.raises(InHandError), in_hand(tmp_path, "sim#b", ["BTC/USDT", "ETH/USDT"]):
            pass
        with in_hand(tmp_path, "sim#b", ["ETH/USDT"]):
            pass


def test_one_that_ended_leaves_its_symbols_to_others(tmp_path: Path) -> None:
    for source in ("sim", "sim#b", "sim"):
        with in_hand(tmp_path, source, ["BTC/USDT"]):
            pass


def hold(home: Path, told: Any) -> None:
    with in_hand(home, "sim", ["BTC/USDT"]):
        told.send("in hand")
        told.recv()


def test_a_killed_one_leaves_its_symbols_to_others(tmp_path: Path) -> None:
    ours, theirs = SPAWN.Pipe()
    holder = SPAWN.Process(target=hold, args=(tmp_path, theirs))
    holder.start()
    assert ours.recv() == "in hand"
    with pytest.raises(InHandError), in_hand(tmp_path, "sim#b", ["BTC/USDT"]):
        pass
    holder.kill()
    holder.join()
    with in_hand(tmp_path, "sim#b", ["BTC/USDT"]):
        pass


def test_a_collector_says_what_its_provider_fails_with_until_it_delivers_again(tmp_path: Path) -> None:
    assert collectors(tmp_path) == []
    with in_hand(tmp_path, "sim", ["BTC/USDT"]) as tell, in_hand(tmp_path, "other", ["BTC/USDT"]):
        tell("ConnectionError: reset by peer, which is longer")
        tell("TimeoutError: away")
        assert [(c.source, c.failing) for c in collectors(tmp_path)] == [
            ("other", ""), ("sim", "TimeoutError: away"),
        ]  # fmt: skip
        found = {
            finding.message: finding.state
            for finding in collecting(load_settings({"TCPD_HOME": str(tmp_path)}))
        }
        tell("")
        assert [c.failing for c in collectors(tmp_path)] == ["", ""]
    assert collectors(tmp_path) == []
    assert found.pop("provider sim fails with TimeoutError: away") == "warning"
    assert list(found.values()) == ["ok"]
