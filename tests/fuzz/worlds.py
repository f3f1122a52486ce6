"""Honest events of every kind, in an order that a journal could have: what the fuzzer spoils."""

from collections.abc import Callable
from random import Random

from msgspec import structs

from projections.strategies.code import Strategies
from streams import events
from streams.events import JournalEvent, Market, Sizing
from streams.genesis import rules
from streams.records import Input
from tests.golden.make import bars, wide
from tests.journal import START, batch_of, create, spot

MARKETS = (
    spot(),
    spot("ETH/USD", contract="linear", multiplier=5, multiplier_scale=1, closed="left", slippage=20_000),
    spot("XBT/USD", contract="inverse", settle="XBT", size_scale=0, price_step=50, fee=75_000, grace_ms=500),
)
BOTS = (
    ("sma_cross", {"fast": 1, "slow": 2}),
    ("rsi_reversion", {"n": 2}),
    ("macd_cross", {"fast": 2, "slow": 5, "signal": 2}),
    ("bollinger_breakout", {"n": 5, "width": 1}),
)
BOT_MAX = 9
SOURCES = 6


class World:
    """A journal partition that goes on: three kinds of contracts and bots of every strategy."""

    def __init__(self, chance: Random, strategies: Strategies) -> None:
        self._chance, self._strategies = chance, strategies
        self._now_s = 0.0
        self._trade = 0
        self._requests = 0
        self._sequences: dict[str, int] = {}
        self._prices = [100.0] * len(MARKETS)

    def begin(self) -> list[tuple[str, Input]]:
        """What the rest needs: markets, and bots that run."""
        first: list[JournalEvent] = list(MARKETS)
        first += [self._created(bot_id) for bot_id in range(1, 7)]
        return [(self._key(event), self._input(event)) for event in first]

    def next(self) -> tuple[str, Input]:
        """The key and the value of the record that comes next."""
        self._now_s += self._chance.choice((0.0, 0.5, 3.0, 20.0, 61.0))
        (kind,) = self._chance.choices(_KINDS, _WEIGHTS)
        event = kind(self)
        return self._key(event), self._input(event)

    def _input(self, event: JournalEvent) -> Input:
        if isinstance(event, events.Command):
            return Input("", 0, 0, event)
        source = f"feed{self._chance.randrange(SOURCES)}"
        sequence = self._sequences.get(source, 0)
        self._sequences[source] = sequence + 1
        return Input(source, 1, sequence, event)

    def _key(self, event: JournalEvent) -> str:
        match event:
            case Market():
                return event.key
            case events.TickBatch(markets=markets):
                return markets[0].key
            case (
                events.IdsReset()
                | events.Gap()
                | events.GapFilled()
                | events.Bars()
                | events.Feed()
                | events.CreateBot()
            ):
                return event.market
            case _:
                bot_id = getattr(event, "bot_id", None)
                return (self._market() if bot_id is None else _market_of(bot_id)).key

    def _market(self) -> Market:
        return self._chance.choice(MARKETS)

    def _at(self, ago_s: float = 0.0) -> int:
        return START + int((self._now_s - ago_s) * 10**9)

    def _batch(self) -> events.TickBatch:
        count = self._chance.choice((1, 1, 3))
        markets = self._chance.sample(MARKETS, count)
        rows = [
            (market, self._row(market)) for _ in range(self._chance.choice((1, 3, 12))) for market in markets
        ]
        ids = range(self._trade, self._trade + len(rows)) if self._chance.random() < 0.6 else None
        self._trade += len(rows)
        made = batch_of(markets, rows, ids=ids)
        return wide(made, ids) if ids is not None and self._chance.random() < 0.2 else made

    def _row(self, market: Market) -> tuple[object, ...]:
        self._now_s += self._chance.choice((0.0, 0.1, 2.0))
        if self._chance.random() < 0.08:
            return (self._now_s,)
        index = MARKETS.index(market)
        price = self._prices[index] = max(1.0, self._prices[index] + self._chance.choice((-3, -1, 0, 1, 3)))
        trade = (self._now_s, int(price), self._chance.randrange(1, 50))
        late = self._chance.random()
        if late < 0.1:
            trade = (max(0.0, self._now_s - self._chance.choice((30, 300, 20_000))), *trade[1:])
        return (*trade, "backfill") if late < 0.05 else trade

    def _clock(self) -> events.Clock:
        keys = [market.key for market in self._chance.sample(MARKETS, self._chance.randrange(1, 4))]
        return events.Clock(time=self._at(), markets=tuple(keys))

    def _gap(self) -> events.Gap:
        times = {"start": self._at(self._chance.choice((10, 200, 4_000))), "end": self._at(5)}
        first = self._chance.randrange(self._trade + 1)
        last = first + self._chance.choice((0, 5, 5, 200, -1))
        ids = {"first_id": first, "last_id": last} if self._chance.random() < 0.5 else {}
        final = self._chance.random() < 0.2
        return events.Gap(market=self._market().key, reason="lost", final=final, **times, **ids)

    def _filled(self) -> events.GapFilled:
        times = {"start": self._at(self._chance.choice((10, 200, 4_000))), "end": self._at(5)}
        return events.GapFilled(market=self._market().key, **times)

    def _reset(self) -> events.IdsReset:
        return events.IdsReset(market=self._market().key, since=self._at(20), who="fuzz", at=self._at())

    def _bars(self) -> events.Bars:
        return bars(self._market())

    def _feed(self) -> events.Feed:
        state = self._chance.choice(("live", "catching_up", "stale", "down", "halted"))
        return events.Feed(market=self._market().key, source="feed0", state=state, since=self._at())

    def _specified(self) -> Market:
        market = self._market()
        changes = ({}, {"fee": 1_000}, {"status": "halted"}, {"price_step": 5}, {"min_size": 2})
        return structs.replace(market, **self._chance.choice(changes))

    def _rules(self) -> events.Rules:
        return rules(1)

    def _signed(self) -> dict[str, object]:
        self._requests += 1
        return {"request": f"r{self._requests}", "who": "fuzz", "at": self._at()}

    def _bot(self) -> int:
        return self._chance.randrange(1, BOT_MAX)

    def _register(self) -> events.RegisterBot:
        return events.RegisterBot(market=self._market().key, **self._signed())

    def _created(self, bot_id: int) -> events.CreateBot:
        strategy, params = BOTS[bot_id % len(BOTS)]
        market = _market_of(bot_id)
        sizing = self._chance.choice(
            (Sizing("equity", 5, 1), Sizing("cash", 500, 0), Sizing("amount", 15, 1))
        )
        made = create(
            market, bot_id, strategy=strategy, params=dict(params), sizing=sizing, short=bot_id % 2 == 0,
            code_hash=self._strategies.latest(strategy).code_hash,
            timeframe=self._chance.choice(("1m", "5m")),
        )  # fmt: skip
        return structs.replace(made, **self._signed())

    def _create(self) -> events.CreateBot:
        return self._created(self._bot())

    def _start(self) -> events.StartBot:
        return events.StartBot(bot_id=self._bot(), **self._signed())

    def _stop(self) -> events.StopBot:
        return events.StopBot(bot_id=self._bot(), flatten=self._chance.random() < 0.5, **self._signed())

    def _halt(self) -> events.HaltBot:
        bot_id = None if self._chance.random() < 0.1 else self._bot()
        return events.HaltBot(bot_id=bot_id, reason="because", code="operator", **self._signed())

    def _reconfigure(self) -> events.ReconfigureBot:
        changes = ({"params": {"fast": 2, "slow": 4}}, {"sizing": Sizing("cash", 5, 0)}, {"short": True})
        return events.ReconfigureBot(bot_id=self._bot(), **self._chance.choice(changes), **self._signed())

    def _signal(self) -> events.ExternalSignal:
        target = self._chance.choice((-1.0, 0.0, 0.5, 1.0))
        return events.ExternalSignal(bot_id=self._bot(), target=target, **self._signed())


def _market_of(bot_id: int) -> Market:
    return MARKETS[bot_id % len(MARKETS)]


_WEIGHTED: dict[Callable[[World], JournalEvent], int] = {
    World._batch: 40, World._clock: 8, World._gap: 6, World._filled: 6, World._bars: 3,
    World._reset: 2, World._feed: 4,
    World._specified: 6, World._rules: 1, World._register: 1, World._create: 6, World._start: 4,
    World._stop: 4, World._halt: 3, World._reconfigure: 5, World._signal: 5,
}  # fmt: skip
_KINDS, _WEIGHTS = list(_WEIGHTED), list(_WEIGHTED.values())
