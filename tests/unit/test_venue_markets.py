"""A venue's list of markets becomes specifications; what is no market of ours is refused by name."""

import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ccxt
import pytest

from infra.exchange.venues.markets import (
    DECIMAL_PLACES,
    SIGNIFICANT_DIGITS,
    TICK_SIZE,
    MarketsUnreadError,
    OffScaleError,
    UnknownSymbolError,
    listed,
    loaded,
    market_of,
    near,
    step,
    units,
)
from projections.fold.specification import check_specification
from streams.events import Market

Told = dict[str, dict[str, Any]]
SPOT: dict[str, Any] = {
    "symbol": "BTC/USDT", "id": "BTCUSDT", "spot": True, "taker": 0.001, "active": True,
    "precision": {"price": "0.01000000", "amount": "0.00001000"},
    "limits": {"amount": {"min": "0.00001000"}},
}  # fmt: skip


def one(told: dict[str, Any], mode: int = TICK_SIZE) -> Market:
    symbol = str(told["symbol"])
    return market_of("x", {symbol: told}, symbol, precision_mode=mode, grace_ms=500)


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Callable[[str], list[tuple[str, dict[str, Any]]]]:
    """The REST answers that a venue gave, with their addresses."""

    def of(venue: str) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        with tarfile.open(shared_data / "raw_ws/cryptofeed_sample_A.tar.xz") as tar:
            lines = tar.extractfile(f"{venue}.0").read().decode().splitlines()  # type: ignore[union-attr] - it is a file
        for line in lines:
            address, arrow, answer = line.partition(" -> ")
            if arrow:
                found.append((address, json.loads(answer[answer.index("{") :])))
        return found

    return of


@pytest.fixture(scope="module")
def binance(recorded: Callable[[str], list[tuple[str, dict[str, Any]]]]) -> Told:
    client = ccxt.binance({"options": {"crossMarginPairsData": [], "isolatedMarginPairsData": []}})
    client.number = str  # type: ignore[assignment] - as ccxt's manual has it
    (_, info), *_ = recorded("BINANCE")
    parsed = [client.parse_market(row) for row in info["symbols"]]
    return {told["symbol"]: told for told in parsed}


@pytest.fixture(scope="module")
def okx(recorded: Callable[[str], list[tuple[str, dict[str, Any]]]]) -> Told:
    client = ccxt.okx()
    client.number = str  # type: ignore[assignment] - as ccxt's manual has it
    rows = [row for at, answer in recorded("OKX") if "instruments" in at for row in answer["data"]]
    parsed = [client.parse_market(row) for row in rows]
    return {told["symbol"]: told for told in parsed}


def test_binances_recorded_markets_are_all_specified_and_those_that_rest_are_halted(binance: Told) -> None:
    made = {s: market_of("binance", binance, s, precision_mode=TICK_SIZE, grace_ms=500) for s in binance}
    assert Counter(market.status for market in made.values()) == {"trading": 1262, "halted": 433}
    for market in made.values():
        check_specification(market)
    bitcoin = made["BTC/USDT"]
    assert bitcoin == Market(
        venue="binance", symbol="BTC/USDT", base="BTC", quote="USDT", settle="USDT", contract="spot",
        price_scale=2, price_step=1, size_scale=5, size_step=1, min_size=1, cash_scale=8, closed="left",
        grace_ms=500, fee=100_000, venue_id="BTCUSDT",
    )  # fmt: skip
    assert len(listed(binance)) == 1262 and "ETH/BTC" in listed(binance, "eth/b")


def test_okxs_recorded_contracts_say_their_kind_and_options_are_refused_by_name(okx: Told) -> None:
    kinds: Counter[str] = Counter()
    for symbol in okx:
        try:
            market = market_of("okx", okx, symbol, precision_mode=TICK_SIZE, grace_ms=500)
        except UnknownSymbolError as error:
            assert symbol in str(error) and "option" in str(error)
            kinds["refused"] += 1
        else:
            check_specification(market)
            kinds[market.contract] += 1
    assert set(kinds) == {"spot", "linear", "inverse", "refused"} and kinds["refused"] == 696
    inverse = market_of("okx", okx, "BTC/USD:BTC", precision_mode=TICK_SIZE, grace_ms=500)
    assert (inverse.contract, inverse.settle, inverse.multiplier) == ("inverse", "BTC", 100)
    linear = market_of("okx", okx, "BTC/USDT:USDT-220520", precision_mode=TICK_SIZE, grace_ms=500)
    assert (linear.contract, linear.multiplier, linear.multiplier_scale) == ("linear", 1, 2)
    assert len(listed(okx)) == kinds.total() - kinds["refused"]


