"""Writes the golden log anew: `python -m tests.golden.make`, after a change of the fold that is meant.

`journal.jsonl` holds recorded journal bytes, which must stay readable for ever: it is only ever added to.
`derived.jsonl` is what the fold makes of them today, an event a line. `ledger.jsonl` holds recorded bytes of
the ledger of trials, which must stay readable too.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import structs

from infra.present.values import event_to_json
from projections.fold.pipeline import Pipeline
from projections.strategies.code import Strategies, StrategyCode
from streams import events
from streams.codec import encode
from streams.events import Sizing
from streams.records import Record
from streams.topics import JOURNAL, RESEARCH
from tests.journal import START, batch, batch_of, create, emitted, records, spot

HERE = Path(__file__).parent


class AnyCode:
    """Gives today's code for every hash, so that the golden log shows changes of the fold alone."""

    def __init__(self, strategies: Strategies) -> None:
        self._strategies = strategies

    def get(self, name: str, code_hash: str) -> StrategyCode | None:
        return self._strategies.latest(name)

    def latest(self, name: str) -> StrategyCode:
        return self._strategies.latest(name)


def bars(market: events.Market) -> events.Bars:
    return events.Bars(
        market=market.key,
        timeframe="5m",
        timestamp=(START - 300 * 10**9, START),
        open=(9_900, 9_950),
        high=(9_990, 9_960),
        low=(9_800, 9_900),
        close=(9_950, 9_930),
        volume=(12, 7),
        price_scale=2,
        size_scale=3,
    )


def wide(batch: events.TickBatch, ids: Sequence[int]) -> events.TickBatch:
    """The batch with ids of 128 bits, received a second after its last row."""
    column = b"".join(number.to_bytes(16, "little") for number in ids)
    received = int.from_bytes(batch.time[-8:], "little") + 10**9
    return structs.replace(batch, id=column, id_bits=128, received=received)


def journal() -> list[Record]:
    """Three kinds of contracts, every command, late and backfilled trades, a gap, and two bad records."""
    btc = spot()
    eth = spot("ETH/USD", contract="linear", multiplier=5, multiplier_scale=1, closed="left", slippage=20_000)
    xbt = spot("XBT/USD", contract="inverse", settle="XBT", size_scale=0, price_step=50, fee=75_000)
    prices = [100 + (n * 7) % 13 - (n * 3) % 5 for n in range(60)]
    markets = (btc, eth, xbt)
    inputs: list = [(market.key, market) for market in markets]
    params = {"fast": 1, "slow": 2}
    inputs += [(m.key, create(m, n, params=params, short=True)) for n, m in enumerate(markets, 1)]
    inputs.append((btc.key, create(btc, 4, params={"fast": 2, "slow": 3}, sizing=Sizing("amount", 15, 1))))
    inputs.append((btc.key, create(btc, 5, strategy="rsi_reversion", params={"n": 2}, timeframe="5m")))
    for part in range(6):
        rows = [
            (m, (n * 11, prices[n], n % 4 + 1)) for n in range(part * 10, part * 10 + 10) for m in markets
        ]
        inputs.append((btc.key, batch_of(markets, rows)))
    at = START
    inputs += [
        (btc.key, batch(btc, [(500, 90, 3, "backfill"), (640, 120, 2), (641, 121, 2)])),
        (btc.key, events.StopBot(request="stop", who="ann", at=at, bot_id=1, flatten=True)),
        (
            btc.key,
            events.ReconfigureBot(request="again", who="ann", at=at, bot_id=4, params={"fast": 1, "slow": 3}),
        ),
        (
            btc.key,
            events.Gap(
                market=btc.key,
                start=at + 700 * 10**9,
                end=at + 730 * 10**9,
                reason="disconnected",
                first_id=71,
                last_id=75,
            ),
        ),
        (btc.key, batch(btc, [(650, 119, 1), (780, 125, 1), (781, 124, 1), (900,)])),
        (btc.key, events.GapFilled(market=btc.key, start=at + 700 * 10**9, end=at + 730 * 10**9)),
        (
            btc.key,
            events.IdsReset(
                market=btc.key, since=at + 900 * 10**9, who="ann", at=at, reason="a venue began anew"
            ),
        ),
        (eth.key, events.ExternalSignal(request="nudge", who="bob", at=at, bot_id=2, target=-0.5)),
        (eth.key, batch(eth, [(700, 104, 1), (760, 106, 1), (761, 99, 2)])),
        (btc.key, events.StartBot(request="start", who="ann", at=at, bot_id=1)),
        (btc.key, events.StopBot(request="missing", who="ann", at=at, bot_id=99)),
        (btc.key, batch(btc, [(1000, 130, 1), (1060, 110, 1), (1061, 111, 1)])),
        (xbt.key, wide(batch(xbt, [(700, 101, 1), (701, 102, 1), (700, 101, 1)]), (2**100, 7, 2**100))),
        (btc.key, events.Feed(market=btc.key, source="tester", state="stale", since=at, reason="silent")),
        (
            btc.key,
            bars(btc),
        ),
        (
            btc.key,
            events.HaltBot(
                request="halt", who="ann", at=at, bot_id=None, reason="end of the golden log", code="halted"
            ),
        ),
    ]
    made = records(inputs)
    broken = Record(JOURNAL, 0, len(made), 1_000 + len(made), btc.key.encode(), b"\xc1")
    return [*made, broken]


