"""Files as exchanges and tools hand them out are known by their shape, and by what the user says."""

import csv
import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.exchange.forms import FileOptions
from infra.exchange.pieces import FileReadError
from infra.exchange.survey import understood
from infra.exchange.trade_file import TradeFile
from infra.present.values import parse_time
from streams.backends import open_log
from streams.events import RowKind
from streams.log import Log
from tests.trade_files import MARKET, import_file, imported, market_of, write_csv

NAMED = {
    "binance_spot_trades.csv": "Binance spot trades",
    "binance_spot_aggtrades.csv": "Binance spot aggregated trades",
    "binance_usdm_trades.csv": "Binance USD-M trades",
    "bitmex_daily.csv": "BitMEX trades",
    "bybit_linear.csv": "Bybit linear trades",
    "bybit_spot.csv": "Bybit spot trades",
    "coinbase_trades.csv": "Coinbase trades",
    "freqtrade_trades.json": "freqtrade trades",
    "kraken_time_sales.csv": "Kraken time and sales",
    "okx_spot.csv": "OKX trades",
    "tardis_trades.csv": "Tardis trades",
}
KINDS = {"buy": RowKind.BUY, "sell": RowKind.SELL}
ROW = "1748854801250,104000.50,0.012"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


def zipped(path: Path, *members: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.write(member, member.name)
    return path


def as_it_is(folder: Path, file: Path) -> Path:
    return file


def in_a_zip(folder: Path, file: Path) -> Path:
    return zipped(folder / "trades.zip", file)


def in_gzip(folder: Path, file: Path) -> Path:
    path = folder / "trades.gz"
    path.write_bytes(gzip.compress(file.read_bytes()))
    return path


def in_gzip_in_a_zip(folder: Path, file: Path) -> Path:
    return zipped(folder / "trades.zip", in_gzip(folder, file))


@pytest.mark.parametrize("wrapped", [as_it_is, in_a_zip, in_gzip, in_gzip_in_a_zip])
@pytest.mark.parametrize("name", NAMED)
def test_eleven_forms_are_known_by_their_shape(log, tmp_path, shared_cases, name, wrapped) -> None:
    path = wrapped(tmp_path, shared_cases / "forms" / name)
    assert understood(TradeFile(path)).startswith(f"{NAMED[name]}; ")
    market = market_of(path, "v", "BTC/USDT", price_step="0.5", size_step="0.001")
    done = import_file(log, path, market)
    assert (done.rows, done.appended, done.bad) == (5, 5, 0)
    with (shared_cases / "forms" / "expected.csv").open() as file:
        expected = list(csv.DictReader(file))
    ticks = imported(log, market)
    times = [parse_time(row["time"]) for row in expected]
    sides = [KINDS[row["taker_side"]] for row in expected]
    if name.startswith("kraken"):
        times, sides = [time // 10**9 * 10**9 for time in times], [RowKind.TRADE] * 5
    assert ticks.time[:-1].tolist() == times
    assert ticks.kind[:-1].tolist() == sides
    if not name.startswith("bitmex"):  # which has numbers of its own
        assert ticks.price[:-1].tolist() == [round(float(row["price"]) * 10) for row in expected]
        assert ticks.size[:-1].tolist() == [round(float(row["size"]) * 1000) for row in expected]


def test_whose_side_it_is_is_said_and_can_be_told_otherwise(shared_cases) -> None:
    coinbase = shared_cases / "forms" / "coinbase_trades.csv"
    assert "the side is the maker's (assumed)" in understood(TradeFile(coinbase))
    assert "the side is the taker's (given)" in understood(TradeFile(coinbase, FileOptions(side="taker")))


def test_the_sides_of_makers_are_those_of_the_others(log, tmp_path) -> None:
    table = [{"time": 1748854801250, "price": 1, "size": 1, "side": side} for side in ("buy", "sell", "")]
    path = write_csv(tmp_path / "a.csv", table)
    import_file(log, path, MARKET, FileOptions(side="maker"))
    assert imported(log).kind.tolist()[:3] == [RowKind.SELL, RowKind.BUY, RowKind.TRADE]


# ---------------------------------------------------------------- without a header


def test_a_file_without_a_header_and_a_known_form_says_how_to_name_its_columns(log, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"x,{ROW},7\nx,{ROW},7\n")
    with pytest.raises(FileReadError, match=r"has no header.*--header none --columns time,price,size"):
        TradeFile(path)
    done = import_file(log, path, MARKET, FileOptions(header=False, names=("", "time", "price", "size", "")))
    assert done.appended == 2


def test_named_columns_are_those_of_the_whole_row(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{ROW}\n")
    with pytest.raises(FileReadError, match=r"has 3 columns in its first row .* names 2"):
        TradeFile(path, FileOptions(names=("time", "price")))


def test_a_first_line_of_words_can_be_a_row(log, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"a,b,c\n{ROW}\n")
    named = FileOptions(header=False, names=("time", "price", "size"))
    done = import_file(log, path, MARKET, FileOptions(named.columns, "ms", names=named.names), skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (2, 1, 1)


def test_rows_of_lists_may_stand_one_a_line(log, tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"[{ROW}]\n[{ROW}]\n[1, 2]\n" + '{"time": 1}\n')
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (4, 2, 2)


# ---------------------------------------------------------------- zips


def test_of_several_members_one_is_named(log, tmp_path, shared_cases) -> None:
    forms = shared_cases / "forms"
    path = zipped(tmp_path / "a.zip", forms / "kraken_time_sales.csv", forms / "bybit_spot.csv")
    with pytest.raises(FileReadError, match=r"2 members \(kraken_time_sales.csv, bybit_spot.csv\).*--member"):
        TradeFile(path)
    with pytest.raises(FileReadError, match="has no member 'x'"):
        TradeFile(path, FileOptions(member="x"))
    with pytest.raises(FileReadError, match="is no zip"):
        TradeFile(forms / "bybit_spot.csv", FileOptions(member="x"))
    for name in ("kraken_time_sales.csv", "bybit_spot.csv"):
        market = market_of(forms / name, name, "BTC/USDT")
        assert import_file(log, path, market, FileOptions(member=name)).appended == 5


def test_two_members_of_one_zip_are_two_sources(log, tmp_path) -> None:
    files = [
        write_csv(tmp_path / f"{name}.csv", [{"time": 1748854801250 + n, "price": 1, "size": 1}])
        for n, name in enumerate("ab")
    ]
    path = zipped(tmp_path / "a.zip", *files)
    for name in ("a.csv", "b.csv"):
        assert import_file(log, path, MARKET, FileOptions(member=name), backfill=True).appended == 1


@pytest.mark.parametrize("flag", [0x1, 0x40])
def test_a_zip_that_is_encrypted_says_so(tmp_path, flag) -> None:
    path = zipped(tmp_path / "a.zip", write_csv(tmp_path / "a.csv", [{"time": 1, "price": 1, "size": 1}]))
    data = bytearray(path.read_bytes())
    for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[at] |= flag
    path.write_bytes(data)
    with pytest.raises(FileReadError, match=r"a\.zip: .*(encrypt|strong)"):
        TradeFile(path)


# ---------------------------------------------------------------- symbols


def table_of(*symbols: str) -> list[dict]:
    return [
        {"symbol": symbol, "time": 1748854801250 + n, "price": 1 + n, "size": 1}
        for n, symbol in enumerate(symbols)
    ]


def test_a_file_of_several_symbols_is_refused_with_their_list(tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", table_of("B", "A", "B"))
    with pytest.raises(FileReadError, match=r"2 symbols \(B, A\): say whose to take, as --only B"):
        TradeFile(path)


def test_of_several_symbols_only_one_is_taken_and_the_others_are_counted(log, tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", table_of(*"ABABBA"))
    done = import_file(log, path, MARKET, FileOptions(only="A"), record_rows=2)
    assert (done.rows, done.appended, done.others) == (6, 3, 3)
    assert imported(log).price.tolist()[:-1] == [100, 300, 600]
    again = import_file(log, path, MARKET, FileOptions(only="A"))
    assert (again.rows, again.appended, again.there, again.others) == (6, 0, 3, 3)


def test_a_symbol_that_comes_later_is_refused_and_the_rest_goes_on_once_it_is_said_whose(
    log, tmp_path
) -> None:
    path = write_csv(tmp_path / "a.csv", table_of(*["A"] * 70_000, "B", "A"))
    with pytest.raises(FileReadError, match=r"row 70001 is of 'B', .*--only A"):
        import_file(log, path, MARKET)
    done = import_file(log, path, MARKET, FileOptions(only="A"))
    assert (done.there + done.appended, done.others) == (70_001, 1)
    assert imported(log).rows == 70_002


def test_a_symbol_that_is_nowhere_leaves_no_trades(log, tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", table_of(*"AB"))
    done = import_file(log, path, MARKET, FileOptions(only="C"))
    assert (done.rows, done.others, done.appended) == (2, 2, 0)
    with pytest.raises(FileReadError, match="no column of symbols for --only"):
        TradeFile(write_csv(tmp_path / "b.csv", [{"time": 1, "price": 1, "size": 1}]), FileOptions(only="C"))


def test_a_column_without_a_name_is_switched_off(tmp_path) -> None:
    table = [{"id": 1, **row} for row in table_of(*"AB")]
    layout = TradeFile(write_csv(tmp_path / "a.csv", table), FileOptions({"id": "", "symbol": ""})).layout
    assert layout.columns == {"time": "time", "price": "price", "size": "size"}


# ---------------------------------------------------------------- newest first


def newest_first(count: int) -> list[dict]:
    return [{"time": 1748854801250 - 1000 * n, "price": 1 + n, "size": 1} for n in range(count)]


@pytest.mark.parametrize("form", ["csv", "gz", "jsonl", "json"])
def test_a_file_whose_newest_row_is_first_is_read_from_its_end(log, tmp_path, form) -> None:
    table = newest_first(70_000)
    path = tmp_path / f"a.{form}"
    if form == "json":
        path.write_text(json.dumps(table))
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        write_csv(path, table)
        if form == "gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
    file = TradeFile(path)
    assert file.layout.newest_first and "newest first" in understood(file)
    assert import_file(log, path, MARKET).appended == 70_000
    times = imported(log).time[:-1].tolist()
    assert times == sorted(times) and len(times) == 70_000


def test_the_rows_of_a_newest_first_file_are_numbered_from_its_end(log, tmp_path) -> None:
    table = newest_first(9)
    table[6]["price"] = "x"
    path = write_csv(tmp_path / "a.csv", table)
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.appended, done.bad) == (8, 1)
    assert import_file(log, path, MARKET, skip_bad=True).there == 8


@pytest.mark.parametrize("grown", ["at its head", "at its end"])
def test_a_newest_first_file_that_has_grown_is_refused(log, tmp_path, grown) -> None:
    table = newest_first(5_000)
    import_file(log, write_csv(tmp_path / "a.csv", table[10:-10]), MARKET)
    path = write_csv(tmp_path / "b.csv", table[:-10] if grown == "at its head" else table[10:])
    with pytest.raises(ValueError, match=r"closed up to .*newest first.*grown"):
        import_file(log, path, MARKET)


# ---------------------------------------------------------------- cells and lines


HOSTILE = ["1e-999999999", "1e999999999", "1e99", "0e999999999", "nan", "sNaN", "inf", "9" * 5000, "٣", "1_0"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("column", ["time", "price", "size", "id"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_nothing_that_a_cell_holds_ends_the_process(log, tmp_path, column, value, form) -> None:
    table = [{"time": 1748854801250 + n, "price": 1, "size": 1, "id": n + 1} for n in range(3)]
    table[1][column] = value
    path = tmp_path / "a"
    if form == "csv":
        write_csv(path, table)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    done = import_file(log, path, MARKET, skip_bad=True)
    known = column == "id" and value.startswith("0e")
    assert (done.rows, done.appended, done.bad) == (3, 2 + known, 1 - known)


def test_a_market_is_not_inferred_from_hostile_cells(tmp_path) -> None:
    table = [{"time": 1748854801250 + n, "price": v, "size": v} for n, v in enumerate([*HOSTILE, "1.25"])]
    market = market_of(write_csv(tmp_path / "a.csv", table), "v", "A/B")
    assert (market.price_scale, market.size_scale) == (2, 8)


def test_a_stray_quote_costs_its_row_and_swallows_no_other(log, tmp_path) -> None:
    lines = [f"{1748854801250 + n},1,1,{chr(34) if n in (3, 500) else ''}x" for n in range(1000)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["time,price,size,note", *lines]) + "\n")
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (1000, 998, 2)


def test_a_value_with_a_line_break_is_two_bad_rows_and_quoted_values_are_values(log, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'"time","price","size","note"\n{ROW},"a,b"\n{ROW},"a\nb"\n\n{ROW},c\n')
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (4, 2, 2)


def test_lines_that_end_in_cr_alone_are_refused_or_bad(log, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"time,price,size\r{ROW}\r{ROW}\r".encode())
    with pytest.raises(FileReadError, match="lines that end in CR alone"):
        TradeFile(path)
    path.write_bytes(f"time,price,size\r\n{ROW}\r\n{ROW}\r{ROW}\n{ROW}".encode())
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (3, 2, 1)


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_deep_nesting_is_a_bad_row_or_a_refusal(log, tmp_path, deep) -> None:
    row = '{"time": 1748854801250, "price": 1, "size": 1}'
    path = tmp_path / "a.jsonl"
    path.write_text(f"{row}\n{deep}\n{row}\n")
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (3, 2, 1)
    path.write_text(f"[{row}, {deep}]")
    with pytest.raises(FileReadError, match=r"nested too deeply|no JSON"):
        import_file(log, path, MARKET)


def test_half_of_a_surrogate_pair_and_other_line_ends_are_no_trouble(log, tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    row = '"time": 1748854801250, "price": 1, "size": 1'
    path.write_text(f'{{{row}, "side": "\\ud800"}}\n{{{row}, "x": "\u2028\x85"}}\n', encoding="utf-8")
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.appended, done.bad) == (2, 1, 1)


def test_a_price_finer_than_the_step_names_the_way_out(log, tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", [{"time": 1748854801250, "price": "1.00025", "size": 1}])
    with pytest.raises(ValueError, match=r"price step 0.01; .* say --price-step 0.00001"):
        import_file(log, path, MARKET)


# ---------------------------------------------------------------- rows astray

DAY_MS = 86_400_000


def times(*offsets_ms: int) -> list[dict]:
    return [{"time": 1748854801250 + at, "price": 1 + n, "size": 1} for n, at in enumerate(offsets_ms)]


YEARS_MS = 56 * 365 * DAY_MS


@pytest.mark.parametrize("at", [0, 1, 3, 65_535, 65_536, 65_537])
def test_a_row_of_the_year_2081_among_good_ones_is_the_bad_row(log, tmp_path, at) -> None:
    offsets = list(range(65_540))
    offsets[at] += YEARS_MS
    path = write_csv(tmp_path / "a.csv", times(*offsets))
    with pytest.raises(ValueError, match=rf"row {at + 1}: time is '2081.*a day ahead"):
        import_file(log, path, MARKET)
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.rows, done.bad, imported(log).rows) == (65_540, 1, 65_540)


def test_two_rows_astray_behind_one_another_are_both_bad(log, tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", times(0, YEARS_MS, YEARS_MS - 30 * DAY_MS, 1, 2))
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.bad, imported(log).price.tolist()[:-1]) == (2, [100, 400, 500])


def test_a_pause_of_days_is_no_row_astray(log, tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", times(0, 1, 3 * DAY_MS, 3 * DAY_MS - 5, 3 * DAY_MS + 9))
    assert import_file(log, path, MARKET).appended == 5


def test_a_last_row_astray_needs_the_word_of_the_user(log, tmp_path) -> None:
    path = write_csv(tmp_path / "a.csv", times(0, 1, 2 * DAY_MS))
    with pytest.raises(ValueError, match=r"row 3: time is '2025-06-04T.*say --until 2025-06-04T"):
        import_file(log, path, MARKET)
    done = import_file(log, path, MARKET, until=parse_time("2025-06-05T00:00:00Z"))
    assert (done.appended, done.there) == (1, 2)
    assert imported(log).time[-1] == parse_time("2025-06-05T00:00:00Z")
