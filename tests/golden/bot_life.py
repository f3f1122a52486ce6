"""Writes down what a bot answers: `python -m tests.golden.bot_life`, after a change that is meant.

`bot_life.csv` has a line for every input that a bot can get in every situation that it can be in. A situation
is its status (a halt by its code), its position, its open order, and whether it steps. The situations are
found by search: from a market without a bot, every input is given in every situation that is new. Those of
the product that the search does not reach stand in the file too, with the reason.

Everything is read from events that the fold emits. Whether a bot steps is seen by one more candle, at whose
close its strategy asks for another target.
"""

import csv
import io
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from infra.strategies.registry import Strategies, load_strategies
from projections.fold.pipeline import Pipeline
from streams import events
from streams.events import BotChanged, DeadLetter, Fill, Order, OrderClosed, Signal, Sizing
from tests.journal import START, batch, create, emitted, fold, named, records, spot
from tests.programs import KERNELS

FILE = Path(__file__).with_name("bot_life.csv")
BTC = spot()
CODE = """# {edition}
from projections.strategies import BaseStrategy, Signal, param

class Told(BaseStrategy):
    "Does what the close tells it."
    n: int = param(1, low=1, high={n_max})
    window = 20
    value_names = ("candles",)

    def process_data(self, df):
        close = df["close"].iloc[-1]
        if close == {fails}:
            raise ValueError("told to")
        told = {{{probed}: 0.5, {turned}: -self.position or 1.0}}
        return Signal(told.get(close, self.position), {{"candles": len(df)}})
"""
QUIET, FAILS, PROBED, TURNED, GONE, HUGE = 100, 101, 102, 103, 30_000, 10**11
"""Closes. At the last two, a short has lost all, and a position is worth more than 64 bits hold."""
N, N_MAX, N_BAD = 3, {"first": 5, "second": 5, "narrow": 2}, 9
CODES = ("halted", "bad_parameters", "strategy_changed", "strategy_error", "overflow", "bankrupt")
STATUSES = ("stopped", "running", *(f"halted {code}" for code in CODES))
NOT_RUNNING = tuple(status for status in STATUSES if status != "running")
SOLVENT = STATUSES[:-1]
POSITIONS, STEPS = ("none", "long", "short"), ("yes", "no", "unfit")
ORDERS = ("none", "signal", "flatten", "bankrupt")
"""`unfit`: it does not step, and its code refuses its parameters."""
COLUMNS = (
    "status", "position", "order", "steps", "input", "answers",
    "status after", "code after", "position after", "order after", "next candle",
)  # fmt: skip
Situation = tuple[str, str, str, str]
Journal = tuple[tuple[str, events.JournalEvent], ...]


@dataclass(frozen=True)
class Told:
    """What events say of a bot."""

    change: BotChanged | None = None
    position: str = "none"
    order: str = "none"
    target: float = 0.0

    def hear(self, event: object) -> "Told":
        match event:
            case BotChanged():
                return replace(self, change=event)
            case Order():
                return replace(self, order=event.reason)
            case OrderClosed():
                return replace(self, order="none")
            case Fill():
                return replace(self, order="none", position=side(event.position))
        return self


@dataclass(frozen=True)
class Bot:
    """A bot by its journal. `now`: the market's time in seconds after the start; `state`: the fold's."""

    way: tuple[str, ...]
    journal: Journal
    now: int
    state: bytes
    told: Told
    next_candle: str
    situation: Situation

    @property
    def request(self) -> dict[str, Any]:
        return {"request": f"r{len(self.journal)}", "who": "ann", "at": START}

    @property
    def code_hash(self) -> str | None:
        return self.told.change.code_hash if self.told.change else None


