"""A report draws what happened: thinned without losing a height or a depth, its numbers as they are."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.research import report as reporting
from infra.research.drawing import SLOTS, candles, distribution, drawing, fallen, line, months, slots_of
from infra.research.numbers import as_json, as_text, duration, grouped
from infra.research.report import ReportError, report
from infra.strategies.registry import Strategies
from projections.research.run import Outcome, Prepared, Specification, backtest
from projections.research.statistics import DEFINITIONS
from projections.research.summary import Summary, summary
from streams.events import Sizing
from tests.research import curve, walked

DAY = 86_400_000_000_000
WALK = st.lists(st.floats(1, 1e6), min_size=1, max_size=200)
EVEN = st.sampled_from([2, 4, 10, 100])


@pytest.fixture(scope="module")
def run(strategies: Strategies) -> tuple[Summary, Outcome, Prepared]:
    prepared = walked(SLOTS + 1_500)
    spec = Specification(
        strategies.latest("sma_cross"), {"fast": 20, "slow": 100}, Sizing("equity", 1, 0), True, 10**12
    )
    outcome = backtest(prepared, spec, 0, len(prepared.bars), 0)
    return summary(prepared, spec, outcome, 0), outcome, prepared


@given(WALK, EVEN)
def test_a_thinned_line_keeps_its_highest_its_lowest_and_its_last_point(walk: list[float], most: int) -> None:
    values = np.array(walk)
    slots = slots_of(len(values), most)
    thinned = line(slots, values)
    assert len(thinned) == len(slots.starts) <= most + 1
    assert (thinned.max(), thinned.min(), thinned[-1]) == (values.max(), values.min(), values[-1])
    if len(values) <= most:
        assert thinned.tolist() == walk


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


def test_every_fill_lies_in_a_slot_that_is_drawn(run: tuple[Summary, Outcome, Prepared]) -> None:
    told, _, prepared = run
    drawn = drawing(told, prepared.values)
    assert len(drawn["times"]) == SLOTS + 1 == len({*drawn["times"]})
    ends = np.array(drawn["times"]) * 10**9
    for side, name in ((1, "buys"), (0, "sells")):
        times = told.fills["time"][told.fills["buy"] == side]
        expected = {next((i for i, end in enumerate(ends) if end >= time), SLOTS) for time in times}
        assert set(drawn[name]) == expected
    assert drawn["equity"][-1] == pytest.approx(told.curve.equity[-1] / 1e8)
    assert min(drawn["drawdown"]) == pytest.approx(100 * told.numbers.values["max_drawdown"])


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


def test_every_closed_trade_is_in_a_bin_and_nothing_is_an_edge(
    run: tuple[Summary, Outcome, Prepared],
) -> None:
    told, _, _ = run
    bins = distribution(told)
    assert sum(one.trades for one in bins) == told.numbers.values["trades"]
    assert all(one.low >= 0 or one.high <= 1e-12 for one in bins)
    assert distribution(told._replace(trips=told.trips[:0])) == []


def test_numbers_in_json_are_exact(run: tuple[Summary, Outcome, Prepared]) -> None:
    told, outcome, _ = run
    values = as_json(told)
    assert list(values) == list(DEFINITIONS)
    assert values["initial"] == "10000.00000000"
    assert values["fees"] == f"{outcome.account[4] / 1e8:.8f}"
    assert values["return"] == told.numbers.values["return"]
    assert str(values["drawdown_bottom"]).endswith("Z")
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_people_read_thousands_and_units() -> None:
    assert grouped("-1234567.8900") == "-1,234,567.89"
    assert grouped("-0.50") == "-0.5"
    assert grouped("12") == "12"
    assert [duration(ns) for ns in (0, 60 * 10**9, DAY + 3_600 * 10**9 + 60 * 10**9)] == [
        "0 min",
        "1 min",
        "1 d 1 h",
    ]


def test_a_number_that_is_none_is_told_in_words(run: tuple[Summary, Outcome, Prepared]) -> None:
    told, _, _ = run
    values, why = told.numbers
    none = told._replace(
        numbers=told.numbers._replace(values=values | {"sharpe": None}, why=why | {"sharpe": "no"})
    )
    assert as_text(none, "sharpe") == "no"
    assert as_json(none)["sharpe"] is None


def test_what_people_wrote_is_text_in_the_report(run: tuple[Summary, Outcome, Prepared]) -> None:
    told, _, prepared = run
    page = report("<i>mine</i>", ["a & b </script>"], told, prepared.values)
    assert "<i>" not in page
    assert "a &amp; b &lt;/script&gt;" in page
    assert len(re.findall("</script>", page)) == 3


def test_a_report_without_the_charts_says_how_to_fetch_them(
    run: tuple[Summary, Outcome, Prepared], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    told, _, prepared = run
    reporting._library.cache_clear()
    monkeypatch.setattr(reporting, "CHARTS", tmp_path / "charts.mjs")
    with pytest.raises(ReportError, match="is missing: run `make setup`"):
        report("x", [], told, prepared.values)
    (tmp_path / "charts.mjs").write_text("export default 1")
    with pytest.raises(ReportError, match="run `make setup` again"):
        report("x", [], told, prepared.values)
