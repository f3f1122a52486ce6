"""A command loads the heavy packages that it needs, and no others: its start is felt at every call."""

import subprocess
import sys

import pytest

from tests.integration.command_line import MARKET, CommandLine

HEAVY = {
    "aiokafka", "alembic", "ccxt", "fastapi", "faust", "joblib", "numba", "pandas", "prometheus_client",
    "pyarrow", "redis", "sqlalchemy", "uvicorn",
}  # fmt: skip
RUN = f"""
import sys
from api.cli import main
code = main()
print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
CANDLES = " ".join(("candles", *MARKET, "--timeframe", "1h"))
NEEDED = {
    "--help": "",
    "bots --help": "",
    "doctor --help": "",
    "up --help": "",
    "settings": "",
    "strategies": "",
    "tokens list": "",
    "topics": "",
    "schemas": "",
    "log journal": "",
    "markets list": "numba",  # a snapshot is read by the fold, which is compiled
    "gaps --open": "numba",
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
        [sys.executable, "-c", RUN, *command.split()],
        env=recorded.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip()) == (0, NEEDED[command])
    assert done.stdout
