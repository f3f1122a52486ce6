"""Files and rows that are no trades of the market are refused by name; what came before is kept."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.exchange.files import OldFileError
from infra.exchange.pieces import FileReadError
from infra.exchange.trade_file import BadRowError, TradeFile
from streams.backends import open_log
from streams.events import BACKFILL, Market
from streams.log import Log
from tests.trade_files import (
    FORMS,
    MARKET,
    START_MS,
    as_csv,
    as_json_lines,
    import_file,
    imported,
    journal,
    letters,
    rows,
    write_csv,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


def test_a_file_older_than_the_watermark_is_refused_with_the_way_out(log, tmp_path):
    path = write_csv(tmp_path / "trades.csv", rows(500))
    later = (START_MS + 10**6) * 10**6
    with pytest.raises(OldFileError, match=r"2018-01-01T00:00:00.123Z.*TCPD_HOME.*--more.*--backfill"):
        import_file(log, path, MARKET, watermark=later)
    assert journal(log) == []
    import_file(log, path, MARKET, watermark=START_MS * 10**6)
    assert import_file(log, path, MARKET, watermark=later).appended == 0


def test_a_backfill_marks_its_trades(log, tmp_path):
    path = write_csv(tmp_path / "trades.csv", rows(500))
    import_file(log, path, MARKET, watermark=2**62, backfill=True)
    kinds = imported(log).kind[:-1]
    assert bool((kinds & BACKFILL).all()) and set((kinds & 0x7F).tolist()) == {1, 2}


BAD = [
    ("price", "nan", "no finite number"),
    ("price", "abc", "no number"),
    ("price", "", "missing"),
    ("price", "-1.5", "a price above 0"),
    ("price", "0", "a price above 0"),
    ("price", "1.005", "no multiple of the market's price step 0.01"),
    ("price", "90071992547410.00", "beyond 2**53"),
    ("price", "1e400", "beyond 2**53"),
    ("size", "0.000", "a size above 0"),
    ("size", "-2", "a size above 0; if the sign is the taker's side, say so"),
    ("size", "99999999999999999999", "beyond 2**53"),
    ("timestamp", "0", "no time between 1970 and 2116 in ms"),
    ("timestamp", "soon", "no time between 1970 and 2116 in ms"),
    ("side", "up", "no side that is known"),
    ("id", "1.5", "no trade id"),
]


@pytest.mark.parametrize(("column", "value", "hint"), BAD)
def test_an_import_stops_before_a_bad_row_and_names_it(log, tmp_path, column, value, hint):
    table = rows(9)
    table[5][column] = value
    path = write_csv(tmp_path / "bad.csv", table)
    with pytest.raises(BadRowError) as caught:
        import_file(log, path, MARKET)
    error = caught.value
    assert (error.file, error.row, error.column, error.value) == (path, 6, column, value or None)
    assert hint in error.hint
    assert str(error).startswith(f"{path}: row 6: {column} is {value or None!r}: ")
    assert imported(log).id.tolist() == [1000, 1001, 1002, 1003, 1004]


@pytest.mark.parametrize(("column", "value", "hint"), BAD)
def test_a_skipped_bad_row_becomes_a_dead_letter_and_nothing_else_is_lost(log, tmp_path, column, value, hint):
    table = rows(9)
    table[5][column] = value
    path = write_csv(tmp_path / "bad.csv", table)
    with pytest.raises(BadRowError):
        import_file(log, path, MARKET)
    result = import_file(log, path, MARKET, skip_bad=True)
    assert (result.appended, result.there, result.bad) == (3, 5, 1)
    assert imported(log).id.tolist() == [1000, 1001, 1002, 1003, 1004, 1006, 1007, 1008, -1]
    (letter,) = letters(log)
    assert f"{path}: row 6: {column}" in letter and hint in letter
    done = import_file(log, path, MARKET, skip_bad=True)
    assert (done.appended, done.there, done.bad, done.records) == (0, 8, 1, 0)
    assert len(letters(log)) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1.005, 2.0**60])
@pytest.mark.parametrize("column", ["price", "size"])
def test_bad_floats_of_a_parquet_file_are_named(log, tmp_path, column, value):
    table = rows(9)
    table[4][column] = value if column == "price" or value != 1.005 else 1.0005
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "bad.parquet")
    with pytest.raises(BadRowError, match=rf"bad.parquet: row 5: {column} is "):
        import_file(log, tmp_path / "bad.parquet", MARKET)
    assert imported(log).rows == 4


def test_a_price_between_the_steps_is_bad(log, tmp_path):
    market = Market(
        venue="v",
        symbol="BTC/USD",
        base="BTC",
        quote="USD",
        settle="USD",
        contract="spot",
        price_scale=1,
        size_scale=3,
        cash_scale=8,
        price_step=5,
        size_step=1,
        min_size=1,
    )
    table = [{"time": START_MS, "price": price, "size": 1} for price in ("7.5", "7.4")]
    with pytest.raises(BadRowError, match=r"row 2: price is '7.4': no multiple .* step 0.5"):
        import_file(log, write_csv(tmp_path / "a.csv", table), market)


def test_a_line_of_another_form_is_a_bad_row_and_its_neighbours_are_kept(log, tmp_path):
    path = write_csv(tmp_path / "ragged.csv", rows(3))
    path.write_text(path.read_text() + "1514764800,1.5\n" + f"{START_MS},2.5,0.001,buy,1003\n")
    with pytest.raises(BadRowError, match=r"row 4: the row is '1514764800,1.5': no row of this file"):
        import_file(log, path, MARKET)
    assert import_file(log, path, MARKET, skip_bad=True).rows == 5
    assert imported(log).id.tolist() == [1000, 1001, 1002, 1003, -1]


@pytest.mark.parametrize("line", ['{"timestamp": 15147', "[1, 2]", "nonsense"])
def test_a_broken_json_line_is_a_bad_row_and_its_neighbours_are_kept(log, tmp_path, line):
    path = tmp_path / "trades.jsonl"
    lines = [json.dumps(row) for row in rows(4)]
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(BadRowError, match="row 3: the row is "):
        import_file(log, path, MARKET)
    assert import_file(log, path, MARKET, skip_bad=True).rows == 5


def test_json_numbers_keep_every_digit(log, tmp_path):
    path = tmp_path / "trades.jsonl"
    market = Market(
        venue="v",
        symbol="BTC/USD",
        base="BTC",
        quote="USD",
        settle="USD",
        contract="spot",
        price_scale=15,
        size_scale=3,
        cash_scale=8,
        price_step=1,
        size_step=1,
        min_size=1,
    )
    path.write_text(f'{{"time": {START_MS}, "price": 1.000000000000001, "size": 1}}')
    import_file(log, path, market)
    assert imported(log).price[0] == 1000000000000001


@pytest.mark.parametrize("write", FORMS)
def test_a_truncated_file_says_so(log, tmp_path, write):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write(whole, pa.Table.from_pylist(rows(500)))
    data = whole.read_bytes()
    cut.write_bytes(gzip.compress(data)[:-200] if write in (as_csv, as_json_lines) else data[:-200])
    with pytest.raises(FileReadError, match=r"cut.*truncated"):
        import_file(log, cut, MARKET)


def test_rows_before_the_damage_are_kept_and_the_whole_file_goes_on_after_them(log, tmp_path):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv.gz"
    data = gzip.compress(write_csv(whole, rows(60_000)).read_bytes())
    cut.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(FileReadError, match="truncated"):
        import_file(log, cut, MARKET)
    kept = imported(log).rows
    assert 0 < kept < 60_000
    cut.write_bytes(data)
    assert import_file(log, cut, MARKET).appended == 60_000 - kept
    assert imported(log).id[:-1].tolist() == list(range(1000, 61_000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"timestamp,price,size\n", "has no rows"),
        (b"1,13873.0,10,7\n2,13873.0,10,7\n", "has no header.*--header none --columns time"),
        (b"\xff\xfe\x00garbage\x00\xff\n", "unreadable"),
        (b"PAR1 this is no parquet file", "unreadable or truncated"),
        (b"ARROW1\x00\x00 this is no feather file", "unreadable or truncated"),
        (b"FEA1 old", "Feather version 1"),
        (b"\x1f\x8b\x08 no gzip", "unreadable or truncated"),
        (b"time,price,price,size\n1,2,3,4\n", "several columns 'price'"),
        (b'[{"time": 1, "price": ', "no JSON or truncated after row 0"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, data, words):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(FileReadError, match=words) as caught:
        TradeFile(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_column_of_another_kind_say_so(tmp_path):
    with pytest.raises(FileReadError, match="nowhere: no such file"):
        TradeFile(tmp_path / "nowhere")
    pq.write_table(pa.table({"time": [1], "price": [[1.5]], "size": [1]}), tmp_path / "nested")
    with pytest.raises(FileReadError, match="column 'price' for the price holds list"):
        TradeFile(tmp_path / "nested")
