"""What is said beside the numbers of a run: sentences in a fixed order, whose figures are right."""

import numpy as np
import pytest

from infra.strategies.registry import load_strategies
from projections.fold.money import Account
from projections.research.columns import BAR
from projections.research.honesty import Evidence, Line, gaps, lines, other_signals, too_short
from projections.research.round_trips import Trips, round_trips
from projections.research.tripwire import Peek, Tripwire
from streams.events import CandleFlag
from tests.programs import KERNELS
from tests.research import FILL, INVERSE, MINUTE, SPOT, START, fills_of

NOTHING = Tripwire(1_024, "all bars behind taken away", None)
NO_TRIPS = round_trips(np.zeros(0, FILL))


def bars(*minutes: int, empty: tuple[int, ...] = (), incomplete: tuple[int, ...] = ()) -> np.ndarray:
    """Bars that end at these minutes."""
    rows = np.zeros(len(minutes), BAR)
    rows["end"] = [START + MINUTE * minute for minute in minutes]
    rows["flags"] = [
        CandleFlag.EMPTY * (m in empty) | CandleFlag.INCOMPLETE * (m in incomplete) for m in minutes
    ]
    return rows


def evidence(
    days: int = 365, trades: int = 100, *, trips: Trips = NO_TRIPS, wire: Tripwire = NOTHING
) -> Evidence:
    return Evidence(days, trades, wire, 100, 100, bars(*range(1, 11)), MINUTE, trips, SPOT)


def told(given: Evidence, about: str) -> Line:
    return next(line for line in lines(given) if line.about == about)


def test_sentences_stand_in_one_order_and_an_honest_run_warns_of_nothing() -> None:
    given = lines(evidence())
    assert [line.about for line in given] == [
        "sample", "look_ahead", "warm_up", "candles", "gaps", "revisions", "signals", "left_out",
    ]  # fmt: skip
    assert not any(line.warns for line in given)
    assert all(line.text.endswith(".") for line in given)


@pytest.mark.parametrize(("days", "trades", "warns"), [(60, 30, False), (59, 30, True), (60, 29, True)])
def test_a_small_sample_is_said_first(days: int, trades: int, warns: bool) -> None:
    line = lines(evidence(days, trades))[0]
    assert line.warns == warns
    assert line.text.startswith(
        f"The run {'is short,' if warns else 'has'} {trades} closed trades in {days} days"
    )


def test_one_of_a_thing_is_not_said_as_many() -> None:
    assert "1 closed trade in 1 day:" in lines(evidence(1, 1))[0].text


def test_what_peeks_is_named_with_its_bar() -> None:
    wire = Tripwire(70, "the bars behind changed", Peek(3, "fast", 1.5, float("nan")))
    assert told(evidence(wire=wire), "look_ahead") == Line(
        "look_ahead",
        True,
        "The strategy looks ahead, or goes by something that it is not given: at the bar "
        "2019-01-01T00:04:00Z its fast was 1.5; asked again with the bars behind changed, it was "
        "no number. No live bot can do that: these numbers are worth nothing.",
    )
    failed = Tripwire(70, "the bars behind changed", Peek(3, "target", 1.0, None))
    assert (
        "its target was 1; asked again with the bars behind changed, it failed."
        in told(evidence(wire=failed), "look_ahead").text
    )


def test_indicators_that_are_not_warm_are_said_with_the_bar_from_which_they_are() -> None:
    line = told(evidence()._replace(warmed=96), "warm_up")
    assert line.warns
    assert line.text == (
        "The strategy stepped through 96 bars before the first; its indicators need 100, so until "
        "2019-01-01T00:04:00Z they are not those of a bot that was always there."
    )
    assert "so they are not" in told(evidence()._replace(warmed=1), "warm_up").text


def test_a_range_that_is_too_short_is_refused_with_the_number() -> None:
    code = load_strategies(KERNELS).latest("sma_cross")
    params = {"fast": 20, "slow": 100}
    assert too_short(code, params, 20, 80) == ""
    assert too_short(code, params, 20, 79) == (
        "strategy sma_cross (fast=20, slow=100) needs 100 bars until its indicators are those of a bot that "
        "saw all before, and the range has 79, with 20 before it: 1 are missing; take a longer "
        "range, or shorter windows"
    )


