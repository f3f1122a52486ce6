"""Recorded trades of any form come into the journal exactly, once, in the file's order."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.exchange.files import SEND_RECORDS, minute_end
from infra.exchange.forms import FileOptions
from infra.exchange.pieces import FileReadError
from infra.exchange.specification import inferred
from infra.exchange.trade_file import BadRowError, TradeFile
from streams.backends import open_log
from streams.events import MINUTE_NS, Clock, Market, RowKind
from streams.log import Log, LogError
from streams.records import Entry, Position
from tests.journal import trades_in_candles
from tests.trade_files import (
    FORMS,
    MARKET,
    START_MS,
    DyingLog,
    batches,
    content,
    import_file,
    imported,
    journal,
    market_of,
    rows,
    write_csv,
)

FILE_SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


# ---------------------------------------------------------------- forms of files


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("write", FORMS)
def test_every_form_of_file_gives_the_same_rows_in_the_files_order(log, tmp_path, write, gzipped):
    path, table = tmp_path / "trades", rows(200)
    write(path, pa.Table.from_pylist(table))
    if gzipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    result = import_file(log, path, MARKET, record_rows=64)
    assert (result.rows, result.appended, result.bad) == (200, 200, 0)
    kind, time, price, size, ids = content(log)
    assert time[:-1] == [row["timestamp"] * 10**6 for row in table]
    assert price[:-1] == [round(row["price"] * 100) for row in table]
    assert size[:-1] == [round(row["size"] * 1000) for row in table]
    assert ids[:-1] == [row["id"] for row in table]
    assert kind[:-1] == [RowKind.BUY if row["side"] == "buy" else RowKind.SELL for row in table]
    assert kind[-1] == RowKind.CLOCK


def test_names_and_separators_that_nobody_knows_are_given_as_options(log, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("wann;kurs;menge\n1514764800;1.50;0.002\n")
    with pytest.raises(FileReadError, match="none of its columns wann, kurs, menge is known as the time"):
        TradeFile(path)
    named = FileOptions({"time": "wann", "price": "kurs", "size": "menge"})
    import_file(log, path, MARKET, options=named)
    assert imported(log).price.tolist()[:-1] == [150]
    with pytest.raises(FileReadError, match="has no column 'prix'; it has wann, kurs, menge"):
        TradeFile(path, FileOptions({"price": "prix"}))
    with pytest.raises(ValueError, match="'cost' is no field of a trade"):
        TradeFile(path, FileOptions({**named.columns, "cost": "kurs"}))


def test_binances_short_names_are_told_apart_by_case(tmp_path):
    path = write_csv(tmp_path / "b.csv", [{"t": 5, "T": START_MS, "p": "1.5", "q": "2", "m": "true"}])
    assert TradeFile(path).layout.columns == {
        "time": "T", "price": "p", "size": "q", "maker": "m", "id": "t",
    }  # fmt: skip


def test_signed_sizes_give_the_takers_side(log, tmp_path):
    table = [{"time": START_MS, "price": 1, "size": size} for size in (3, -2, 1)]
    import_file(log, write_csv(tmp_path / "signed.csv", table), MARKET)
    ticks = imported(log)
    assert ticks.kind.tolist() == [RowKind.BUY, RowKind.SELL, RowKind.BUY, RowKind.CLOCK]
    assert ticks.size.tolist()[:-1] == [3000, 2000, 1000]
    assert ticks.id is None


def test_a_file_without_sides_gives_trades_without_sides(log, tmp_path):
    table = [{"time": START_MS, "price": 1, "size": 3}]
    import_file(log, write_csv(tmp_path / "unsigned.csv", table), MARKET)
    assert imported(log).kind.tolist() == [RowKind.TRADE, RowKind.CLOCK]


def test_ids_that_are_no_numbers_are_left_out(tmp_path):
    table = [{"time": START_MS, "price": 1, "size": 3, "id": "a3f0-77"}]
    assert "id" not in TradeFile(write_csv(tmp_path / "uuid.csv", table)).layout.columns


@pytest.mark.parametrize(
    ("closed", "time_ms", "end"),
    [("left", 59_999, 1), ("left", 60_000, 2), ("right", 60_000, 1), ("right", 60_001, 2)],
)
def test_an_import_ends_with_a_clock_row_at_the_end_of_the_last_minute_begun(
    log, tmp_path, closed, time_ms, end
):
    market = Market(
        venue="v",
        symbol="BTC/USD",
        base="BTC",
        quote="USD",
        settle="USD",
        contract="spot",
        price_scale=2,
        size_scale=3,
        cash_scale=8,
        price_step=1,
        size_step=1,
        min_size=1,
        closed=closed,
    )
    table = [{"time": t, "price": 1, "size": 3} for t in (time_ms, 1_000)]
    path = write_csv(tmp_path / "a.csv", table)
    import_file(log, path, market, options=FileOptions(time_unit="ms"))
    assert imported(log).time[-1] == end * MINUTE_NS


# ---------------------------------------------------------------- once


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]]]:
    """A file, and what an undisturbed import makes of it."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_csv(folder / "trades.csv", rows(500))
    log = open_log(f"embedded://{folder}/log")
    import_file(log, path, MARKET)
    result = content(log)
    log.close()
    return path, result


