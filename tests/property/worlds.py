"""Random worlds, in which everything happens that can happen to a bot's money:
`python -m tests.property.worlds 1000`.

A world is a market of any contract with some bots, and a hundred records, each of one kind of `HAPPENINGS`.
After each event the books of its bot balance to the unit, and no bot runs on without equity.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec

from infra.strategies.registry import Strategies, load_strategies
from projections.fold.pipeline import Pipeline
from streams import events
from streams.codec import decode_output
from streams.events import (
    BotChanged,
    Candle,
    DeadLetter,
    DerivedEvent,
    Equity,
    Fill,
    Order,
    OrderClosed,
    Signal,
    Sizing,
)
from streams.records import Input, Record
from tests.journal import MINUTE, START, batch, begun, create, records, spot

RECORDS, BOTS = 100, 4
ENOUGH = 100
"""So often each kind of event must happen in a thousand worlds."""


class World:
    """One market and its bots, its `journal` and what was `derived` of it. `happened` counts by kind; a
    difference raises `AssertionError`."""

    def __init__(self, seed: int, strategies: Strategies, happened: Counter[str]) -> None:
        self.chance, self.strategies, self.happened = random.Random(seed), strategies, happened
        self.market = self._market()
        self.pipeline = Pipeline(0, strategies)
        self.journal = [begun()]
        self.derived = [*self.pipeline.fold(self.journal[0]).derived]
        self.now, self.price = 0.0, 1_000
        self.sequences: Counter[str] = Counter()
        self.initial: dict[int, int] = {}
        self.spent: Counter[int] = Counter()
        """By bot, its fees less its realised profit, at cash scale 18."""
        self.closed: dict[str, list[Candle]] = {timeframe: [] for timeframe in events.TIMEFRAMES_NS}
        self._fold("spec", self.market)
        for bot_id in range(1, BOTS + 1):
            self._fold("", self._bot(bot_id))

    def _market(self) -> events.Market:
        pick = self.chance.choice
        contract = pick(get_args(events.Contract))
        return spot(
            "BTC/USD", contract=contract, settle="BTC" if contract == "inverse" else "USD",
            size_scale=pick([0, 3]), cash_scale=pick([2, 8]), price_step=pick([1, 5]), size_step=pick([1, 7]),
            min_size=pick([1, 20]), multiplier=pick([1, 3, 10]), multiplier_scale=pick([0, 1]),
            fee=pick([0, 7_500, 100_000, 2_000_000]), slippage=pick([0, 10_000, 300_000]),
            closed=pick(get_args(events.Closed)), grace_ms=pick([0, 2_000]),
        )  # fmt: skip

    def _bot(self, bot_id: int) -> events.CreateBot:
        pick = self.chance.choice
        made = create(
            self.market, bot_id, short=pick([True, True, False]), timeframe=pick(["1m", "1m", "5m"]),
            code_hash=self.strategies.latest("sma_cross").code_hash, cash=pick([10, 10_000]),
            params={"fast": pick([1, 2]), "slow": pick([3, 4])}, sizing=self._sizing(),
            start=pick([True, False]),
        )  # fmt: skip
        return msgspec.structs.replace(made, on_stale=pick(get_args(events.OnStale)))

    def _sizing(self) -> Sizing:
        modes = [Sizing("equity", 1, 0), Sizing("equity", 3, 1), Sizing("cash", 9, 0), Sizing("amount", 5, 0)]
        return self.chance.choice(modes)

    def live(self) -> None:
        weights = [weight for weight, _ in HAPPENINGS.values()]
        for kind in self.chance.choices(list(HAPPENINGS), weights, k=RECORDS):
            self.happened[kind] += 1
            HAPPENINGS[kind][1](self)

    # ------------------------------------------------------------ what happens

    def trades(self, source: str = "venue", *, backfill: bool = False) -> None:
        rows: list[tuple[Any, ...]] = []
        for _ in range(self.chance.randrange(1, 12)):
            self.now += self.chance.choice([0, 0.5, 7, 20, 40])
            self.price = max(1, self.price + self.chance.randrange(-9, 10))
            if backfill:
                rows.append((max(self.now - 90, 0), self.price, 5, "backfill"))
            elif self.chance.random() < 0.1:
                rows.append((self.now,))
            elif self.chance.random() < 0.1:
                # behind two minutes that a clock closes, a trade of the second: late, and no decision's fill
                rows += [(self.now,), (self.now + 60,), (self.now + 30, self.price, 3)]
                self.now += 60
            else:
                rows.append((self.now, self.price, self.chance.randrange(1, 9)))
        self._fold(source, batch(self.market, rows))

    def jump(self) -> None:
        """To a multiple or a part of the price, which ruins who stands on the other side."""
        self.price = max(1, int(self.price * self.chance.choice([0.3, 0.45, 2.2, 3])))
        if not 30 < self.price < 50_000:
            self.price = 1_000
        self.trades()

    def restart(self) -> None:
        state = self.pipeline.snapshot()
        self.pipeline = Pipeline(0, self.strategies)
        self.pipeline.restore(state)
        assert self.pipeline.snapshot() == state

    def feed(self) -> None:
        state = self.chance.choice(get_args(events.FeedState))
        self._fold("venue", events.Feed(market=self.market.key, source="venue", state=state, since=START))

    def vouched(self) -> None:
        self._fold("venue", events.Feed(market=self.market.key, source="venue", state="live", since=START))

    def gap(self) -> None:
        at = START + int(self.now) * 10**9
        self._fold("venue", events.Gap(market=self.market.key, start=at, end=at + MINUTE, reason=""))

    def scale(self) -> None:
        """A scale grows, and every amount with it."""
        name, most = self.chance.choice([("cash_scale", 10), ("price_scale", 4), ("size_scale", 5)])
        larger = {name: min(getattr(self.market, name) + 1, most)}
        self.market = msgspec.structs.replace(self.market, **larger)
        self._fold("spec", self.market)

    def command(self, kind: type[events.Command], **fields: Any) -> None:
        request = f"r{self.pipeline.applied}"
        if "bot_id" not in fields:
            fields["bot_id"] = self.chance.randrange(1, BOTS + 1)
        self._fold("", kind(request=request, who="ann", at=START, **fields))

    def target(self) -> float:
        return self.chance.choice([-1.0, -0.5, 0.0, 0.5, 1.0])

    def reconfigure(self) -> None:
        """Rather a bot whose order waits."""
        pick = self.chance.choice
        bots = self.pipeline.view().markets[self.market.key].bots
        waiting = [bot_id for bot_id, bot in bots.items() if bot.order is not None]
        self.command(
            events.ReconfigureBot, bot_id=pick(waiting or list(bots)),
            sizing=pick([None, self._sizing()]), short=pick([None, True, False]),
            on_stale=pick([None, *get_args(events.OnStale)]), params=pick([None, {"fast": 1, "slow": 3}]),
        )  # fmt: skip

    def warm(self) -> None:
        """A bot begins anew, warm; sometimes a candle closes before its command."""
        bot_id, name = self.chance.randrange(1, BOTS + 1), f"w{self.pipeline.applied}"
        bot = self.pipeline.view().markets[self.market.key].bots[bot_id]
        own = self._bars(bot.timeframe, name)
        above = {
            timeframe: self._bars(timeframe, events.named_above(name, timeframe))
            for timeframe in self.strategies.latest(bot.strategy).higher
        }
        if self.chance.random() < 0.3:
            self.trades()
        self.command(
            events.ReconfigureBot, bot_id=bot_id, warm_up=name, warm_candles=own, warm_higher=above or None
        )  # fmt: skip

    def _bars(self, timeframe: str, name: str) -> int:
        """Some of the newest candles; how many."""
        candles = self.closed[timeframe][-self.chance.randrange(2, 12) :]
        scales = {"price_scale": self.market.price_scale, "size_scale": self.market.size_scale}
        fields = {"volume": "size_scale"} | dict.fromkeys(("open", "high", "low", "close"), "price_scale")
        columns = {"timestamp": tuple(candle.timestamp for candle in candles)} | {
            field: tuple(getattr(c, field) * 10 ** (scales[scale] - getattr(c, scale)) for c in candles)
            for field, scale in fields.items()
        }
        bars = events.Bars(market=self.market.key, timeframe=timeframe, warm_up=name, **columns, **scales)
        self._fold("", bars)
        return len(candles)

    # ------------------------------------------------------------ what must hold

    def _fold(self, source: str, event: events.JournalEvent) -> None:
        entry = Input(source, 1, self.sequences[source], event)
        self.sequences[source] += 1
        made = records([entry], key=self.market.key)[1]
        record = Record(*made)._replace(offset=self.pipeline.applied + 1)
        self.journal.append(record)
        derived = self.pipeline.fold(record).derived
        self.derived += derived
        emitted = [
            pair
            for item in derived
            for output in [decode_output(item.value)]
            for pair in zip(output.causes(), output.events, strict=True)
        ]
        for _, derived in sorted(emitted, key=lambda pair: pair[0]):
            self._check(derived)
        self._balanced()

    def _balanced(self) -> None:
        for bot in self.pipeline.view().markets[self.market.key].bots.values():
            account, last = bot.account, bot.mark
            assert account.cash + account.cost + account.fees - account.realised == bot.initial_cash
            assert not (bot.status == "running" and last is not None and last[2] <= 0), bot

    def _check(self, event: DerivedEvent) -> None:
        match event:
            case BotChanged():
                self.initial[event.bot_id] = event.initial_cash * 10 ** (18 - event.cash_scale)
                self.happened[f"bot {event.code}"] += 1
                self.happened["warmed"] += event.warmed > 0 and event.code == "reconfigured"
            case Fill():
                unit = 10 ** (18 - event.cash_scale)
                self.spent[event.bot_id] += (event.fee - event.realised_pnl) * unit
                held = (event.cash + event.cost) * unit
                assert held + self.spent[event.bot_id] == self.initial[event.bot_id], event
                self.happened["fill"] += 1
            case Signal():
                self.happened[event.origin] += 1
                self.happened[event.code] += 1
            case OrderClosed():
                self.happened[event.code] += 1
            case Order():
                self.happened[f"order: {event.reason}"] += 1
            case Candle():
                self.happened["incomplete"] += event.incomplete
                if not event.revision:
                    self.closed[event.timeframe].append(event)
            case Equity() | DeadLetter():
                self.happened[type(event).__name__] += 1
            case _:
                pass


HAPPENINGS: dict[str, tuple[int, Callable[[World], None]]] = {
    "trades": (60, World.trades),
    "trades of a file": (8, lambda world: world.trades("file")),
    "late trades": (6, lambda world: world.trades(backfill=True)),
    "jump": (12, World.jump),
    "restart": (4, World.restart),
    "feed": (4, World.feed),
    "live again": (12, World.vouched),
    "gap": (2, World.gap),
    "scale": (2, World.scale),
    "start": (20, lambda world: world.command(events.StartBot)),
    "stop": (2, lambda world: world.command(events.StopBot)),
    "stop, flatten": (2, lambda world: world.command(events.StopBot, flatten=True)),
    "halt": (2, lambda world: world.command(events.HaltBot, reason="fire", code="halted")),
    "halt all": (1, lambda world: world.command(events.HaltBot, bot_id=None, reason="fire", code="halted")),
    "signal": (12, lambda world: world.command(events.ExternalSignal, target=world.target())),
    "warm": (8, World.warm),
    "reconfigure": (12, World.reconfigure),
}
"""By kind, how often beside the others, and what it does."""
MUST = (
    *HAPPENINGS, "fill", "incomplete", "Equity", "order: signal", "order: flatten", "order: bankrupt",
    "warmed", "bot started", "bot stopped", "bot halted", "bot reconfigured", "bot bankrupt", "strategy",
    "external", "resumed", "ok", "in_position", "closed_only", "bot_stopped", "bot_halted", "bankrupt",
    "stale_data", "short_not_allowed", "insufficient_cash", "too_small", "superseded", "reconfigured",
    "cut_to_cash",
)  # fmt: skip
"""Kinds that a thousand worlds must have seen often."""


def run(seeds: range, strategies: Strategies) -> Counter[str]:
    """Let these worlds live; returns what happened in them. Raises `AssertionError` naming the world."""
    happened: Counter[str] = Counter()
    for seed in seeds:
        try:
            World(seed, strategies, happened).live()
        except AssertionError as error:
            raise AssertionError(f"world {seed}: {error}") from error
    return happened


def rare(happened: Counter[str], worlds: int) -> dict[str, int]:
    """What had to happen more often in so many worlds."""
    return {kind: happened[kind] for kind in MUST if happened[kind] * 1_000 < ENOUGH * worlds}


if __name__ == "__main__":
    worlds = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        found = run(range(worlds), load_strategies(Path(folder), []))
    for kind in MUST:
        print(f"{found[kind]:8} {kind}")
    sys.exit(f"too rare: {rare(found, worlds)}" if rare(found, worlds) else 0)