def test_empty_and_incomplete_bars_are_counted() -> None:
    some = bars(*range(1, 11), empty=(2, 3), incomplete=(3,))
    line = told(evidence()._replace(bars=some), "candles")
    assert line == Line(
        "candles", True, "Of 10 bars 20 % had no trade in them, and 10 % lay over a gap in the data."
    )
    many = bars(*range(1, 20_001), empty=(5,))
    assert "less than 0.01 % had no trade" in told(evidence()._replace(bars=many), "candles").text


def test_gaps_are_bars_that_are_missing_or_incomplete_and_neighbours_are_one() -> None:
    some = bars(1, 2, 5, 6, 7, 8, 12, incomplete=(5, 7, 8))
    assert [column.tolist() for column in gaps(some, MINUTE)] == [
        [START + MINUTE * m for m in (2, 6)], [START + MINUTE * m for m in (5, 11)],
    ]  # fmt: skip
    for whole in (bars(), bars(1), bars(1, 2, 3)):
        assert [len(column) for column in gaps(whole, MINUTE)] == [0, 0]


@pytest.mark.parametrize(
    ("opened", "closed", "across"),
    [(0, 2, False), (0, 3, True), (2, 4, True), (4, 5, True), (5, 6, False), (0, 9, True)],
)
def test_a_trade_across_a_gap_was_open_in_a_part_of_it(opened: int, closed: int, across: bool) -> None:
    trips = round_trips(fills_of(SPOT, Account(10**6), [(True, 10, 100), (False, 10, 110)]))
    trips["opened"], trips["closed"] = START + MINUTE * opened, START + MINUTE * closed
    given = evidence(trips=trips)._replace(bars=bars(1, 2, 6, 7, 8, 9))
    line = told(given, "gaps")
    assert line.warns == across
    start = "There is 1 gap in the data, the first from 2019-01-01T00:02:00Z to 2019-01-01T00:05:00Z; "
    assert line.text == start + (
        "1 trade was open across one and made 79.00 of 79.00 Y."
        if across
        else "no trade was open across one."
    )


def test_a_trade_that_is_still_open_counts_until_the_last_bar() -> None:
    trips = round_trips(fills_of(INVERSE, Account(10**8), [(True, 100, 40_000)]))
    given = evidence(trips=trips)._replace(bars=bars(1, 2, 6), market=INVERSE)
    assert "1 trade was open across one and made -0.00001875 of -0.00001875 B." in told(given, "gaps").text


def test_revisions_are_told_with_what_they_would_change() -> None:
    assert told(evidence(), "revisions").text == "No bar was revised after it had closed."
    one = told(evidence()._replace(revised=1, changed=2), "revisions")
    assert one == Line(
        "revisions", True, "1 bar was revised after closing; 2 signals would differ by the last revisions."
    )
    assert not told(evidence()._replace(revised=3, changed=0), "revisions").warns
    assert "tells `--as-known --final`" in told(evidence()._replace(revised=3), "revisions").text


@pytest.mark.parametrize(
    ("known", "final", "count"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0], 0),
        ([0, 1, 1, 0], [0, 0, 1, 0], 2),
        ([0, 1, 1, 0], [0, -1, -1, 0], 1),
        ([], [], 0),
    ],
)
def test_signals_differ_where_one_run_gave_what_the_other_did_not(
    known: list[float], final: list[float], count: int
) -> None:
    assert other_signals(np.array(known, float), np.array(final, float)) == count


def test_signals_that_were_refused_are_said_with_their_reasons() -> None:
    given = evidence()._replace(signals=5, refused={"too_small": 2, "short_not_allowed": 1})
    assert told(given, "signals") == Line(
        "signals",
        False,
        "The strategy gave 5 signals; 3 were refused, 2 as too_small, 1 as short_not_allowed.",
    )
    assert told(given._replace(signals=3), "signals").warns, "none became an order"
    assert told(evidence(), "signals").text == "The strategy gave 0 signals; none was refused."
