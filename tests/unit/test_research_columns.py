"""Which trade fills what a close or a command decides, case by case."""

import msgspec
import numpy as np
import pytest

from projections.fold.pipeline import Pipeline
from projections.research.columns import NONE_YET, NOT_KEPT, Columns, Vouched, values_of
from projections.research.gather import gather
from streams import events
from streams.records import Input
from tests.journal import MINUTE, START, batch, batch_of, fold, records, spot

BTC = spot()
ETH = spot("ETH/USDT")


def columns(*inputs, timeframe: str = "1m", dead=(), market=BTC) -> Columns:
    return gather(records([(market.key, market), *inputs]), market.key, [timeframe], dead)[0]


def ticks(*rows, market=BTC, **options) -> tuple:
    return market.key, batch(market, rows, **options)


def fills(found: Columns) -> list[tuple[float, int] | int]:
    """By bar, seconds after the start and price of its trade."""
    return [filled(found, trade) for trade in found.bars["trade"]]


def filled(found: Columns, trade: int) -> tuple[float, int] | int:
    if trade < 0:
        return int(trade)
    return (int(found.trades["time"][trade]) - START) / 10**9, int(found.trades["price"][trade]) // 100


def stop(request: str, bot_id: int = 1) -> events.StopBot:
    return events.StopBot(request=request, who="ann", at=START, bot_id=bot_id)


def test_the_trade_that_closes_a_candle_does_not_fill_what_it_decides() -> None:
    assert fills(columns(ticks((10, 100, 1), (61, 101, 1), (62, 102, 1)))) == [(62, 102)]
    assert fills(columns(ticks((10, 100, 1), (61, 101, 1)))) == [NONE_YET]


def test_the_trade_may_stand_in_a_later_record() -> None:
    found = columns(ticks((10, 100, 1), (61, 101, 1)), ticks((61.5,)), ticks((62, 102, 1)))
    assert fills(found) == [(62, 102)]
    assert found.trades[0]["offset"] == 4 and found.trades[0]["row"] == 0


def test_a_trade_older_than_the_decision_does_not_fill_it() -> None:
    assert fills(columns(ticks((10, 100, 1), (70,), (65, 101, 1), (70, 102, 1)))) == [(70, 102)]


def test_backfill_and_trades_of_closed_minutes_do_not_fill() -> None:
    rows = [(10, 100, 1), (30, 100, 1), (70,), (75, 101, 1, "backfill"), (20, 102, 1), (76, 103, 1)]
    assert fills(columns(ticks(*rows))) == [(76, 103)]


def test_a_row_that_closes_several_candles_gives_them_one_trade() -> None:
    found = columns(ticks((10, 100, 1), (200, 101, 1), (201, 102, 1)))
    assert fills(found) == [(201, 102)] * 3
    assert len(set(found.bars["place"])) == 1


def test_the_trade_behind_one_that_fills_is_known_and_the_one_behind_that_is_not() -> None:
    found = columns(ticks((10, 100, 1), (61, 101, 1), (63, 102, 1), (62, 103, 1), (63, 104, 1), (64, 1, 1)))
    assert [filled(found, n) for n in range(2)] == [(63, 102), (63, 104)]
    assert found.trades["next"].tolist() == [1, NOT_KEPT]
    found = columns(ticks((10, 100, 1), (61, 101, 1), (63, 102, 1)))
    assert found.trades["next"].tolist() == [NONE_YET]


def test_a_trade_of_a_closed_minute_is_not_the_next_one() -> None:
    found = columns(ticks((10, 100, 1), (61, 101, 1), (62, 102, 1), (125,), (70, 103, 1), (126, 104, 1)))
    assert fills(found) == [(62, 102), (126, 104)]
    assert filled(found, found.trades["next"][0]) == (126, 104)


def test_a_trade_before_the_first_candle_fills_no_command() -> None:
    found = columns(
        (BTC.key, stop("a")), ticks((130, 100, 1, "backfill"), (61, 101, 1)), ticks((131, 102, 1))
    )
    assert filled(found, found.events[0].trade) == (131, 102)