@given(record_rows=st.integers(1, 600))
@FILE_SETTINGS
def test_the_rows_do_not_depend_on_the_size_of_records(tmp_path_factory, whole, record_rows):
    log = open_log(f"embedded://{tmp_path_factory.mktemp('log')}")
    import_file(log, whole[0], MARKET, record_rows=record_rows)
    assert content(log) == whole[1]
    assert [b.first_row for b in batches(log)] == list(range(0, 500, record_rows))
    log.close()


@given(deaths=st.lists(st.integers(0, 4), max_size=4), record_rows=st.integers(3, 40))
@FILE_SETTINGS
def test_an_import_that_dies_anywhere_goes_on_after_the_last_row(
    tmp_path_factory, whole, deaths, record_rows
):
    log = open_log(f"embedded://{tmp_path_factory.mktemp('log')}")
    for appends in deaths:
        try:
            import_file(DyingLog(log, appends), whole[0], MARKET, record_rows=record_rows)
        except LogError:
            continue
    result = import_file(log, whole[0], MARKET, record_rows=record_rows)
    assert (result.rows, result.appended + result.there) == (500, 500)
    assert content(log) == whole[1]
    assert sum(isinstance(i.event, Market) for i in journal(log)) == 1
    by_epoch: dict[int, list[int]] = {}
    for entry in journal(log):
        by_epoch.setdefault(entry.epoch, []).append(entry.sequence)
    assert all(numbers == list(range(len(numbers))) for numbers in by_epoch.values())
    log.close()


def test_of_two_imports_of_one_file_at_once_the_older_is_fenced_and_every_row_counts_once(
    log, tmp_path, strategies
):
    ordered = sorted(rows(500), key=lambda row: row["timestamp"])
    table = [{name: value for name, value in row.items() if name != "id"} for row in ordered]
    path = write_csv(tmp_path / "trades.csv", table)

    class Overtaken(DyingLog):
        """Before the first append of the older import, the newer one does all of it."""

        def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
            if self.left == 10**9:
                import_file(log, path, MARKET, record_rows=100)
            return super().append(entries, sync=sync)

    import_file(Overtaken(log, 10**9), path, MARKET, record_rows=10)
    assert trades_in_candles(log, strategies) == {MARKET.key: 500}
    assert import_file(log, path, MARKET).appended == 0


