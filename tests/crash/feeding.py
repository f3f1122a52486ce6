"""Markets, bots and trades for the log of a platform under attack."""

from infra.exchange.simulated import ticks as simulated_ticks
from projections.fold.commands import code_check
from projections.strategies.code import Strategies
from streams.events import MINUTE_NS, CreateBot, Market, RowMarket, Sizing
from streams.journal import JournalWriter
from streams.log import Log
from streams.ticks import pack

FEED_START = 1_767_225_600_000_000_000


def bots(log: Log, strategies: Strategies, market: Market, first: int = 1) -> None:
    """A market and two bots that trade often, as its first records."""
    writer = JournalWriter(log, f"specification:{market.key}", 1)
    writer.append(market, key=market.key)
    params = {"sma_cross": {"fast": 2, "slow": 5}, "rsi_reversion": {"n": 3, "low": 40.0, "high": 60.0}}
    for bot_id, (name, chosen) in enumerate(params.items(), first):
        code_hash = strategies.latest(name).code_hash
        command = CreateBot(
            request=f"create-{bot_id}",
            who="test",
            at=0,
            bot_id=bot_id,
            market=market.key,
            timeframe="1m",
            strategy=name,
            code_hash=code_hash,
            code_check=code_check(name, code_hash),
            params=chosen,
            sizing=Sizing("equity", 5, 1),
            short=True,
            cash=10 ** (market.cash_scale + 3),
            cash_scale=market.cash_scale,
            start=True,
        )
        writer.append(command, key=market.key)


def feed(
    log: Log, markets: list[Market], start_minute: int, minutes: int, writers: dict[str, JournalWriter]
) -> None:
    """Simulated trades of some minutes, a record per market and ten seconds, then a clock row."""
    step = MINUTE_NS // 6
    for number in range(minutes * 6):
        start = FEED_START + start_minute * MINUTE_NS + number * step
        for market in markets:
            rows = simulated_ticks(market.symbol, start, start + step, seed=5)
            if rows.rows:
                table = [RowMarket(market.key, market.price_scale, market.size_scale)]
                writers[market.key].append(pack(table, rows), key=market.key)
