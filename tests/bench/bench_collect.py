"""What a provider's message costs the collector, with 1, 50 and 200 markets in it.

Run by `python -m tests.bench.bench_collect`. A message is a second of the simulated exchange, about two
trades a market, with a promise for each. *parse* is the provider's part, *read* all of `process_raw_data`,
*write* that with `send_signal_to_bots` behind it, on the embedded log, each message by itself and synced.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.exchange import simulated
from infra.exchange.collector import DataCollector, Message
from infra.exchange.simulated import SimulatedExchange, Slice
from streams.backends import open_log
from streams.journal import scan
from streams.ticks import Ticks
from tests.bench.timing import best

MARKETS = (1, 50, 200)
MESSAGES = 240
SECOND_NS = 1_000_000_000
START_NS = simulated.START_NS + 3_600 * SECOND_NS


def messages(symbols: list[str]) -> list[Message]:
    """One a second."""
    end = START_NS + MESSAGES * SECOND_NS
    trades = {symbol: simulated.ticks(symbol, START_NS, end) for symbol in symbols}
    return [
        Message("sim", Slice(until, {symbol: up_to(ticks, until) for symbol, ticks in trades.items()}))
        for until in range(START_NS + SECOND_NS, end + 1, SECOND_NS)
    ]


def up_to(ticks: Ticks, until: int) -> Ticks:
    """Those of the second before."""
    return ticks.take(slice(*ticks.time.searchsorted([until - SECOND_NS, until], side="right")))


async def measure(folder: Path, symbols: list[str]) -> None:
    """Show the cost of reading, and of reading and writing."""
    log = open_log(f"embedded://{folder}")
    collector = DataCollector(log, scan(log, range(log.partitions)))
    exchange = SimulatedExchange(end_ns=simulated.START_NS)
    collector.register_provider("sim", exchange)
    await collector.start_collection(symbols)  # it ends at once, and the markets are specified
    made = messages(symbols)

    def read() -> None:
        for message in made:
            collector.process_raw_data(message)

    def write() -> None:
        for message in made:
            collector.send_signal_to_bots(collector.process_raw_data(message))

    rows = sum(ticks.rows for message in made for ticks in message.raw.trades.values()) / MESSAGES
    parsed, taken, written = best(lambda: [exchange.parse(m.raw) for m in made]), best(read), best(write)
    costs = " ".join(f"{timed.cpu_s / MESSAGES * 1e6:9.0f}" for timed in (parsed, taken, written))
    print(f"{len(symbols):8d} {rows:6.0f} {costs} {written.load:6.1f}", flush=True)
    log.close()


def main() -> None:
    """Of processor time a message, the best round of several."""
    print(f"{'markets':>8s} {'rows':>6s} {'parse µs':>9s} {'read µs':>9s} {'write µs':>9s} {'load':>6s}")
    for markets in MARKETS:
        with TemporaryDirectory() as folder:
            asyncio.run(measure(Path(folder), simulated.symbols(markets)))


if __name__ == "__main__":
    main()