@pytest.mark.parametrize("backfill", [False, True])
def test_silences_within_and_between_files_are_appended_in_clock_records_that_the_fold_takes(
    log, tmp_path, strategies, backfill
):
    day_ms = 86_400_000
    for number, days in enumerate([(0, 0.1, 100), (140, 140.5, 141)]):
        path = tmp_path / f"{number}.csv"
        path.write_text("time,price,size\n" + "".join(f"{START_MS + int(d * day_ms)},5,1\n" for d in days))
        end = minute_end((START_MS + days[-1] * day_ms) * 10**6, MARKET)
        import_file(log, path, MARKET, backfill=backfill, until=end)
    clocks = [entry for entry in journal(log) if isinstance(entry.event, Clock)]
    assert len(clocks) == (140 if backfill else 138)
    assert trades_in_candles(log, strategies) == {MARKET.key: 6}


def test_a_second_import_appends_nothing(log, whole):
    import_file(log, whole[0], MARKET)
    records = len(journal(log))
    done = import_file(log, whole[0], MARKET)
    assert (done.appended, done.there, done.records) == (0, 500, 0)
    assert len(journal(log)) == records


def test_a_file_that_was_moved_or_has_grown_goes_on(log, tmp_path):
    path = write_csv(tmp_path / "a.csv", rows(3000))
    assert path.stat().st_size > 65536
    import_file(log, path, MARKET)
    grown = write_csv(tmp_path / "b.csv", rows(3100))
    done = import_file(log, grown, MARKET)
    assert (done.appended, done.there) == (100, 3000)
    assert [i for i in content(log)[4] if i >= 0] == list(range(1000, 4100))


def test_a_changed_specification_is_written_and_an_equal_one_is_not(log, whole):
    import_file(log, whole[0], MARKET)
    changed = Market(**{f: getattr(MARKET, f) for f in MARKET.__struct_fields__} | {"fee": 5})
    assert import_file(log, whole[0], changed).records == 1
    assert journal(log)[-1].event == changed
    smaller = Market(**{f: getattr(MARKET, f) for f in MARKET.__struct_fields__} | {"size_scale": 1})
    with pytest.raises(ValueError, match="size_scale is 3 in the journal and only grows; 1 is too small"):
        import_file(log, whole[0], smaller)


def test_progress_tells_how_much_is_read_and_of_which_file(log, tmp_path):
    path, seen = write_csv(tmp_path / "a.csv", rows(1000)), []
    import_file(log, path, MARKET, record_rows=10, progress=lambda part, file: seen.append((part, file)))
    assert seen == sorted(seen) and seen[-1] == (1.0, path)


