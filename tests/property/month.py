"""A long life of a market on which new bots of all strategies begin each day, and all happens that happens to
worlds: `python -m tests.property.month 30` lets thirty days pass, and holds each bot against its backtest.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from infra.strategies.registry import Strategies, load_strategies
from projections.fold.commands import code_check
from streams import events
from tests.e2e.test_bitmex import PANDAS_ONLY
from tests.parity import compared
from tests.property.blocks import OVER_BLOCKS
from tests.property.worlds import HAPPENINGS, World
from tests.several import HOURS

DAY_S = 86_400
NEW_A_DAY = 9
FRAMES, OF_FRAMES = "last_move", 5
"""A strategy that works on frames, and the bot that has it."""
RARER = {"jump": 1, "halt all": 0.1, "halt": 0.5, "reconfigure": 4}
"""By kind, how often: in a long life a bot should not be ruined at once."""
CODES = {
    "sma_cross": {"fast": 2, "slow": 9},
    "rsi_reversion": {"n": 7, "low": 35.0, "high": 65.0},
    "macd_cross": {"fast": 3, "slow": 9, "signal": 3},
    "hours": {"near": 3, "far": 2},
    "bollinger_breakout": {"n": 9, "width": 1.0},
    "over_blocks": {"n": 5, "m": 3},
}


class Month(World):
    """`days` of a world. What is told of bots by commands goes to the newest."""

    def __init__(self, seed: int, strategies: Strategies, days: float) -> None:
        self.bots, self.days = 4, days
        super().__init__(seed, strategies, Counter())

    def live(self) -> None:
        names = list(HAPPENINGS)
        weights = [RARER.get(kind, weight) for kind, (weight, _) in HAPPENINGS.items()]
        born = 0.0
        while self.now < self.days * DAY_S:
            if self.now >= born * DAY_S / NEW_A_DAY:
                born, self.bots = born + 1, self.bots + 1
                self._fold("", self._bot(self.bots))
            (kind,) = self.chance.choices(names, weights)
            self.happened[kind] += 1
            HAPPENINGS[kind][1](self)

    def _bot(self, bot_id: int) -> events.CreateBot:
        name = FRAMES if bot_id == OF_FRAMES else list(CODES)[bot_id % len(CODES)]
        code = self.strategies.latest(name)
        check = {
            "strategy": name,
            "code_hash": code.code_hash,
            "code_check": code_check(name, code.code_hash),
        }
        return msgspec.structs.replace(super()._bot(bot_id), params=CODES.get(name, {}), **check)

    def command(self, kind: type[events.Command], **fields: Any) -> None:
        if "bot_id" not in fields:
            fields["bot_id"] = self.chance.randrange(max(1, self.bots - NEW_A_DAY), self.bots + 1)
        if fields.get("params"):
            bot = self.pipeline.view().markets[self.market.key].bots[fields["bot_id"]]
            fields["params"] = CODES.get(bot.strategy)
        super().command(kind, **fields)

    def checked(self) -> Counter[str]:
        """How many facts of all bots are equal. Raises `AssertionError` naming a bot and its difference."""
        counts: Counter[str] = Counter()
        for bot_id, one in compared(self.journal, self.strategies, self.derived).items():
            assert one.differs is None, f"bot {bot_id}: {one.differs}"
            counts.update(one.counts)
        return counts


def with_others(kernels: Path, folder: Path) -> Strategies:
    """The strategies of all worlds, one that works on frames, one with blocks over blocks, and one over
    several timeframes."""
    files = {folder / "mine.py": PANDAS_ONLY, folder / "over_blocks.py": OVER_BLOCKS}
    files[folder / "hours.py"] = HOURS
    for file, text in files.items():
        file.write_text(text)
    return load_strategies(kernels, list(files))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        month = Month(1, with_others(Path(folder) / "kernels", Path(folder)), float(sys.argv[1]))
        began = monotonic()
        month.live()
        print(f"{len(month.journal):,} records, {month.bots} bots, in {monotonic() - began:.1f} s")
        print(dict(month.happened))
        began = monotonic()
        print(dict(month.checked()), f"in {monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