def test_what_a_command_decides_is_filled_by_a_trade_not_older_than_the_market() -> None:
    found = columns(
        ticks((10, 100, 1), (61, 101, 1), (64, 102, 1)),
        (BTC.key, stop("a")),
        ticks((63, 103, 1), (64, 104, 1)),
    )
    (at,) = found.events
    assert filled(found, at.trade) == (64, 104)
    assert (at.event, at.offset, at.close, at.bar) == (stop("a"), 3, 10_000, 1)
    assert at.watermark == START + 64 * 10**9


def test_commands_of_other_markets_are_left_out_and_a_halt_of_all_is_not() -> None:
    halt = events.HaltBot(request="h", who="ann", at=START, bot_id=None, reason="fire", code="halted")
    found = columns((ETH.key, ETH), (ETH.key, stop("a")), (ETH.key, halt), (BTC.key, stop("b")))
    assert [at.event for at in found.events] == [halt, stop("b")]


def test_a_command_before_the_first_candle_has_no_close() -> None:
    (at,) = columns((BTC.key, stop("a"))).events
    assert (at.watermark, at.close, at.trade, at.bar) == (-1, 0, NONE_YET, 0)


def test_a_repeated_request_or_record_of_a_source_is_left_out() -> None:
    rows = batch(BTC, [(10, 100, 1), (61, 101, 1)])
    first, again = Input("venue", 1, 0, rows), Input("venue", 1, 0, batch(BTC, [(62, 7, 1)]))
    journal = records(
        [Input("spec", 1, 0, BTC), first, again, Input("", 0, 0, stop("a")), Input("", 0, 0, stop("a"))]
    )
    (found,) = gather(journal, BTC.key, ["1m"])
    assert fills(found) == [NONE_YET]
    assert len(found.events) == 1


def test_a_repeated_trade_does_not_fill_and_rows_keep_their_numbers_in_the_record() -> None:
    found = columns(
        ticks((10, 100, 1), (61, 101, 1), ids=[1, 2]), ticks((61, 101, 1), (62, 102, 1), ids=[2, 3])
    )
    assert fills(found) == [(62, 102)]
    assert found.trades[0]["row"] == 1


def test_rows_of_several_markets_keep_their_numbers_in_the_record() -> None:
    rows = [
        (ETH, (1, 5, 1)),
        (BTC, (10, 100, 1)),
        (BTC, (61, 101, 1)),
        (ETH, (62, 5, 1)),
        (BTC, (63, 102, 1)),
    ]
    found = columns((ETH.key, ETH), (BTC.key, batch_of([ETH, BTC], rows)))
    assert fills(found) == [(63, 102)]
    assert found.trades[0]["row"] == 4


def test_a_dead_letter_is_left_out_and_its_source_goes_on() -> None:
    bad = Input("venue", 1, 1, batch_of([BTC, ETH], [(BTC, (50, 90, 1)), (ETH, (1, 1, 1))]))
    journal = records(
        [
            Input("spec", 1, 0, BTC),
            Input("venue", 1, 0, batch(BTC, [(10, 100, 1)])),
            bad,
            Input("venue", 1, 1, batch(BTC, [(55, 80, 1)])),
            Input("venue", 1, 2, batch(BTC, [(61, 101, 1), (62, 102, 1)])),
        ]
    )
    (found,) = gather(journal, BTC.key, ["1m"], {3})
    assert found.bars["close"].tolist() == [10_000]
    assert fills(found) == [(62, 102)]
    assert found.last == 5