def test_many_records_go_in_one_append(log, whole):
    dying = DyingLog(log, 10**9)
    import_file(dying, whole[0], MARKET, record_rows=5)
    assert 10**9 - dying.left == -(-101 // SEND_RECORDS)


# ---------------------------------------------------------------- a market taken from a file


def test_a_market_is_inferred_from_the_first_rows_and_says_what_it_assumed(tmp_path):
    file = TradeFile(write_csv(tmp_path / "a.csv", rows(30)))
    market, sentence = inferred("v", "BTC/USD", file.sample.decimals)
    assert (market.base, market.quote, market.settle, market.contract) == ("BTC", "USD", "USD", "spot")
    assert (market.price_scale, market.size_scale) == (2, 8)
    assert sentence == (
        "v:BTC/USD is new: spot, settled in USD, price step 0.01 (assumed), size step 0.00000001 (assumed), "
        "candles closed right, fee 0 bp."
    )


def test_given_steps_and_a_settle_currency_make_a_contract(tmp_path):
    path = write_csv(tmp_path / "a.csv", rows(30))
    market = market_of(path, "v", "BTC/USD:BTC", price_step="0.5", size_step="100", closed="left")
    assert (market.contract, market.settle, market.closed) == ("inverse", "BTC", "left")
    assert (market.price_scale, market.price_step) == (1, 5)
    assert (market.size_scale, market.size_step, market.min_size) == (0, 100, 100)
    assert market_of(path, "v", "BTC/USDT:USDT").contract == "linear"


@pytest.mark.parametrize("step", ["0", "-1", "x", "nan"])
def test_a_step_that_is_none_is_refused(tmp_path, step):
    path = write_csv(tmp_path / "a.csv", rows(3))
    with pytest.raises(ValueError, match=r"price step .* is no number above 0"):
        market_of(path, "v", "BTC/USD", price_step=step)


@pytest.mark.parametrize("symbol", ["BTCUSD", "BTC/", "BTC/USD:", "A/B/C"])
def test_a_symbol_that_is_none_is_refused(tmp_path, symbol):
    path = write_csv(tmp_path / "a.csv", rows(3))
    with pytest.raises(ValueError, match=f"symbol '{symbol}'"):
        market_of(path, "v", symbol)


# ---------------------------------------------------------------- recorded files

BITMEX = {"price_step": "0.5", "size_step": "1", "closed": "left"}


@pytest.mark.parametrize("suffix", ["parquet", "csv.gz"])
def test_bitmex_trades_are_imported_as_recorded(log, shared_data, suffix):
    path = shared_data / f"bitmex_XBTUSD_trades_20180101_20180102.{suffix}"
    market = market_of(path, "bitmex", "BTC/USD:BTC", **BITMEX)
    assert import_file(log, path, market).appended == 501_825
    ticks = imported(log, market)
    table = pq.read_table(path.with_name("bitmex_XBTUSD_trades_20180101_20180102.parquet"))
    size = table["size"].to_numpy()
    np.testing.assert_array_equal(ticks.time[:-1], table["timestamp"].to_numpy() * 10**6)
    np.testing.assert_array_equal(ticks.price[:-1], table["price"].to_numpy() * 10)
    np.testing.assert_array_equal(ticks.size[:-1], np.abs(size))
    np.testing.assert_array_equal(ticks.kind[:-1] == RowKind.SELL, size < 0)
    assert ticks.time[-1] == 1514937600 * 10**9 and ticks.kind[-1] == RowKind.CLOCK


def test_binance_trades_keep_their_ids_and_sides(log, shared_data):
    path = shared_data / "trades_ids" / "binance_spot_BTCUSDT_20240808T2354_0005.parquet"
    market = market_of(path, "binance", "BTC/USDT")
    import_file(log, path, market)
    ticks, table = imported(log, market), pq.read_table(path)
    assert ticks.id is not None
    np.testing.assert_array_equal(ticks.id[:-1], table["trade_id"].to_numpy())
    assert ticks.time[0] == 1723161255342 * 10**6
    assert (ticks.price[0], ticks.size[0], ticks.kind[0]) == (6183763, 2_000_000, RowKind.SELL)


def test_the_same_trades_from_feather_and_from_json_are_equal(log, shared_data):
    folder = shared_data / "trades_ids"
    found = []
    for venue, name in (("a", "XRP_ETH-trades.feather"), ("b", "XRP_OLD-trades.json.gz")):
        market = market_of(folder / name, venue, "XRP/ETH")
        assert import_file(log, folder / name, market).appended == 12_477
        found.append(imported(log, market))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (found[0].price[0], found[0].size[0], found[0].id[0]) == (141342, 23, 13519807)


def test_a_poor_source_is_imported_but_for_its_empty_trades(log, shared_data):
    path = shared_data / "trades_ids" / "bitstamp_trades_20131125_20131201_noids.csv.gz"
    market = market_of(path, "bitstamp", "BTC/USD")
    with pytest.raises(BadRowError, match=r"row 1374: amount is '0.000000000000'"):
        import_file(log, path, market)
    result = import_file(log, path, market, skip_bad=True)
    assert result.appended + result.there + result.bad == 100_000
    ticks = imported(log, market)
    assert ticks.id is None and ticks.time[0] == 1385337600 * 10**9
    assert (ticks.price[0], ticks.size[0], ticks.kind[0]) == (80001, 10_000_000, RowKind.TRADE)
