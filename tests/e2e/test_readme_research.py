"""The README's research section, as somebody types it: from a file of trades to a certificate."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.programs import COMMAND, ROOT, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
START = pd.Timestamp("2018-01-01", tz="UTC")
SESSION_UNTIL = "equity 1"


def blocks(heading: str, language: str) -> list[str]:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [block for of, block in found if of == language]


def commands(block: str) -> list[list[str]]:
    """The commands of a block; a line that ends in a backslash goes on."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody works, with the files that the README speaks of."""
    chance = np.random.default_rng(1)
    count = 1440 * 3
    price = 13_000 + np.cumsum(chance.integers(-10, 11, count)) * 0.5
    times = START + pd.to_timedelta(np.arange(count) * 20 + 0.5, unit="s")
    trades = {"timestamp": times, "price": price, "size": chance.integers(1, 500, count), "side": "Buy"}
    pd.DataFrame(trades).to_parquet(tmp_path / "trades.parquet")
    hours = START + pd.to_timedelta(np.arange(400), unit="h")
    opened = np.round(200 + np.cumsum(chance.normal(0, 1, 401)), 2)
    bars = pd.DataFrame({"timestamp": hours, "open": opened[:-1], "close": opened[1:], "volume": 1.5})
    bars["high"], bars["low"] = bars[["open", "close"]].max(axis=1), bars[["open", "close"]].min(axis=1)
    bars.to_csv(tmp_path / "bars.csv", index=False)
    imports, cross = blocks("In Python", "python")[:2]
    (tmp_path / "cross.py").write_text(imports + "\n\n" + cross, encoding="utf-8")
    return tmp_path


def test_the_research_section_works_as_it_is_written(folder: Path) -> None:
    def typed(*words: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            words, cwd=folder, env=environment(folder / "home"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done

    session = [words[1:] for words in commands(blocks("A first session", "")[0])]
    until = next(i for i, words in enumerate(session) if " ".join(words) == SESSION_UNTIL)
    for words in session[: until + 1]:
        typed(str(COMMAND), *words)
    many, one = blocks("Research", "python")
    assert typed(sys.executable, "-c", f"{many}\nprint(targets.shape[1], len(rows))").stdout == "2 2\n"
    said = [typed(str(COMMAND), *words[1:]) for words in commands(blocks("Research", "")[0])]
    assert "The strategy does not look ahead" in said[0].stderr
    assert "an assumption" in said[2].stderr
    assert "the last 20 % of the candles" in said[4].stderr
    assert said[5].stdout.count("ended") == 7
    assert "it gives the same bytes" in said[7].stderr
    assert json.loads((folder / "parity.json").read_text())["equal"] is True
    assert (folder / "cross.html").stat().st_size > 100_000
    (folder / "cross.html").unlink()
    assert typed(sys.executable, "-c", f"{one}\nprint(len(rows))").stdout == "23\n"
    newest = json.loads(typed(str(COMMAND), "runs", "list", "--json").stdout.splitlines()[0])
    assert (newest["strategy"], newest["market"]) == ("cross", "any:BTC/USDT")
    assert (folder / "cross.html").stat().st_size > 100_000
