"""Files that once went wrong, from paths to candles: those beside the checkout, each with what is right."""

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from infra.exchange.forms import FileOptions
from infra.exchange.trade_file import BadRowError
from infra.present.values import parse_time
from projections.fold.pipeline import Pipeline
from projections.strategies.code import Strategies
from streams.backends import open_log
from streams.events import Candle, Market
from streams.log import Log
from streams.topics import JOURNAL
from tests.journal import fold, of
from tests.trade_files import import_file, market_of

Bar = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, int]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=1)
    yield log
    log.close()


def bars(log: Log, strategies: Strategies, market: Market) -> list[Bar]:
    """The newest 1m candles with trades."""
    pipeline = Pipeline(0, strategies)
    newest: dict[int, Candle] = {}
    for item in fold(pipeline, log.read(JOURNAL, 0)):
        if item.key == market.key.encode():
            newest |= {candle.timestamp: candle for candle in of([item], Candle) if candle.timeframe == "1m"}
    return [bar(candle) for _, candle in sorted(newest.items()) if candle.trades]


def bar(candle: Candle) -> Bar:
    prices = [candle.open, candle.high, candle.low, candle.close]
    opened, high, low, close = (Decimal(price).scaleb(-candle.price_scale) for price in prices)
    volume = Decimal(candle.volume).scaleb(-candle.size_scale)
    return candle.timestamp, opened, high, low, close, volume, candle.trades


def expected(file: Path) -> list[Bar]:
    names = ("open", "high", "low", "close", "volume")
    with file.open() as lines:
        return [
            (parse_time(row["timestamp"]), *(Decimal(row[name]) for name in names), int(row["trades"]))
            for row in csv.DictReader(lines)
            if int(row["trades"])
        ]


@pytest.mark.parametrize(
    ("case", "file"),
    [
        ("headerless-spot-archive", "trades.csv"),
        ("newest-first-file", "trades.csv"),
        ("zip-with-created-time", "trades.zip"),
    ],
)
def test_a_file_as_it_is_published_gives_its_candles(log, strategies, shared_cases, case, file) -> None:
    folder = shared_cases / case
    market = market_of(folder / file, "v", "A/USDT")
    done = import_file(log, folder / file, market)
    assert (done.rows, done.appended) == (done.rows, done.rows)
    assert bars(log, strategies, market) == expected(folder / "expected.csv")


def test_of_two_symbols_in_one_file_each_gives_its_own_candles(log, strategies, shared_cases) -> None:
    folder = shared_cases / "several-symbols-one-file"
    for symbol, right in (("AAAUSD", "expected.csv"), ("BBBUSD", "expected_other.csv")):
        options = FileOptions(only=symbol)
        market = market_of(folder / "trades.csv", "v", f"{symbol[:3]}/USD", options=options)
        done = import_file(log, folder / "trades.csv", market, options)
        assert (done.rows, done.bad) == (done.appended + done.others, 0)
        assert done.appended and done.others
        assert bars(log, strategies, market) == expected(folder / right)


def test_a_finer_price_is_refused_with_the_step_that_takes_it(log, strategies, shared_cases) -> None:
    folder = shared_cases / "price-step-too-coarse"
    coarse = market_of(folder / "day1.csv", "v", "A/USDT")
    import_file(log, folder / "day1.csv", coarse)
    with pytest.raises(BadRowError, match=r"say --price-step 0\.01"):
        import_file(log, folder / "day2.csv", coarse)
    fine = market_of(folder / "day2.csv", "v", "A/USDT", price_step="0.01")
    import_file(log, folder / "day2.csv", fine)
    assert bars(log, strategies, fine) == expected(folder / "expected.csv")
