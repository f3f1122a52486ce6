"""The installed command line in a home folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).parent / "tcpdashboard"
BITMEX = ["--venue", "bitmex", "--symbol", "BTC/USD:BTC"]
SPECIFICATION = [*BITMEX, "--contract", "inverse", "--price-step", "0.5", "--size-step", "1"]

Run = Callable[..., subprocess.CompletedProcess[str]]


class Home:
    """A `TCPD_HOME` and the commands in it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("TCPD_")}
        self.environment |= {"TCPD_HOME": str(folder), **settings}

    def run(self, *command: object, code: int = 0) -> str:
        """What a command prints; it must end with `code`."""
        words = [str(COMMAND), *map(str, command)]
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=280, check=False
        )
        told = f"{command}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == code, told
        return done.stdout if code == 0 else done.stdout + done.stderr

    def json(self, *command: object, code: int = 0) -> Any:
        return json.loads(self.run(*command, "--json", code=code).splitlines()[-1])

    def lines(self, *command: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*command, "--format", "json").splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")
