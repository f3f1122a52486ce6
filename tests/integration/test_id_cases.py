"""Files whose ids are used again, imported as people do: `../shared/cases`."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command_line import CommandLine


@pytest.mark.parametrize(
    ("case", "options", "reused"),
    [("ids-restart-each-day", (), 25), ("same-id-other-trade", ("--column", "id=agg_trade_id"), 1)],
)
def test_a_trade_whose_id_another_has_is_kept_and_told(
    cli: CommandLine, shared_cases: Path, case: str, options: tuple[str, ...], reused: int
) -> None:
    market = ("--venue", "v", "--symbol", "BTC/USDT")
    for day in ("day1.csv", "day2.csv"):
        cli.out("import", shared_cases / case / day, *market, *options)
    made = cli.lines("candles", *market, "--timeframe", "1m", "--json")
    expected = list(csv.DictReader((shared_cases / case / "expected.csv").open()))
    assert [_numbers(c) for c in made if not c["empty"]] == [_numbers(c) for c in expected]
    told = [line for line in cli.lines("log", "system", "--json") if line["type"] == "ids_reused.v1"]
    assert [line["event"]["trades"] for line in told] == [reused]
    cli.out("verify")
    cli.out("import", shared_cases / case / "day1.csv", *market, *options)
    assert cli.lines("candles", *market, "--timeframe", "1m", "--json") == made, "repeats add nothing"


def _numbers(candle: dict[str, Any]) -> tuple[Any, ...]:
    names = ("open", "high", "low", "close", "volume", "trades")
    return (candle["timestamp"], *(float(candle[name]) for name in names))