def ledger() -> list[Record]:
    """A sweep over bars of a file that was gone on with, and what became of its two sets."""
    started = events.TrialStarted(
        at=START, kind="sweep", market=spot().key, timeframe="1h", after=START, until=START + 3_600 * 10**9,
        candles=1, origin={"source": "file", "file": "/data/bars.csv", "stamp": "open", "fill": "next-open"},
        sha256="ab" * 32, specification=spot(fee=75_000), strategies={"sma_cross": "cd" * 32}, sets=2,
        parameters={"fast": (3,), "slow": (8, 20)}, cash="10000.00", sizing="equity:1", annualise=365.0,
        who="ann@here", process="7@here", versions={"python": "3.11.2"}, chosen=2, seed=7, short=True,
        on_stale="flatten", cold=True, fee=75_000, slippage=10_000, holdout="20 %", look=True,
    )  # fmt: skip
    ended = events.TrialEnded(
        trial=0, at=START, first=0, sets=2, parameters={"fast": (3, 3), "slow": (8, 20)},
        metrics={"final": (1_000_050, None), "sharpe": (-0.25, None), "trades": (3, None)},
        errors=("", "take a longer range"), blocks=bytes(range(256)) * 3, cash_scale=2, settle="USDT",
    )  # fmt: skip
    written = (started, structs.replace(started, resumes=0), ended)
    return [Record(RESEARCH, 0, n, 1_000 + n, b"", encode(event)) for n, event in enumerate(written)]


def read_journal() -> list[Record]:
    return _read("journal.jsonl", JOURNAL)


def read_ledger() -> list[Record]:
    return _read("ledger.jsonl", RESEARCH)


def _read(file: str, topic: str) -> list[Record]:
    lines = (json.loads(line) for line in (HERE / file).read_text().splitlines())
    return [
        Record(topic, 0, offset, line["time_ms"], line["key"].encode(), base64.b64decode(line["value"]))
        for offset, line in enumerate(lines)
    ]


def derived_lines(strategies: Strategies, recorded: Iterable[Record]) -> list[str]:
    pipeline = Pipeline(0, AnyCode(strategies))
    return [
        json.dumps(
            {"topic": item.topic, "key": item.key.decode(), "cause": str(cause)} | event_to_json(event),
            ensure_ascii=False,
        )
        for record in recorded
        for item in pipeline.fold(record).derived
        for cause, event in emitted([item])
    ]


def write(strategies: Strategies) -> None:
    for name, records_of in (("journal.jsonl", journal), ("ledger.jsonl", ledger)):
        with (HERE / name).open("w") as file:
            for record in records_of():
                line = {"time_ms": record.time_ms, "key": (record.key or b"").decode()}
                file.write(json.dumps(line | {"value": base64.b64encode(record.value).decode()}) + "\n")
    (HERE / "derived.jsonl").write_text("\n".join(derived_lines(strategies, read_journal())) + "\n")


if __name__ == "__main__":
    import tempfile

    from infra.strategies.registry import load_strategies

    write(load_strategies(Path(tempfile.mkdtemp())))
