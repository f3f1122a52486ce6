"""A command loads the heavy packages that it needs, and no others: its start is felt at every call."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.command_line import MARKET, CommandLine

HEAVY = {
    "aiokafka", "alembic", "ccxt", "fastapi", "faust", "joblib", "numba", "pandas", "prometheus_client",
    "pyarrow", "redis", "sqlalchemy", "uvicorn",
}  # fmt: skip
RUN = """
import sys
from api.cli import main
code = main()
print(*sorted(LOADED), file=sys.stderr)
sys.exit(code)
"""
RUN_HEAVY = RUN.replace("LOADED", f"{HEAVY} & set(sys.modules)")
CANDLES = " ".join(("candles", *MARKET, "--timeframe", "1h"))
NEEDED = {
    "--help": "",
    "bots --help": "",
    "doctor --help": "",
    "up --help": "",
    "collect --help": "",
    "sources symbols --help": "",
    "settings": "",
    "strategies": "",
    "tokens list": "",
    "topics": "",
    "schemas": "",
    "log journal": "",
    "runs list": "",
    "markets list": "numba",  # a snapshot is read by the fold, which is compiled
    "gaps --open": "nothing is missing\nnumba",
    "gaps fill --help": "",
    "parity --bot 1 --json": "numba",
    "bots list": "sqlalchemy",
    "bots show 1": "numba sqlalchemy",  # whether its market has a live feed stands in the journal
    "signals 1": "sqlalchemy",
    "trades 1": "sqlalchemy",
    "equity 1": "sqlalchemy",
    f"{CANDLES} --format json": "sqlalchemy",
    f"{CANDLES} --format csv": "pandas pyarrow sqlalchemy",  # pyarrow looks whether a column is of pandas
}


@pytest.mark.parametrize("command", NEEDED)
def test_a_command_loads_what_it_needs(recorded: CommandLine, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_HEAVY, *command.split()],
        env=recorded.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip()) == (0, NEEDED[command])
    assert done.stdout


def test_who_collects_no_exchange_does_not_load_its_client() -> None:
    """It takes seconds; the provider loads it when it is asked for its markets."""
    modules = "infra.exchange.collecting, infra.exchange.venues.known, infra.exchange.venues.provider"
    script = f"import sys, {modules}; print('ccxt' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_bars_of_a_file_are_tested_without_the_fold(tmp_path: Path) -> None:
    """Where nothing is compiled yet, its kernels take longer than the backtest's."""
    file = tmp_path / "bars.csv"
    minutes = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=i) for i in range(200))
    rows = [f"{minute.isoformat()},100,102,99,{100 + i % 2}" for i, minute in enumerate(minutes)]
    file.write_text("\n".join(("time,open,high,low,close", *rows)))
    script = RUN.replace("LOADED", "name for name in sys.modules if name.startswith('projections.fold')")
    words = f"backtest sma_cross --data {file} --venue x --symbol A/B --timeframe 1m".split()
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env={**os.environ, "TCPD_HOME": str(tmp_path / "home")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "projections.fold projections.fold.money"
