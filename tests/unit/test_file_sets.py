"""Several files are one import: in the order of their first trades, each once, the minute open in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.exchange.files import OldFileError
from infra.exchange.forms import FileOptions
from infra.exchange.paths import trade_files
from infra.exchange.pieces import FileReadError
from infra.exchange.survey import survey
from infra.exchange.trade_file import BadRowError, TradeFile
from infra.present.values import iso, parse_time
from streams.backends import open_log
from streams.events import MINUTE_NS, Clock, Gap, TickBatch
from streams.log import Log, LogError
from tests.trade_files import (
    MARKET,
    START_MS,
    DyingLog,
    batches,
    content,
    import_all,
    import_file,
    imported,
    journal,
    write_csv,
)

DAY_MS = 86_400_000
DAY_NS = DAY_MS * 10**6


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


def rows(start_ms: int, count: int, *, first_id: int = 1, step_ms: int = 1000) -> list[dict]:
    return [
        {"time": START_MS + start_ms + step_ms * n, "price": 1 + n % 9, "size": 1, "id": first_id + n}
        for n in range(count)
    ]


def days(folder: Path, count: int, each: int = 50) -> list[Path]:
    """A file a day, whose ids go on."""
    folder.mkdir(exist_ok=True)
    return [
        write_csv(folder / f"day{day:03}.csv", rows(day * 30_500, each, first_id=1 + day * each, step_ms=600))
        for day in range(count)
    ]


def test_files_are_taken_in_the_order_of_their_first_trades_and_closed_behind_the_last(log, tmp_path) -> None:
    paths = days(tmp_path / "days", 3)
    done = import_all(log, [paths[2], paths[0], paths[1]], MARKET)
    assert (done.rows, done.appended) == (150, 150)
    assert content(log)[4] == [*range(1, 151), -1]
    assert imported(log).time[-1] == imported(log).time[-2] // MINUTE_NS * MINUTE_NS + MINUTE_NS


def test_files_of_a_folder_are_those_whose_names_end_as_files_of_trades_do(tmp_path) -> None:
    folder = tmp_path / "days"
    paths = days(folder, 2)
    (folder / "day000.csv.CHECKSUM").write_text("x")
    (folder / ".hidden.csv").write_text("x")
    write_csv(folder / "none.csv", rows(0, 1)).write_text("time,price,size,id\n")
    said: list[str] = []
    assert [file.path for file in trade_files([folder], FileOptions(), said.append)] == paths
    assert said == [
        f"{folder}: 2 files of other names are passed over",
        f"{folder}/none.csv: has no rows: passed over",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileReadError, match=r"empty: no file in it has a name"):
        trade_files([tmp_path / "empty"], FileOptions(), said.append)
    (folder / "also.csv").write_text("time,price,size,id\n")
    with pytest.raises(FileReadError, match="none of the files has trades"):
        trade_files([folder / "none.csv", folder / "also.csv"], FileOptions(), said.append)


def test_with_more_the_last_minute_stays_open_for_the_file_that_follows(log, tmp_path) -> None:
    first, second = days(tmp_path / "days", 2)
    import_file(log, first, MARKET, more=True)
    assert imported(log).rows == 50
    assert import_file(log, second, MARKET).appended == 50
    other = open_log(f"embedded://{tmp_path}/other")
    import_all(other, [first, second], MARKET)
    assert content(other) == content(log)
    other.close()


def test_without_more_the_file_that_follows_is_refused_and_both_ways_out_are_named(log, tmp_path) -> None:
    first, second = days(tmp_path / "days", 2)
    import_file(log, first, MARKET)
    with pytest.raises(OldFileError, match=r"in one command with the files before it.*--more"):
        import_file(log, second, MARKET)
    with pytest.raises(OldFileError):
        import_all(log, [first, second], MARKET)
    assert imported(log).rows == 51


def test_until_closes_the_minutes_up_to_a_time(log, tmp_path) -> None:
    (path,) = days(tmp_path / "days", 1)
    end = parse_time("2018-01-04T00:00:00Z")
    import_file(log, path, MARKET, until=end)
    assert imported(log).time[-1] == end
    clocks = [entry.event.time for entry in journal(log) if isinstance(entry.event, Clock)]
    assert clocks and all(b - a <= DAY_NS for a, b in zip(clocks, [*clocks[1:], end], strict=True))
    assert import_file(log, path, MARKET, until=end).records == 0
    later = end + MINUTE_NS
    assert import_file(log, path, MARKET, until=later).records == 1
    assert imported(log).time[-1] == later


# ---------------------------------------------------------------- what seems to be missing


def test_a_jump_of_ids_between_files_that_are_contiguous_is_told_and_recorded_if_asked(log, tmp_path) -> None:
    paths = days(tmp_path / "days", 4)
    paths.pop(2)
    done = import_all(log, paths, MARKET, more=True)
    (told,) = done.missing
    assert f"{paths[2]}: ids jump from 100 in day001.csv to 151: 50 trades are missing between " in told
    assert not [entry for entry in journal(log) if isinstance(entry.event, Gap)]
    other = open_log(f"embedded://{tmp_path}/other")
    import_all(other, paths, MARKET, gaps=True)
    events = [entry.event for entry in journal(other)]
    (gap,) = (event for event in events if isinstance(event, Gap))
    times = imported(other).time
    assert (gap.start, gap.end) == (times[99], times[100] - 1)
    before = [event for event in events[: events.index(gap)] if isinstance(event, TickBatch)]
    assert sum(event.rows for event in before) == 100
    import_all(other, paths, MARKET, gaps=True)
    assert len([entry for entry in journal(other) if isinstance(entry.event, Gap)]) == 1
    other.close()


def test_ids_that_begin_again_or_are_scattered_are_no_jump(log, tmp_path) -> None:
    restarts = [write_csv(tmp_path / f"{n}.csv", rows(n * 60_000, 20)) for n in range(2)]
    assert import_all(log, restarts, MARKET, more=True).missing == []
    scattered = rows(120_000, 20, first_id=100)
    scattered[3]["id"] = 77
    after = write_csv(tmp_path / "c.csv", rows(180_000, 20, first_id=500))
    assert import_all(log, [write_csv(tmp_path / "b.csv", scattered), after], MARKET).missing == []


def test_a_day_without_a_trade_is_told_and_recorded_and_passed_in_clock_records_of_a_day(
    log, tmp_path
) -> None:
    table = [*rows(0, 3), *rows(3 * DAY_MS, 3, first_id=4)]
    done = import_file(log, write_csv(tmp_path / "a.csv", table), MARKET, gaps=True)
    (told,) = done.missing
    assert "no trade between 2018-01-01T00:00:02.123Z and 2018-01-04T00:00:00.123Z" in told
    events = [entry.event for entry in journal(log)]
    kinds = [type(event) for event in events[1:]]
    assert kinds == [TickBatch, Gap, Clock, Clock, TickBatch]
    clocks = [event.time for event in events if isinstance(event, Clock)]
    start = (START_MS + 2000) * 10**6
    assert clocks == [start + DAY_NS, start + 2 * DAY_NS]


def test_no_record_lets_more_than_a_week_pass(log, tmp_path) -> None:
    table = rows(0, 100, step_ms=DAY_MS // 3)
    import_file(log, write_csv(tmp_path / "a.csv", table), MARKET)
    assert max(batch.rows for batch in batches(log)) <= 7 * 3
    assert [i for i in content(log)[4] if i >= 0] == list(range(1, 101))


# ---------------------------------------------------------------- once


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[list[int]]]:
    """Files, and what an undisturbed import makes of them."""
    folder = tmp_path_factory.mktemp("whole")
    paths = days(folder / "days", 4)
    log = open_log(f"embedded://{folder}/log")
    import_all(log, paths, MARKET)
    result = content(log)
    log.close()
    return paths, result


@given(deaths=st.lists(st.integers(0, 9), max_size=5), record_rows=st.integers(1, 60))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_import_of_files_that_dies_anywhere_goes_on_after_the_last_row(
    tmp_path_factory, whole, deaths, record_rows
) -> None:
    paths, result = whole
    log = open_log(f"embedded://{tmp_path_factory.mktemp('log')}")
    for appends in deaths:
        try:
            import_all(DyingLog(log, appends), paths, MARKET, record_rows=record_rows)
        except LogError:
            continue
    done = import_all(log, paths, MARKET, record_rows=record_rows)
    assert done.rows == 200
    assert content(log) == result
    log.close()


def test_an_import_that_was_interrupted_between_files_that_overlap_goes_on(log, tmp_path) -> None:
    first = write_csv(tmp_path / "a.csv", rows(0, 50))
    second = write_csv(tmp_path / "b.csv", rows(48_900, 50, first_id=51))
    import_file(log, first, MARKET, more=True)
    assert import_all(log, [first, second], MARKET).appended == 50


def test_a_bad_row_of_one_file_ends_the_import_and_keeps_the_rows_before(log, tmp_path) -> None:
    paths = days(tmp_path / "days", 3)
    text = paths[1].read_text().splitlines()
    paths[1].write_text("\n".join([*text[:11], "x", *text[12:]]) + "\n")
    with pytest.raises(BadRowError, match=r"day001.csv: row 11: the row is 'x'"):
        import_all(log, paths, MARKET)
    assert imported(log).rows == 60
    done = import_all(log, paths, MARKET, skip_bad=True)
    assert (done.rows, done.there, done.appended, done.bad) == (150, 60, 89, 1)


def test_a_survey_reads_all_and_says_the_first_and_the_last_candle(tmp_path) -> None:
    paths = days(tmp_path / "days", 3)
    found = survey([TradeFile(path) for path in paths], MARKET, None)
    assert (found.rows, found.trades, found.bad, found.others) == (150, 150, 0, 0)
    assert (iso(found.first), iso(found.last)) == ("2018-01-01T00:01:00Z", "2018-01-01T00:02:00Z")