@pytest.mark.parametrize(
    "bad",
    [
        batch_of([BTC, ETH], [(BTC, (62, 90, 1)), (ETH, (1, 1, 1))]),
        batch(BTC, [(62, 90, 1), (63, -1, 1)]),
        batch(BTC, [(61 + 8 * 86_400, 90, 1)]),
        events.Gap(market=BTC.key, start=5, end=5, reason=""),
        events.GapFilled(market=BTC.key, start=5, end=6),
        events.Clock(time=START, markets=("test:ETH/USDT",)),
        msgspec.structs.replace(BTC, price_scale=1),
        msgspec.structs.replace(BTC, closed="left"),
        batch(msgspec.structs.replace(BTC, price_scale=3), [(62, 90, 1)]),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_record_that_cannot_be_folded_ends_the_range_before_it(bad) -> None:
    journal = records(
        [(BTC.key, BTC), ticks((10, 100, 1), (61, 101, 1)), (BTC.key, bad), ticks((62, 102, 1))]
    )
    pipeline = Pipeline(0, None, bots=False)  # type: ignore[arg-type] - without bots none is asked for
    assert any(item.topic == "system" for item in fold(pipeline, journal))
    (found,) = gather(journal, BTC.key, ["1m"])
    assert (found.last, fills(found), len(found.events), len(found.eras)) == (2, [NONE_YET], 0, 1)
    (found,) = gather(journal, BTC.key, ["1m"], {3})
    assert (found.last, fills(found)) == (4, [(62, 102)])


def test_bytes_that_are_no_event_end_the_range_before_them() -> None:
    journal = records([(BTC.key, BTC), ticks((10, 100, 1), (61, 101, 1)), ticks((62, 102, 1))])
    journal[3] = journal[3]._replace(value=b"\xc1")
    assert gather(journal, BTC.key, ["1m"])[0].last == 2


def test_a_damaged_record_ends_the_range_before_it() -> None:
    journal = records([(BTC.key, BTC), ticks((10, 100, 1), (61, 101, 1)), ticks((62, 102, 1))])
    journal[3] = journal[3]._replace(damaged=True)
    assert gather(journal, BTC.key, ["1m"])[0].last == 2


def test_a_market_whose_scales_grow_begins_an_era() -> None:
    finer = msgspec.structs.replace(BTC, price_scale=4, size_scale=5)
    found = columns(
        ticks((10, 100, 1), (61, 101, 1), (125, 102, 1)),
        (BTC.key, finer),
        (BTC.key, stop("a")),
        ticks((126, 103.5, 7), market=finer),
        ticks((185, 103, 1)),
    )
    assert found.eras == (BTC, finer)
    assert found.bars["era"].tolist() == [0, 0, 1]
    assert found.bars["close"].tolist() == [10_000, 10_100, 1_035_000]
    assert values_of(found)[:, 3].tolist() == [100.0, 101.0, 103.5]
    assert values_of(found)[:, 4].tolist() == [0.001, 0.001, 0.00107]
    assert [(at.event, at.close) for at in found.events] == [(finer, 10_100), (stop("a"), 1_010_000)]
    assert found.trades["era"].tolist() == [0, 1, 1]
    assert found.trades["price"].tolist() == [10_200, 1_035_000, 1_030_000]


def test_a_revision_is_final_and_stands_at_the_scale_of_its_era() -> None:
    finer = msgspec.structs.replace(BTC, price_scale=3)
    found = columns(ticks((10, 100, 1), (61, 101, 1)), (BTC.key, finer), ticks((30, 99.5, 2), market=finer))
    assert (found.bars["close"][0], found.bars["era"][0]) == (10_000, 0)
    assert (found.final["close"][0], found.final["era"][0], found.revisions[0]) == (99_500, 1, 1)
    assert values_of(found, final=True)[0].tolist() == [100.0, 100.0, 99.5, 99.5, 0.003]


def test_a_gap_makes_a_closed_candle_incomplete_in_the_end_alone() -> None:
    gap = events.Gap(market=BTC.key, start=START + MINUTE // 2, end=START + MINUTE, reason="")
    found = columns(ticks((10, 100, 1), (61, 101, 1)), (BTC.key, gap))
    assert (found.bars["flags"][0], found.final["flags"][0], found.revisions[0]) == (0, 2, 1)


def feed(state: str) -> events.Feed:
    return events.Feed(market=BTC.key, source="tester", state=state, since=START)  # type: ignore[arg-type] - a text


def test_a_change_of_who_vouches_stands_before_the_rows_that_bring_it() -> None:
    inputs = [
        Input("spec", 1, 0, BTC),
        Input("", 0, 0, events.Feed(market=BTC.key, source="venue", state="down", since=START)),
        Input("file", 1, 0, batch(BTC, [(10, 100, 1)])),
        Input("venue", 1, 0, batch(BTC, [(61, 101, 1), (62, 102, 1)])),
    ]
    (found,) = gather(records(inputs), BTC.key, ["1m"])
    assert [(at.offset, at.event) for at in found.events] == [(n, Vouched(n == 3)) for n in (2, 3, 4)]
    down, live, down_again = found.events
    assert down.place < live.place < down_again.place < found.bars["place"][0]
    assert filled(found, live.trade) == (10, 100)
    assert filled(found, down_again.trade) == (61, 101)
    assert found.bars["live"].tolist() == [0]
    assert dict(zip(found.trades["price"].tolist(), found.trades["live"].tolist(), strict=True)) == {
        10_000: 1, 10_100: 0, 10_200: 0
    }  # fmt: skip


def test_backfill_of_another_source_does_not_change_whose_word_counts() -> None:
    inputs = [
        Input("spec", 1, 0, BTC),
        Input("", 0, 0, events.Feed(market=BTC.key, source="venue", state="live", since=START)),
        Input("", 0, 0, events.Feed(market=BTC.key, source="other", state="down", since=START)),
        Input("venue", 1, 0, batch(BTC, [(10, 100, 1)])),
        Input("other", 1, 0, batch(BTC, [(11, 100, 1, "backfill")])),
    ]
    assert gather(records(inputs), BTC.key, ["1m"])[0].events == ()


def test_the_chain_is_the_one_that_the_fold_records() -> None:
    journal = records([(BTC.key, BTC), ticks((10, 100, 1), (61, 101, 1))])
    journal[2] = journal[2]._replace(headers=(("a", b"1"), ("b", b"")), key=None)
    pipeline = Pipeline(0, None, bots=False)  # type: ignore[arg-type] - without bots none is asked for
    fold(pipeline, journal)
    assert gather(journal, BTC.key, ["1m"])[0].chain == pipeline.journal_sha256


def test_a_market_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(LookupError, match=r"test:DOGE/USDT is not .* test:BTC/USDT, test:ETH/USDT"):
        gather(records([(BTC.key, BTC), (ETH.key, ETH)]), "test:DOGE/USDT", ["1m"])


def test_records_that_do_not_follow_are_refused() -> None:
    journal = records([(BTC.key, BTC), ticks((10, 100, 1))])
    with pytest.raises(ValueError, match="the record 1 is due"):
        gather([journal[0], journal[2]], BTC.key, ["1m"])


def test_a_market_without_trades_has_no_bars_and_one_with_one_candle_has_one() -> None:
    empty = columns(timeframe="5m")
    assert (len(empty.bars), len(empty.final), len(empty.trades), len(values_of(empty))) == (0, 0, 0, 0)
    one = columns(ticks((10, 100, 1), (300.5, 101, 1)), timeframe="5m")
    assert one.bars["end"].tolist() == [START + 5 * MINUTE]


def test_a_volume_beyond_the_integers_of_a_float_is_rounded_once() -> None:
    found = columns(ticks((10, 100, 1), (61, 101, 1)))
    found.bars["volume"] = 2**53 + 2**52 + 1
    assert values_of(found)[0, 4] == (2**53 + 2**52 + 1) / 1000


def test_many_commands_and_candles_find_their_room() -> None:
    stops = [(BTC.key, stop(f"{n}")) for n in range(3_000)]
    rows = [(60 * n + 1, 100, 1) for n in range(4_000)]
    found = columns(ticks((0.5, 99, 1)), *stops, ticks(*rows))
    assert {filled(found, at.trade) for at in found.events} == {(1, 100)}
    assert len(found.bars) == 3_999
    assert np.count_nonzero(found.bars["trade"] == NONE_YET) == 1
    assert fills(found)[:2] == [(121, 100), (181, 100)]