def test_a_quanto_is_refused_by_name() -> None:
    quanto = {
        **SPOT,
        "symbol": "ETH/USD:BTC",
        "spot": False,
        "linear": False,
        "inverse": False,
        "settle": "BTC",
    }
    with pytest.raises(UnknownSymbolError, match="x:ETH/USD:BTC: is a quanto, settled in BTC"):
        one(quanto)
    with pytest.raises(UnknownSymbolError, match="is a quanto"):
        one({**quanto, "linear": True, "quanto": True})
    found = {"ETH/USD:BTC": {**quanto, "linear": True, "quanto": True}, "BTC/USDT": SPOT}
    assert listed(found) == ["BTC/USDT"]


@pytest.mark.parametrize(
    ("precision", "mode", "expected"),
    [
        ("0.01000000", TICK_SIZE, "0.01"), ("5", TICK_SIZE, "5"), ("1E-8", TICK_SIZE, "0.00000001"),
        (8, DECIMAL_PLACES, "0.00000001"), ("0", DECIMAL_PLACES, "1"), (-1, DECIMAL_PLACES, "10"),
        (5, SIGNIFICANT_DIGITS, "0.0001"), (1, SIGNIFICANT_DIGITS, "1"),
    ],
)  # fmt: skip
def test_a_precision_is_a_step_in_each_of_ccxts_modes(precision: Any, mode: int, expected: str) -> None:
    assert [DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE] == [
        ccxt.DECIMAL_PLACES, ccxt.SIGNIFICANT_DIGITS, ccxt.TICK_SIZE
    ]  # fmt: skip
    told = {**SPOT, "precision": {"price": precision, "amount": precision}, "limits": {}}
    found, want = one(told, mode), one({**told, "precision": {"price": expected, "amount": expected}})
    assert found == want


@pytest.mark.parametrize("precision", [None, "", "0", "-1", "NaN", "Infinity", "x"])
def test_what_is_no_step_is_refused(precision: Any) -> None:
    told = {**SPOT, "precision": {"price": precision, "amount": "0.1"}}
    with pytest.raises(UnknownSymbolError, match="x:BTC/USDT: its step"):
        one(told)
    for mode in (DECIMAL_PLACES, SIGNIFICANT_DIGITS):
        if precision not in {"0", "-1"}:
            with pytest.raises(ValueError, match="is no step"):
                step(precision, mode)


@pytest.mark.parametrize("answer", [None, {}, [], "<html>maintenance</html>"])
def test_a_list_of_markets_that_cannot_be_read_says_nothing_of_what_a_venue_has(answer: Any) -> None:
    with pytest.raises(MarketsUnreadError, match="okx: its list of markets came without a market in it"):
        loaded("okx", ["spot"], answer, [])
    with pytest.raises(MarketsUnreadError, match="without a spot market in it"):
        loaded("okx", ["spot"], answer, ["BTC/USDT"])


@pytest.mark.parametrize(
    ("symbol", "missing"),
    [
        ("BTC/USDT", None),
        ("ETH/USDT", None),
        ("BTC/USDT:USDT", "swap"),
        ("BTC/USD:BTC", "swap"),
        ("BTC/USDT:USDT-331230", "future"),
    ],
)
def test_a_list_without_a_market_of_a_kind_says_nothing_of_that_kind_alone(
    symbol: str, missing: str | None
) -> None:
    told = {"BTC/USDT": SPOT}
    if missing is None:
        assert loaded("okx", ["spot", "swap", "future"], told, [symbol]) == told
    else:
        with pytest.raises(MarketsUnreadError, match=f"without a {missing} market in it"):
            loaded("okx", ["spot", "swap", "future"], told, ["BTC/USDT", symbol])
    assert loaded("binance", ["spot"], told, [symbol]) == told  # which has no other kind


def test_an_unknown_symbol_is_refused_with_the_nearest(binance: Told) -> None:
    with pytest.raises(
        UnknownSymbolError, match=r"'BTC/USTD' does not exist at binance; near are .*BTC/USDT"
    ):
        market_of("binance", binance, "BTC/USTD", precision_mode=TICK_SIZE, grace_ms=500)
    assert near("zzz", binance) == ""


def test_units_are_exact_or_refused() -> None:
    assert units("61123.01000000", 2, "price") == 6112301
    assert units("1E-5", 5, "size") == 1
    with pytest.raises(OffScaleError, match=r"0.015 has more than 2 decimals"):
        units("0.015", 2, "price")
    for text in ("0", "-1", "0.00", None, "", "NaN", "Infinity", "1,5"):
        with pytest.raises(ValueError, match=r"is no number|is not above 0"):
            units(text, 2, "price")
