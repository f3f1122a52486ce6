"""Markets are specified by hand, before there is any trade."""

from pathlib import Path

from tests.e2e.conftest import BITMEX, SPECIFICATION, Home


def test_a_bot_created_before_the_first_trade_trades_on_the_import_after_it(
    home: Home, tmp_path: Path
) -> None:
    added = home.json("markets", "add", *SPECIFICATION, "--closed", "left", "--fee-bp", "7.5")
    assert added == {"market": "bitmex:BTC/USD:BTC", "new": True}
    assert home.json("markets", "add", *SPECIFICATION, "--closed", "left", "--fee-bp", "7.5")["new"] is False
    assert "another specification" in home.run("markets", "add", *SPECIFICATION, code=1)
    bot = [
        "bots",
        "create",
        *BITMEX,
        "--strategy",
        "sma_cross",
        "--timeframe",
        "1m",
        "--cash",
        "1",
        "--start",
    ]
    assert home.json(*bot, "--param", "fast=1", "--param", "slow=2")["bot_id"] == 1
    rows = [f"{1514764800 + 20 * n},{100 + n % 7},{n % 5 + 1}" for n in range(60)]
    file = tmp_path / "trades.csv"
    file.write_text("timestamp,price,size\n" + "\n".join(rows) + "\n")
    home.json("import", file, *BITMEX)
    fills = home.lines("trades", 1)
    assert len(fills) > 2
    assert all(float(fill["fee"]) > 0 for fill in fills)
    assert home.json("markets", "list")["contract"] == "inverse"
    assert home.json("verify")["equal"] is True


def test_a_market_that_is_none_is_refused_with_the_way_out(home: Home) -> None:
    steps = ["--price-step", "1", "--size-step", "1"]
    assert "BASE/QUOTE" in home.run("markets", "add", "--venue", "x", "--symbol", "BTCUSD", *steps, code=1)
    assert "venue" in home.run("markets", "add", "--venue", "a:b", "--symbol", "BTC/USD", *steps, code=1)
    bad = home.run(
        "markets", "add", "--venue", "x", "--symbol", "A/B", "--price-step", "0", "--size-step", "1", code=1
    )
    assert "price step '0'" in bad


def test_an_import_says_how_many_of_its_trades_came_to_nothing(home: Home, tmp_path: Path) -> None:
    """599 of 600 come long behind the newest: the exit code says so, and a repeat has nothing to lose."""
    rows = [f"{1514764800 + 60 * n},100,1" for n in [599, *range(599)]]
    file = tmp_path / "newest_first.csv"
    file.write_text("timestamp,price,size\n" + "\n".join(rows) + "\n")
    words = home.run("import", file, "--venue", "test", "--symbol", "A/B", code=4)
    assert "600 rows: 600 appended, 0 there already, 0 of other symbols, 0 bad" in words
    assert "600 appended: " in words and " too late for any candle" in words
    assert home.json("import", file, "--venue", "test", "--symbol", "A/B")["late"] == 0
