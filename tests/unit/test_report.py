"""A report draws what happened: thinned without losing a height or a depth, its numbers as they are."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.research import report as reporting
from infra.research.backtesting import backtest
from infra.research.drawing import SLOTS, candles, distribution, drawing, fallen, line, months, slots_of
from infra.research.report import Page, ReportError, report
from infra.research.result import Result
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from tests.research import curve, walked

DAY = 86_400_000_000_000
WALK = st.lists(st.floats(1, 1e6), min_size=1, max_size=200)
EVEN = st.sampled_from([2, 4, 10, 100])


@pytest.fixture(scope="module")
def run(strategies: Strategies) -> Result:
    data = Data(walked(SLOTS + 1_500), "journal", "Fills at the tick")
    code = strategies.latest("sma_cross")
    return backtest(code, data, {"fast": 20, "slow": 100}, cash="10000", short=True)


@pytest.fixture(scope="module")
def page(run: Result) -> Page:
    return run._page


@settings(deadline=None)
@given(WALK, EVEN)
def test_a_thinned_line_keeps_its_highest_its_lowest_and_its_last_point(walk: list[float], most: int) -> None:
    values = np.array(walk)
    slots = slots_of(len(values), most)
    thinned = line(slots, values)
    assert len(thinned) == len(slots.starts) <= most + 1
    assert (thinned.max(), thinned.min(), thinned[-1]) == (values.max(), values.min(), values[-1])
    if len(values) <= most:
        assert thinned.tolist() == walk


@settings(deadline=None)
@given(WALK, EVEN)
def test_a_slots_candle_is_that_of_all_its_bars(walk: list[float], most: int) -> None:
    values = np.column_stack([np.roll(walk, 1), np.array(walk) + 2, np.array(walk) - 1, walk])
    slots = slots_of(len(walk), most)
    bounds = [*slots.starts.tolist(), len(walk)]
    for found, first, stop in zip(candles(slots, values).tolist(), bounds, bounds[1:], strict=False):
        bars = values[first:stop]
        assert found == [bars[0, 0], bars[:, 1].max(), bars[:, 2].min(), bars[-1, 3]]


def test_falls_are_counted_from_the_initial_cash_too() -> None:
    assert fallen(np.array([90.0, 120.0, 60.0]), 100.0).tolist() == pytest.approx([-10.0, 0.0, -50.0])


def test_every_fill_lies_in_a_slot_that_is_drawn(run: Result, page: Page) -> None:
    drawn = drawing(page.drawn)
    assert len(drawn["times"]) == SLOTS + 1 == len({*drawn["times"]})
    ends = np.array(drawn["times"]) * 10**9
    for side, name in ((1, "buys"), (0, "sells")):
        times = run.fill_rows["time"][run.fill_rows["buy"] == side]
        expected = {next((i for i, end in enumerate(ends) if end >= time), SLOTS) for time in times}
        assert set(drawn[name]) == expected
    assert drawn["equity"][-1] == pytest.approx(float(run.metrics["final"]))
    assert min(drawn["drawdown"]) == pytest.approx(100 * run.metrics["max_drawdown"])
    assert drawn["hold"][-1] == pytest.approx(10_000 * (1 + run.metrics["hold_return"]))


def test_a_months_return_is_from_the_last_day_of_the_month_before() -> None:
    equity = [100] * 30 + [110] + [110] * 27 + [121] + [133] * 3
    (year,) = months(curve(equity, step=DAY, initial=100))
    assert year.year == 2019
    assert year.months == pytest.approx({1: 0.1, 2: 0.1, 3: 133 / 121 - 1})
    assert year.whole == pytest.approx(0.33)


def test_years_have_rows_of_their_own_and_what_begins_with_nothing_has_no_return() -> None:
    rows = months(curve([100] * 364 + [0] + [0] * 40, step=DAY, initial=100))
    assert [row.year for row in rows] == [2019, 2020]
    assert rows[0].whole == -1.0
    assert (rows[1].months, rows[1].whole) == ({1: None, 2: None}, None)


def test_every_closed_trade_is_in_a_bin_and_nothing_is_an_edge(run: Result) -> None:
    bins = distribution(run.trips)
    assert sum(one.trades for one in bins) == run.metrics["trades"] > 0
    assert all(one.low >= -1e-12 or one.high <= 1e-12 for one in bins)
    assert distribution(run.trips[:0]) == []


def test_trades_that_all_made_the_same_are_in_one_bin(run: Result) -> None:
    same = run.trips[:3].copy()
    same["entry"], same["net"] = 100, 7
    assert [one.trades for one in distribution(same) if one.trades] == [3]


def test_what_people_wrote_is_text_in_the_report(page: Page) -> None:
    text = report(page._replace(title="<i>mine</i>", said=["a & b </script>"]))
    assert "<i>" not in text
    assert "a &amp; b &lt;/script&gt;" in text
    assert len(re.findall("</script>", text)) == 3


def test_a_notebook_shows_the_same_page_in_a_frame(run: Result, page: Page) -> None:
    framed = re.fullmatch(r'<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>', run._repr_html_())
    assert framed is not None
    assert unescape(framed[1]) == report(page)


def test_a_report_that_cannot_be_written_leaves_nothing(run: Result, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="there"):
        run.report(tmp_path / "there")
    assert [file.name for file in tmp_path.iterdir()] == ["there"]
    run.report(tmp_path / "report.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "there"]


def test_a_report_without_the_charts_says_how_to_fetch_them(
    page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reporting.library.cache_clear()
    monkeypatch.setattr(reporting, "CHARTS", tmp_path / "charts.mjs")
    with pytest.raises(ReportError, match="is missing: run `make setup`"):
        report(page)
    (tmp_path / "charts.mjs").write_text("export default 1")
    with pytest.raises(ReportError, match="run `make setup` again"):
        report(page)
