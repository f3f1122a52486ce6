"""The installed `tcpdashboard` in a home folder of its own, and small files of trades for it."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.upkeep.rebuild import content_hash
from streams.records import partition_of
from tests.programs import COMMAND, Program, environment, run

START_MS = 1_514_764_800_000
"""2018-01-01T00:00:00Z."""
MARKET = ("--venue", "test", "--symbol", "BTC/USDT")
KEY = "test:BTC/USDT"
MINUTES, SPLIT = 200, 40
SPECIFIED = ("--price-step", "0.5", "--size-step", "0.001", "--fee-bp", "2.5")
PART = partition_of(KEY.encode(), 4)
CREATE = ("bots", "create", *MARKET, "--timeframe", "1m", "--cash", "100000", "--strategy")
SMA = (*CREATE, "sma_cross", "--param", "fast=3", "--param", "slow=8")
Called = Callable[..., tuple[int, str]]
"""A call of the command line in this process that must fail."""


@dataclass
class CommandLine:
    """Runs commands with `TCPD_HOME` = `home`; `settings` are further variables."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.home, self.settings)

    def run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        return run(*words, environment=self.environment)

    def start(self, *words: object) -> Program:
        return Program(COMMAND, *words, environment=self.environment)

    def out(self, *words: object) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: exit {done.returncode}: {done.stderr}"
        return done.stdout

    def lines(self, *words: object) -> list[Any]:
        """The JSON lines of a command that must succeed."""
        return [json.loads(line) for line in self.out(*words).splitlines()]

    def line(self, *words: object) -> Any:
        return self.lines(*words, "--json")[-1]

    def error(self, *words: object, code: int = 1) -> str:
        """The one line that a failing command writes to standard error; nothing else is written."""
        done = self.run(*words)
        assert done.returncode == code, f"{words}: exit {done.returncode}: {done.stderr}"
        assert done.stdout == ""
        assert done.stderr.startswith("tcpdashboard: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip()

    def copy(self, home: Path) -> "CommandLine":
        """The same in a copy of the home folder."""
        shutil.copytree(self.home, home)
        return CommandLine(home, self.settings)


def trades(minutes: int, *, seed: int = 1) -> list[tuple[int, str, str]]:
    """(time in ms, price, signed size) of some trades in every minute, by a random walk of half a unit."""
    rows: list[tuple[int, str, str]] = []
    chance, price = random.Random(seed), 20_000
    for minute in range(minutes):
        for offset in sorted(chance.sample(range(1, 59_999), 12)):
            price += chance.randrange(-40, 41)
            size = chance.randrange(1, 500) * chance.choice((-1, 1))
            rows.append((START_MS + minute * 60_000 + offset, f"{price / 2}", f"{size / 1000}"))
    return rows


def write_csv(file: Path, rows: list[tuple[int, str, str]]) -> Path:
    lines = ["timestamp,price,size", *(",".join(map(str, row)) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


ROWS = trades(MINUTES)
FIRST = [row for row in ROWS if row[0] < START_MS + SPLIT * 60_000]
"""The trades that the home `recorded` had before it had bots."""


def database(cli: CommandLine) -> str:
    """What the database holds, positions and notices of the machinery apart."""
    return content_hash(f"sqlite:///{cli.home}/projections.db", content=True)