class Life:
    """Gives inputs to bots. `hashes`: the three editions of the strategy's code."""

    def __init__(self, folder: Path) -> None:
        self.hashes: dict[str, str] = {}
        self.strategies: Strategies
        for edition, n_max in N_MAX.items():
            file = folder / f"{edition}.py"
            closes = {"fails": FAILS, "probed": PROBED, "turned": TURNED}
            file.write_text(CODE.format(edition=edition, n_max=n_max, **closes))
            self.strategies = load_strategies(KERNELS, [file])
            self.hashes[edition] = self.strategies.latest("told").code_hash

    def begin(self) -> Bot:
        return self._bot((), ((BTC.key, BTC),), 0, Told(), Pipeline(0, self.strategies))[1]

    def give(self, bot: Bot, name: str) -> tuple[list[object], Bot]:
        """What the input makes the fold say, and the bot afterwards."""
        made = INPUTS[name](self, bot)
        rows_at = np.frombuffer(made.time, "<i8") if isinstance(made, events.TickBatch) else [START]
        now = max(bot.now, int(rows_at[-1] - START) // 10**9)
        pipeline = Pipeline(0, self.strategies)
        pipeline.restore(bot.state)
        return self._bot((*bot.way, name), (*bot.journal, (BTC.key, made)), now, bot.told, pipeline)

    def _bot(
        self, way: tuple[str, ...], journal: Journal, now: int, told: Told, pipeline: Pipeline
    ) -> tuple[list[object], Bot]:
        said = self._fold(pipeline, journal)
        for event in said:
            told = told.hear(event)
        state = pipeline.snapshot()
        probe = (BTC.key, _candles(now, PROBED))
        signals = [event for event in self._fold(pipeline, (*journal, probe)) if isinstance(event, Signal)]
        told = replace(told, target=signals[0].previous if signals else 0.0)
        steps = "yes" if signals else "no" if self._fits(told.change) else "unfit"
        situation = (status(told.change), told.position, told.order, steps)
        return said, Bot(way, journal, now, state, told, _next_candle(signals), situation)

    def _fold(self, pipeline: Pipeline, journal: Journal) -> list[object]:
        """What follows from the records that the pipeline has not folded yet, in the order of emission."""
        derived = fold(pipeline, records(journal)[pipeline.applied + 1 :])
        return [event for _, event in sorted(emitted(derived), key=lambda found: found[0])]

    def _fits(self, change: BotChanged | None) -> bool:
        if change is None:
            return True
        edition = next(name for name, hash_ in self.hashes.items() if hash_ == change.code_hash)
        return int(change.params["n"]) <= N_MAX[edition]

    def other(self, bot: Bot) -> str:
        """The hash of code that takes the same parameters and is not the bot's."""
        return self.hashes["first" if bot.code_hash == self.hashes["second"] else "second"]

    # ------------------------------------------------------------ inputs

    def create(self, bot: Bot, **changes: Any) -> events.CreateBot:
        given = {"n": changes.pop("n", N)}
        command = create(
            BTC, strategy="told", code_hash=self.hashes["first"], params=given, short=True,
            **{"sizing": Sizing("amount", 1, 0), **changes},
        )  # fmt: skip
        return msgspec.structs.replace(command, **bot.request)

    def start(self, bot: Bot, code_hash: str | None = None) -> events.StartBot:
        return events.StartBot(**bot.request, bot_id=1, **named("told", code_hash))

    def halt(self, bot: Bot, code: str = "halted", bot_id: int | None = 1) -> events.HaltBot:
        return events.HaltBot(**bot.request, bot_id=bot_id, reason="asked", code=code)

    def reconfigure(self, bot: Bot, **changes: Any) -> events.ReconfigureBot:
        changes |= named("told", changes.get("code_hash"))
        return events.ReconfigureBot(**bot.request, bot_id=1, **changes)

    def signal(self, bot: Bot, target: float) -> events.ExternalSignal:
        return events.ExternalSignal(**bot.request, bot_id=1, target=target)


INPUTS: dict[str, Callable[[Life, Bot], Any]] = {
    "create": lambda life, bot: life.create(bot),
    "create stopped": lambda life, bot: life.create(bot, start=False),
    "create with bad parameters": lambda life, bot: life.create(bot, n=N_BAD),
    "create with bad sizing": lambda life, bot: life.create(bot, sizing=Sizing("amount", 0, 0)),
    "candle: turns": lambda _, bot: _candles(bot.now, TURNED),
    "candle: strategy fails": lambda _, bot: _candles(bot.now, FAILS),
    "candle: equity overflows": lambda _, bot: _candles(bot.now, HUGE, QUIET),
    "candle: a short's equity is gone": lambda _, bot: _candles(bot.now, GONE, QUIET),
    "candle: nothing": lambda _, bot: _candles(bot.now, QUIET),
    "trade": lambda _, bot: batch(BTC, [(bot.now + 1, QUIET, 1_000)]),
    "start": lambda life, bot: life.start(bot),
    "start, accept its code": lambda life, bot: life.start(bot, bot.code_hash),
    "start, accept other code": lambda life, bot: life.start(bot, life.other(bot)),
    "start, accept code that refuses": lambda life, bot: life.start(bot, life.hashes["narrow"]),
    "stop": lambda _, bot: events.StopBot(**bot.request, bot_id=1),
    "stop, flatten": lambda _, bot: events.StopBot(**bot.request, bot_id=1, flatten=True),
    "halt": lambda life, bot: life.halt(bot),
    "halt all": lambda life, bot: life.halt(bot, bot_id=None),
    "halt bankrupt": lambda life, bot: life.halt(bot, "bankrupt"),
    "halt strategy_changed": lambda life, bot: life.halt(bot, "strategy_changed"),
    "reconfigure nothing": lambda life, bot: life.reconfigure(bot),
    "reconfigure params": lambda life, bot: life.reconfigure(bot, params={"n": 2}),
    "reconfigure bad params": lambda life, bot: life.reconfigure(bot, params={"n": N_BAD}),
    "reconfigure code": lambda life, bot: life.reconfigure(bot, code_hash=life.other(bot)),
    "reconfigure code that refuses": lambda life, bot: life.reconfigure(bot, code_hash=life.hashes["narrow"]),
    "reconfigure sizing": lambda life, bot: life.reconfigure(bot, sizing=Sizing("amount", 2, 0)),
    "reconfigure bad sizing": lambda life, bot: life.reconfigure(bot, sizing=Sizing("amount", 0, 0)),
    "reconfigure short": lambda life, bot: life.reconfigure(bot, short=False),
    "signal: another target": lambda life, bot: life.signal(
        bot, -1.0 if bot.told.position == "long" else 1.0
    ),
    "signal: flat": lambda life, bot: life.signal(bot, 0.0),
    "signal: the same target": lambda life, bot: life.signal(bot, bot.told.target),
    "signal: out of range": lambda life, bot: life.signal(bot, 1.5),
}
FIRST = ("create stopped", "create with bad parameters", "create with bad sizing")
"""Inputs of a market without a bot alone: afterwards they are as `create`."""

UNREACHABLE: list[tuple[str, tuple[tuple[str, ...], ...]]] = [
    ("a flatten order ends with its position", (STATUSES, ("none",), ("flatten",), STEPS)),
    ("a bot that does not run has no signal's order", (NOT_RUNNING, POSITIONS, ("signal",), STEPS)),
    ("what ends stepping halts", (("stopped", "running"), POSITIONS, ORDERS, ("no", "unfit"))),
    ("a solvent bot has no bankrupt one's order", (SOLVENT, POSITIONS, ("bankrupt",), STEPS)),
    (
        "a bankrupt one's order ends with its position",
        (("halted bankrupt",), ("none",), ("bankrupt",), STEPS),
    ),
    ("a long on spot is paid in full", (("halted bankrupt",), ("long",), ORDERS, STEPS)),
    ("a bankrupt bot closes at once", (("halted bankrupt",), ("short",), ("none", "flatten"), STEPS)),
    ("once its parameters fit it steps", (("halted bad_parameters",), POSITIONS, ORDERS, ("no",))),
    ("what failed had stepped, so it fits", (("halted strategy_error",), POSITIONS, ORDERS, ("unfit",))),
]
"""Situations that cannot be, and why."""


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """The lines of the file, in its order; `folder` takes the strategy's files."""
    life = Life(folder)
    empty = life.begin()
    quiet = life.give(empty, "candle: nothing")[1]
    yield from _answers(life, empty, "no bot, no candle")
    yield from _answers(life, life.give(empty, "create")[1], "running, no candle")
    reached = search(life, quiet)
    for situation in sorted(reached):
        yield from _answers(life, reached[situation], situation[0])
    for situation in sorted(set(product(STATUSES, POSITIONS, ORDERS, STEPS)) - set(reached)):
        yield (*situation, "(unreachable)", "; ".join(why_not(situation)), *[""] * 5)


def why_not(situation: Situation) -> list[str]:
    """Reasons why no bot can be so."""
    return [why for why, kinds in UNREACHABLE if situation in product(*kinds)]


def search(life: Life, first: Bot) -> dict[Situation, Bot]:
    """A bot in every situation that inputs lead to, each on one of its shortest ways."""
    reached = {first.situation: first}
    due = deque([first])
    while due:
        bot = due.popleft()
        for name in _inputs(bot):
            after = life.give(bot, name)[1]
            if after.situation not in reached:
                reached[after.situation] = after
                due.append(after)
    return reached


def _inputs(bot: Bot) -> list[str]:
    return [name for name in INPUTS if bot.told.change is None or name not in FIRST]


def _candles(now: int, *closes: int) -> events.TickBatch:
    """Rows that close a candle at each close; their trades are backfilled, so that they fill nothing."""
    made: list[tuple[Any, ...]] = []
    for close in closes:
        end = (now // 60 + 1) * 60
        made += [(now + 1, close, 1_000, "backfill"), (end,)]
        now = end
    return batch(BTC, made)


def _answers(life: Life, bot: Bot, shown: str) -> Iterator[tuple[str, ...]]:
    situation = (shown, *bot.situation[1:])
    yield (*situation, "(reached by)", ", then ".join(bot.way) or "-", *_after(bot))
    for name in _inputs(bot):
        said, after = life.give(bot, name)
        yield (*situation, name, "; ".join(filter(None, map(_short, said))) or "-", *_after(after))


def _after(bot: Bot) -> tuple[str, ...]:
    change = bot.told.change
    status_code = (change.status, change.code) if change else ("no bot", "-")
    return *status_code, bot.told.position, bot.told.order, bot.next_candle


def _short(event: object) -> str:
    match event:
        case BotChanged():
            return f"BotChanged {event.status} {event.code} by {event.who}"
        case Signal():
            change = f"{event.previous:g} to {event.target:g}"
            return f"Signal {event.origin} {change} {event.decision} {event.code}"
        case Order():
            return f"Order {event.side} {event.reason}"
        case OrderClosed():
            return f"OrderClosed {event.status} {event.code}"
        case Fill():
            return f"Fill {event.side} to {side(event.position)}"
        case DeadLetter():
            return f"DeadLetter {event.reason}"
    return ""


def _next_candle(signals: list[Signal]) -> str:
    """Whether it steps, and what on: as new, or with the candles that it has seen."""
    if not signals:
        return "no signal"
    (signal,) = signals
    seen = "as new" if signal.values["candles"] == 1 else "going on"
    return f"from {signal.previous:g} {signal.decision} {signal.code}, {seen}"


def status(change: BotChanged | None) -> str:
    if change is None:
        return "no bot"
    return f"halted {change.code}" if change.status == "halted" else change.status


def side(position: int) -> str:
    return "long" if position > 0 else "short" if position else "none"


def text(lines: Iterator[tuple[str, ...]]) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerows([COLUMNS, *lines])
    return made.getvalue()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_for_it:
        FILE.write_text(text(rows(Path(made_for_it))))
