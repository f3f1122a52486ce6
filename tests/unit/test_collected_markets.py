"""What the journal fixed of a market stays; a provider that means another one loses that market alone."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from infra.commands.given import RefusedError
from infra.commands.manager import BotSpec, create_command
from infra.exchange.simulated import market
from infra.exchange.specification import specification
from projections.fold.pipeline import Pipeline
from streams.events import Candle, DeadLetter, Market, TickBatch
from streams.journal import JournalWriter
from streams.topics import JOURNAL
from tests.journal import batch, create, fold, of, records
from tests.unit.test_collector import BTC, Script, collect_from, delivery, inputs, letters, log, rows_of

__all__ = ["log"]
SIM = market("BTC/USDT")
ETH = market("ETH/USDT")


def recorded(log, market: Market) -> None:
    JournalWriter(log, "before", 0).append(market, key=market.key)


def specifications(log, strategies, key: str = BTC) -> list[Market]:
    """What the fold makes of the journal's specifications."""
    pipelines = [Pipeline(partition, strategies) for partition in range(log.partitions)]
    for pipeline in pipelines:
        for record in log.read(JOURNAL, pipeline.partition):
            report = pipeline.fold(record).report
            assert report.dead_letters == []
    return [p.view().markets[key].specification for p in pipelines if key in p.view().markets]


class Told(Script):
    """Keeps what it is told."""

    async def markets(self, symbols: Sequence[str], known: Any) -> Sequence[Market]:
        self.known = dict(known)
        return await super().markets(symbols, known)


def test_what_the_journal_fixed_of_a_market_wins_and_its_provider_is_told(log, strategies):
    ours = replace(SIM, closed="left", grace_ms=500, horizon_min=60, cash_scale=10)
    recorded(log, ours)
    provider = Told([delivery(1, 100)], [replace(SIM, fee=700)])
    collect_from(log, provider)
    assert provider.known == {BTC: ours}
    assert specifications(log, strategies) == [replace(ours, fee=700)]
    assert letters(log) == []
    assert rows_of(log, BTC).price.tolist() == [100]


def test_of_a_coarser_price_step_the_scale_stays_and_the_step_changes(log, strategies):
    coarser = replace(SIM, price_scale=SIM.price_scale - 1, size_scale=SIM.size_scale - 1, price_step=5)
    script = [delivery(1, 1000), delivery(2, 100, markets=(coarser,)), delivery(3, 101, 2**53)]
    collect_from(log, Script(script, [SIM]))
    (told,) = specifications(log, strategies)
    assert told == replace(SIM, price_step=50, size_step=10 * SIM.size_step, min_size=10 * SIM.min_size)
    assert rows_of(log, BTC).price.tolist() == [1000, 1000, 1010]
    assert rows_of(log, BTC).size.tolist() == [1, 10, 10]
    (letter,) = letters(log)
    assert "beyond 2**53" in letter.reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"contract": "inverse"}, "contract is spot in the journal, and its provider says inverse"),
        ({"settle": "BTC"}, "settle is USDT in the journal, and its provider says BTC"),
        ({"multiplier": 10}, "multiplier is 1 in the journal, and its provider says 1"),
    ],
)
def test_another_kind_or_multiplier_refuses_that_market_alone(log, strategies, changed, said):
    recorded(log, SIM)
    script = [delivery(1, 100), delivery(2, 200, key=ETH.key), delivery(3, 100, clock_s=3)]
    collect_from(log, Script(script, [replace(SIM, **changed), ETH]))
    assert rows_of(log, ETH.key).price.tolist() == [200]
    batches = [entry.event for entry in inputs(log) if isinstance(entry.event, TickBatch)]
    assert {row_market.key for batch in batches for row_market in batch.markets} == {ETH.key}
    (letter,) = letters(log)
    assert letter.market == BTC
    assert said in letter.reason
    assert specifications(log, strategies) == [SIM]


def test_the_same_multiplier_at_another_scale_is_the_same(log, strategies):
    recorded(log, SIM)
    collect_from(log, Script([delivery(1, 100)], [replace(SIM, multiplier=10, multiplier_scale=1)]))
    assert specifications(log, strategies) == [SIM]
    assert letters(log) == []


def test_a_provider_all_of_whose_markets_are_refused_is_heard(log):
    recorded(log, SIM)
    with pytest.raises(ValueError, match="contract is spot in the journal"):
        collect_from(log, Script([delivery(1, 100)], [replace(SIM, contract="inverse")]))


STEPS = {"contract": None, "price_step": "0.5", "size_step": "1"}


@pytest.mark.parametrize(
    ("symbol", "contract", "settle"),
    [
        ("BTC/USD:BTC-220527", "inverse", "BTC"),
        ("BTC/USDT:USDT-241227", "linear", "USDT"),
        ("BTC/USD:BTC", "inverse", "BTC"),
        ("BTC/USDT", "spot", "USDT"),
        ("BTC-220527/USD", "spot", "USD"),
    ],
)
def test_a_date_in_a_symbol_belongs_to_no_currency(symbol: str, contract: str, settle: str) -> None:
    made = specification("v", symbol, **STEPS)
    assert (made.contract, made.settle) == (contract, settle)


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("BTC/USD:BTC-240927-60000-C", "an option"),
        ("ETH/USDC:USDC-240927-0.5-P", "an option"),
        ("ETH/USD:BTC", "a quanto, settled in BTC"),
        ("ETH/USD:BTC-241227", "a quanto, settled in BTC"),
    ],
)
def test_a_kind_that_there_is_none_of_is_refused_by_name(log, symbol: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"{symbol}' is {kind}"):
        specification("v", symbol, **STEPS)
    theirs = replace(SIM, symbol=symbol, settle="BTC", contract="linear")
    collect_from(log, Script([delivery(1, 100)], [SIM, theirs]))
    assert [letter.market for letter in letters(log)] == [theirs.key]
    assert kind in letters(log)[0].reason
    assert rows_of(log, BTC).price.tolist() == [100]


def test_a_contract_that_ends_has_candles_and_no_bots(strategies) -> None:
    dated = specification("v", "BTC/USD:BTC-220527", **STEPS)
    code = strategies.latest("sma_cross")
    command = create(dated, code_hash=code.code_hash)
    journal: list[tuple[str, Any]] = [(dated.key, dated), (dated.key, command)]
    derived = fold(
        Pipeline(0, strategies), records([*journal, (dated.key, batch(dated, [(1, 100, 1), (61,)]))])
    )
    (letter,) = of(derived, DeadLetter)
    assert letter.reason.startswith("no_settlement: v:BTC/USD:BTC-220527 ends at a date")
    assert [c.trades for c in of(derived, Candle)] == [1]
    spec = BotSpec("sma_cross", "v", dated.symbol, "1m", "1", {})
    with pytest.raises(RefusedError, match="no_settlement"):
        create_command(spec, dated, code, 1, {"request": "r", "who": "me", "at": 0}, start=False)
