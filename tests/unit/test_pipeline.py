"""What the fold makes of a journal, case by case."""

from hashlib import sha256

import msgspec
import numpy as np
import pytest
from msgspec import structs

from projections.fold.bots import CodeMissingError
from projections.fold.pipeline import Pipeline, PipelineState, PositionError
from projections.fold.turn import Account
from streams import events
from streams.events import (
    BotChanged,
    Candle,
    DeadLetter,
    Equity,
    Fill,
    IdsReused,
    LateTick,
    Order,
    OrderClosed,
    Signal,
    Sizing,
    SourceHole,
)
from streams.records import DATA_BYTES_MAX, Input
from streams.topics import CANDLES, SYSTEM
from tests.journal import MINUTE, START, batch, batch_of, create, emitted, fold, named, of, records, spot

BTC = spot()
ETH = spot("ETH/USDT")
FLIP = {"fast": 1, "slow": 2}
"""sma_cross that follows the last close: up → 1, down → −1."""


def flip_journal(strategies, *rows, market=BTC, **bot):
    """A market, a bot that follows the last close, and one batch per list of rows."""
    bot.setdefault("code_hash", strategies.latest("sma_cross").code_hash)
    command = create(market, params=FLIP, **bot)
    return [(market.key, market), (market.key, command), *((market.key, batch(market, r)) for r in rows)]


def test_a_candle_closes_when_a_trade_passes_its_end_and_not_before(strategies) -> None:
    derived = fold(
        Pipeline(0, strategies),
        records([(BTC.key, BTC), (BTC.key, batch(BTC, [(1, 100, 5), (60, 102, 1), (60.5, 101, 2)]))]),
    )
    (candle,) = of(derived, Candle)
    assert (candle.timeframe, candle.timestamp) == ("1m", START + MINUTE)
    assert (candle.open, candle.high, candle.low, candle.close) == (10000, 10200, 10000, 10200)
    assert (candle.volume, candle.trades, candle.revision) == (6, 2, 0)


def test_a_clock_row_closes_candles_without_a_trade(strategies) -> None:
    derived = fold(
        Pipeline(0, strategies), records([(BTC.key, BTC), (BTC.key, batch(BTC, [(1, 100, 5), (180,)]))])
    )
    assert [(c.timestamp - START) // MINUTE for c in of(derived, Candle)] == [1, 2, 3]
    assert [c.empty for c in of(derived, Candle)] == [False, True, True]


def test_a_clock_event_closes_the_candles_of_the_markets_it_names_and_no_other(strategies) -> None:
    journal = [
        (BTC.key, BTC),
        (ETH.key, ETH),
        (BTC.key, batch_of([BTC, ETH], [(BTC, (1, 100, 5)), (ETH, (1, 50, 5))])),
        (BTC.key, events.Clock(time=START + MINUTE, markets=(BTC.key,))),
    ]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert [item.key.decode() for item in derived if item.topic == CANDLES] == [BTC.key]


def test_the_closing_trade_never_fills_and_the_next_one_does(strategies) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (121, 150, 5), (121, 160, 5)]
    derived = fold(Pipeline(0, strategies), records(flip_journal(strategies, rows)))
    (signal,) = of(derived, Signal)
    (order,) = of(derived, Order)
    (fill,) = of(derived, Fill)
    assert (signal.target, signal.decision, signal.code) == (1, "executed", "ok")
    assert order.timestamp == START + 2 * MINUTE
    assert fill.price == 16000
    assert fill.order_id == emitted(derived, Order)[0][0]
    assert order.signal == emitted(derived, Signal)[0][0]


def test_an_order_waits_over_records_for_a_trade_not_before_its_decision(strategies) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (125,)]
    later = [(124, 140, 5), (126, 150, 5)]
    derived = fold(Pipeline(0, strategies), records(flip_journal(strategies, rows, later)))
    assert [f.price for f in of(derived, Fill)] == [15000]


def test_late_and_backfilled_trades_revise_candles_and_never_fill_or_mark(strategies) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (121, 102, 5)]
    late = [(62, 500, 5), (130, 400, 5, "backfill"), (131, 103, 5)]
    derived = fold(Pipeline(0, strategies), records(flip_journal(strategies, rows, late)))
    revised = [c for c in of(derived, Candle) if c.revision]
    assert [(c.timeframe, (c.timestamp - START) // MINUTE, c.high) for c in revised] == [("1m", 2, 50000)]
    assert [f.price for f in of(derived, Fill)] == [10300]
    assert all(mark.equity == (10_000 * 10**8,) for mark in of(derived, Equity))


def test_a_trade_beyond_the_horizon_is_recorded_as_late_and_changes_nothing(strategies) -> None:
    market = spot(horizon_min=1)
    rows = [(1, 100, 5), (61, 101, 5), (301, 102, 5), (62, 9, 1)]
    derived = fold(
        Pipeline(0, strategies), records([(market.key, market), (market.key, batch(market, rows))])
    )
    assert [t.price for t in of(derived, LateTick)] == [900]
    assert not [c for c in of(derived, Candle) if c.revision]


@pytest.mark.parametrize(
    ("bot", "code"),
    [
        ({"start": False}, "bot_stopped"),
        ({"sizing": Sizing("amount", 1_000_000, 0)}, "insufficient_cash"),
        ({"sizing": Sizing("amount", 2**62, 0)}, "overflow"),
        ({"sizing": Sizing("amount", 1, 9)}, "too_small"),
    ],
)
def test_a_refused_signal_is_recorded_with_its_code_and_no_order(strategies, bot, code) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (121, 102, 5), (122, 102, 5)]
    derived = fold(Pipeline(0, strategies), records(flip_journal(strategies, rows, **bot)))
    (signal,) = of(derived, Signal)
    assert (signal.decision, signal.code) == ("refused", code)
    assert list(signal.values) == ["fast_average", "slow_average"]
    assert not of(derived, Order)


def test_a_short_target_of_a_bot_that_may_not_short_closes_its_position(strategies) -> None:
    rows = [
        (1, 100, 5),
        (61, 101, 5),
        (121, 102, 5),
        (122, 102, 5),
        (181, 90, 5),
        (182, 90, 5),
        (241, 80, 5),
        (242, 80, 5),
    ]
    derived = fold(Pipeline(0, strategies), records(flip_journal(strategies, rows)))
    assert [(s.target, s.code) for s in of(derived, Signal)] == [(1, "ok"), (-1, "closed_only")]
    assert [f.position > 0 for f in of(derived, Fill)] == [True, False]
    assert of(derived, Fill)[-1].position == 0


def test_a_bot_that_may_short_turns_its_position_in_one_order(strategies) -> None:
    rows = [
        (1, 100, 5),
        (61, 101, 5),
        (121, 102, 5),
        (122, 102, 5),
        (181, 90, 5),
        (182, 90, 5),
        (241, 80, 5),
        (242, 80, 5),
    ]
    derived = fold(Pipeline(0, strategies), records(flip_journal(strategies, rows, short=True)))
    long, turned = of(derived, Fill)
    assert long.position > 0 > turned.position
    assert turned.size == long.position - turned.position
    assert turned.cash + turned.cost == 10_000 * 10**8 - long.fee - turned.fee + turned.realised_pnl


def test_stop_cancels_what_waits_and_keeps_the_position(strategies) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (121, 102, 5)]
    journal = flip_journal(strategies, rows)
    journal += [
        (BTC.key, events.StopBot(request="s", who="me", at=START, bot_id=1)),
        (BTC.key, batch(BTC, [(122, 102, 5)])),
    ]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert [(o.status, o.code) for o in of(derived, OrderClosed)] == [("cancelled", "bot_stopped")]
    assert not of(derived, Fill)
    assert of(derived, BotChanged)[-1].status == "stopped"


def test_stop_with_flatten_closes_the_position_at_the_next_trade(strategies) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (121, 102, 5), (122, 102, 5)]
    journal = flip_journal(strategies, rows)
    journal += [
        (BTC.key, events.StopBot(request="s", who="me", at=START, bot_id=1, flatten=True)),
        (BTC.key, batch(BTC, [(123, 99, 5)])),
    ]
    fills = of(fold(Pipeline(0, strategies), records(journal)), Fill)
    assert [(f.side, f.price, f.position == 0) for f in fills] == [
        ("buy", 10200, False),
        ("sell", 9900, True),
    ]


def test_repeated_starts_and_stops_change_nothing(strategies) -> None:
    journal = flip_journal(strategies)
    journal += [(BTC.key, events.StartBot(request=f"r{n}", who="me", at=START, bot_id=1)) for n in range(3)]
    journal += [(BTC.key, events.StopBot(request=f"s{n}", who="me", at=START, bot_id=1)) for n in range(3)]
    changes = of(fold(Pipeline(0, strategies), records(journal)), BotChanged)
    assert [c.status for c in changes] == ["running", "stopped"]


def test_a_repeated_request_is_folded_once(strategies) -> None:
    journal = flip_journal(strategies)
    journal += [
        (
            BTC.key,
            events.HaltBot(request="same", who="me", at=START, bot_id=None, reason="fire", code="halted"),
        )
    ] * 2
    changes = of(fold(Pipeline(0, strategies), records(journal)), BotChanged)
    assert [(c.status, c.message) for c in changes] == [
        ("running", "created and started"),
        ("halted", "fire"),
    ]


def test_a_command_that_names_code_without_its_check_is_a_dead_letter_and_looks_for_none(strategies) -> None:
    """Whatever is not at hand would end the fold, at every start."""
    unknown = {"code_hash": "0" * 64, "params": FLIP}
    given = [
        structs.replace(create(BTC, 2, **unknown), code_check=""),
        structs.replace(create(BTC, 2, **unknown), request="other", strategy="rsi_reversion"),
        events.StartBot(request="s", who="me", at=START, bot_id=1, code_hash="0" * 64),
        events.ReconfigureBot(request="r", who="me", at=START, bot_id=1, code_hash="0" * 64),
    ]
    journal = [*flip_journal(strategies), *((BTC.key, command) for command in given)]
    letters = of(fold(Pipeline(0, strategies), records(journal)), DeadLetter)
    assert ["does not fit its check" in letter.reason for letter in letters] == [True] * 4


def test_what_cannot_be_decoded_leaves_the_state_that_a_later_failure_goes_back_to(strategies) -> None:
    rows = batch(BTC, [(1, 100, 5), (61, 101, 5)])
    wrong = structs.replace(rows, market=b"\1\0" * 2)
    journal = records([(BTC.key, event) for event in (BTC, rows, rows, wrong, batch(BTC, [(121, 102, 5)]))])
    journal[3] = journal[3]._replace(value=b"\xc1" * 9)
    pipeline, spared = Pipeline(0, strategies), Pipeline(0, strategies)
    letters = of(fold(pipeline, journal), DeadLetter)
    assert [letter.offset for letter in letters] == [3, 4]
    fold(spared, journal[:4])
    spared.restore(spared.snapshot())
    fold(spared, journal[4:])
    assert pipeline.snapshot() == spared.snapshot()


def test_halt_all_halts_every_bot_of_every_market_and_says_why(strategies) -> None:
    code = strategies.latest("sma_cross").code_hash
    journal = [(m.key, m) for m in (BTC, ETH)]
    journal += [(m.key, create(m, n, params=FLIP, code_hash=code)) for n, m in enumerate((BTC, ETH, BTC), 1)]
    journal += [
        (BTC.key, events.HaltBot(request="h", who="me", at=START, bot_id=None, reason="fire", code="halted"))
    ]
    halted = [
        c for c in of(fold(Pipeline(0, strategies), records(journal)), BotChanged) if c.status == "halted"
    ]
    assert sorted((c.bot_id, c.message, c.who) for c in halted) == [(n, "fire", "me") for n in (1, 2, 3)]


def test_code_that_is_not_at_hand_ends_the_fold_rather_than_reach_its_bytes(strategies) -> None:
    with pytest.raises(CodeMissingError, match=r"0000.*put its file back"):
        fold(Pipeline(0, strategies), records(flip_journal(strategies, code_hash="0" * 64)))


def test_a_bot_whose_strategy_changed_steps_no_more_until_a_start_accepts_the_code(strategies) -> None:
    halt = events.HaltBot(
        request="h", who="worker", at=START, bot_id=1, reason="changed", code="strategy_changed"
    )
    accepted = named("sma_cross", strategies.latest("sma_cross").code_hash)
    accept = events.StartBot(request="a", who="me", at=START, bot_id=1, **accepted)
    journal = [*flip_journal(strategies), (BTC.key, halt)]
    journal += [(BTC.key, batch(BTC, [(1, 100, 5), (61, 101, 5), (121, 102, 5)])), (BTC.key, accept)]
    journal += [(BTC.key, batch(BTC, [(181, 103, 5), (241, 104, 5), (242, 104, 5)]))]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert [(c.status, c.code) for c in of(derived, BotChanged)] == [
        ("running", "created"),
        ("halted", "strategy_changed"),
        ("running", "started"),
    ]
    assert [(s.timestamp - START) // MINUTE for s in of(derived, Signal)] == [4]


def test_parameters_that_the_strategy_refuses_halt_the_bot_with_its_words(strategies) -> None:
    code = strategies.latest("sma_cross").code_hash
    journal = [(BTC.key, BTC), (BTC.key, create(BTC, params={"fast": -1, "slow": 2}, code_hash=code))]
    (change,) = of(fold(Pipeline(0, strategies), records(journal)), BotChanged)
    assert (change.status, change.code) == ("halted", "bad_parameters")
    assert "fast" in change.message
    assert "-1" in change.message


def test_an_external_signal_trades_like_one_of_the_strategy(strategies) -> None:
    rows = [(1, 100, 5), (60,)]
    journal = flip_journal(strategies, rows)
    journal += [
        (BTC.key, events.ExternalSignal(request="x", who="me", at=START, bot_id=1, target=1.0)),
        (BTC.key, batch(BTC, [(61, 100, 5)])),
    ]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert [(s.origin, s.decision) for s in of(derived, Signal)] == [("external", "executed")]
    assert [f.position > 0 for f in of(derived, Fill)] == [True]


def test_a_record_that_is_no_event_becomes_a_dead_letter_and_the_market_goes_on(strategies) -> None:
    journal = records(
        [(BTC.key, BTC), (BTC.key, batch(BTC, [(1, 100, 5)])), (BTC.key, batch(BTC, [(61, 101, 5)]))]
    )
    journal[2] = journal[2]._replace(value=b"\xc1 nonsense")
    derived = fold(Pipeline(0, strategies), journal)
    (letter,) = of(derived, DeadLetter)
    assert (letter.topic, letter.partition, letter.offset) == ("journal", 0, 2)
    assert (letter.data, letter.size) == (b"\xc1 nonsense", 10)
    assert letter.sha256 == sha256(b"\xc1 nonsense").hexdigest()
    assert [item.topic for item in derived] == [SYSTEM, SYSTEM]


def test_a_record_that_makes_the_fold_raise_leaves_no_half_of_itself(strategies) -> None:
    good = batch_of([BTC, ETH], [(BTC, (61, 101, 5)), (ETH, (61, 51, 5))])
    bad = batch_of([BTC, ETH], [(BTC, (61, 101, 5)), (ETH, (61, 2**53, 5))])
    start = [
        (BTC.key, BTC),
        (ETH.key, ETH),
        (BTC.key, batch_of([BTC, ETH], [(BTC, (1, 9, 5)), (ETH, (1, 8, 5))])),
    ]
    with_bad, without = Pipeline(0, strategies), Pipeline(0, strategies)
    derived = fold(with_bad, records([*start, (BTC.key, bad), (BTC.key, good)]))
    expected = fold(without, records([*start, (BTC.key, good)]))
    (letter,) = of(derived, DeadLetter)
    assert letter.offset == 4
    assert str(2**53 * 100) in letter.reason
    content = [(c.timestamp, c.close, c.volume) for c in of(derived, Candle)]
    assert content == [(c.timestamp, c.close, c.volume) for c in of(expected, Candle)]
    assert not of(derived, SourceHole)


def test_rows_of_an_unknown_market_become_a_dead_letter_that_says_what_to_do(strategies) -> None:
    derived = fold(Pipeline(0, strategies), records([(BTC.key, batch(BTC, [(1, 100, 5)]))]))
    (letter,) = of(derived, DeadLetter)
    assert BTC.key in letter.reason
    assert "append a Market event first" in letter.reason


def test_a_command_for_a_bot_that_does_not_exist_becomes_a_dead_letter(strategies) -> None:
    journal = [(BTC.key, BTC), (BTC.key, events.StopBot(request="s", who="me", at=START, bot_id=7))]
    (letter,) = of(fold(Pipeline(0, strategies), records(journal)), DeadLetter)
    assert "bot 7" in letter.reason


def test_a_source_is_folded_once_and_a_hole_in_it_is_reported(strategies) -> None:
    def numbered(sequence: int, epoch: int, second: float) -> Input:
        return Input("feed", epoch, sequence, batch(BTC, [(second, 100, 1)]))

    journal = [
        Input("spec", 1, 0, BTC),
        numbered(0, 1, 1),
        numbered(0, 1, 1),
        numbered(3, 1, 2),
        numbered(0, 2, 3),
    ]
    journal += [numbered(4, 1, 4), Input("clock", 1, 0, batch(BTC, [(60,)]))]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert [(h.expected, h.got) for h in of(derived, SourceHole)] == [(1, 3)]
    assert [c.trades for c in of(derived, Candle)] == [3]


def test_a_trade_id_is_folded_once(strategies) -> None:
    journal = [
        (BTC.key, BTC),
        (BTC.key, batch(BTC, [(1, 100, 1), (2, 100, 1), (3, 100, 1)], ids=[7, 8, 9])),
        (BTC.key, batch(BTC, [(2, 100, 1), (3, 100, 1), (4, 100, 1)], ids=[8, 9, 10])),
        (BTC.key, batch(BTC, [(60,)])),
    ]
    assert [c.trades for c in of(fold(Pipeline(0, strategies), records(journal)), Candle)] == [4]


def test_another_trade_with_a_known_id_is_kept_and_told_once_a_record(strategies) -> None:
    wide = np.array([[7, 1], [8, 1]], np.uint64)
    for ids, name in (([7, 8], "7"), (wide, "0000000000000001" + "0000000000000007")):
        pipeline = Pipeline(0, strategies)
        rows = [(1, 100, 1), (2, 100, 1)], [(3, 100, 1), (4, 101, 1)], [(3, 100, 1), (2, 100, 1)]
        journal = [(BTC.key, BTC), *((BTC.key, batch(BTC, part, ids=ids)) for part in rows)]
        reports = [
            pipeline.fold(record).report for record in records([*journal, (BTC.key, batch(BTC, [(60,)]))])
        ]
        derived = fold(Pipeline(0, strategies), records([*journal, (BTC.key, batch(BTC, [(60,)]))]))
        assert of(derived, IdsReused) == [IdsReused(trades=2, venue_id=name, timestamp=START + 3_000_000_000)]
        assert [c.trades for c in of(derived, Candle)] == [4]
        assert [(r.account.repeats, r.account.ids_reused) for r in reports[2:5]] == [(0, 0), (0, 2), (2, 0)]
        assert pipeline.view().markets[BTC.key].account == Account(repeats=2, ids_reused=2, undecided=0)


def test_a_record_that_is_undone_leaves_no_id_behind(strategies) -> None:
    def traded(*seconds: int, price: int = 100) -> tuple[str, events.TickBatch]:
        return BTC.key, batch(BTC, [(second, price, 1) for second in seconds], ids=seconds)

    too_high = traded(5, 6, price=2**53)
    with_bad, without = Pipeline(0, strategies), Pipeline(0, strategies)
    fold(with_bad, records([(BTC.key, BTC), traded(1, 2), traded(3), too_high, traded(4, 5)]))
    fold(without, records([(BTC.key, BTC), traded(1, 2), traded(3), traded(4, 5)]))
    tapes = [msgspec.msgpack.decode(p.snapshot(), type=PipelineState).tapes for p in (with_bad, without)]
    assert tapes[0][0].seen == tapes[1][0].seen
    assert tapes[0][0].candles != b""


def test_a_grown_scale_rescales_the_state_exactly(strategies) -> None:
    finer = spot(price_scale=3, size_scale=5, cash_scale=10, price_step=1)
    rows = [(1, 100, 500), (61, 101, 500), (121, 102, 500), (122, 102, 500)]
    after = [(130, 110, 7)]
    grown_journal = [*flip_journal(strategies, rows), (BTC.key, finer), (BTC.key, batch(finer, after))]
    grown = of(
        fold(Pipeline(0, strategies), records([*grown_journal, (BTC.key, batch(finer, [(180,)]))])), Candle
    )
    assert [(c.price_scale, c.close) for c in grown] == [(2, 10000), (2, 10100), (3, 110000)]
    assert grown[-1].volume == 1000 * 100 + 7


def test_a_specification_cannot_change_its_kind(strategies) -> None:
    other = spot(contract="linear")
    (letter,) = of(fold(Pipeline(0, strategies), records([(BTC.key, BTC), (BTC.key, other)])), DeadLetter)
    assert "contract" in letter.reason


def test_a_missing_record_stops_the_fold_loudly(strategies) -> None:
    journal = records(
        [(BTC.key, BTC), (BTC.key, batch(BTC, [(1, 1, 1)])), (BTC.key, batch(BTC, [(2, 1, 1)]))]
    )
    pipeline = Pipeline(0, strategies)
    pipeline.fold(journal[0])
    with pytest.raises(PositionError, match="expected offset 1, got 0:2"):
        pipeline.fold(journal[2])


def test_a_late_live_trade_after_the_decision_revises_and_does_not_fill(strategies) -> None:
    rows = [(1, 100, 5), (61, 101, 5), (121,)]
    journal = flip_journal(strategies, rows, [(200,), (125, 500, 5), (201, 102, 5)])
    derived = fold(Pipeline(0, strategies), records(journal))
    assert [c.revision for c in of(derived, Candle) if c.high == 50000] == [1]
    assert [f.price for f in of(derived, Fill)] == [10200]


def test_a_fill_names_its_row_in_the_record_beside_another_market_and_behind_a_repeat(strategies) -> None:
    mixed = [
        (BTC, (1, 100, 5)),
        (BTC, (61, 101, 5)),
        (BTC, (121, 102, 5)),
        (ETH, (121, 9, 1)),
        (BTC, (122, 103, 5)),
    ]
    journal = [*flip_journal(strategies), (ETH.key, ETH)]
    journal += [(BTC.key, batch_of([BTC, ETH], mixed[:3], ids=[1, 2, 3]))]
    journal += [(BTC.key, batch_of([BTC, ETH], [mixed[2], *mixed[3:]], ids=[3, 1, 4]))]
    assert [(f.price, f.row) for f in of(fold(Pipeline(0, strategies), records(journal)), Fill)] == [
        (10300, 2)
    ]


def test_an_overflow_halts_its_bot_and_no_other_and_the_market_goes_on(strategies) -> None:
    code = strategies.latest("sma_cross").code_hash
    journal = [(BTC.key, BTC)]
    journal += [
        (BTC.key, create(BTC, n, params=FLIP, code_hash=code, cash=cash, short=True))
        for n, cash in ((1, 60_000_000_000), (2, 10_000))
    ]
    rows = [
        (1, 100, 5),
        (61, 101, 5),
        (121, 102, 5),
        (122, 102, 5),
        (181, 1020, 5),
        (241, 1030, 5),
        (301, 90, 5),
    ]
    derived = fold(Pipeline(0, strategies), records([*journal, (BTC.key, batch(BTC, rows))]))
    halted = [c for c in of(derived, BotChanged) if c.status == "halted"]
    assert [(c.bot_id, c.code) for c in halted] == [(1, "overflow")]
    assert len([c for c in of(derived, Candle) if c.timeframe == "1m"]) == 5
    assert not of(derived, DeadLetter)
    assert 2 in of(derived, Equity)[-1].bot_id


def test_the_same_external_target_again_is_no_signal(strategies) -> None:
    journal = flip_journal(strategies, [(1, 100, 5), (60,)])
    for n in range(3):
        journal += [
            (BTC.key, events.ExternalSignal(request=f"x{n}", who="me", at=START, bot_id=1, target=1.0))
        ]
        journal += [(BTC.key, batch(BTC, [(61 + n, 100, 5)]))]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert len(of(derived, Signal)) == len(of(derived, Fill)) == 1
    assert ["already" in letter.reason for letter in of(derived, DeadLetter)] == [True, True]


def test_a_stop_after_a_flatten_leaves_the_flattening_order(strategies) -> None:
    journal = flip_journal(strategies, [(1, 100, 5), (61, 101, 5), (121, 102, 5), (122, 102, 5)])
    journal += [(BTC.key, events.StopBot(request="s", who="me", at=START, bot_id=1, flatten=True))]
    journal += [
        (BTC.key, events.StopBot(request="t", who="me", at=START, bot_id=1)),
        (BTC.key, batch(BTC, [(123, 99, 5)])),
    ]
    assert of(fold(Pipeline(0, strategies), records(journal)), Fill)[-1].position == 0


def test_a_halted_bot_that_is_reconfigured_still_says_why_it_was_halted(strategies) -> None:
    journal = [
        *flip_journal(strategies),
        (BTC.key, events.HaltBot(request="h", who="me", at=START, bot_id=1, reason="fire", code="halted")),
    ]
    journal += [
        (
            BTC.key,
            events.ReconfigureBot(request="r", who="me", at=START, bot_id=1, params={"fast": 2, "slow": 5}),
        )
    ]
    last = of(fold(Pipeline(0, strategies), records(journal)), BotChanged)[-1]
    assert (last.status, last.message, last.params) == ("halted", "fire", {"fast": 2, "slow": 5})


@pytest.mark.parametrize(
    "wrong", [{"price_step": 0}, {"multiplier": -1}, {"fee": 10**8}, {"price_scale": 99}]
)
def test_a_specification_that_cannot_be_becomes_a_dead_letter_naming_the_field(strategies, wrong) -> None:
    (letter,) = of(fold(Pipeline(0, strategies), records([(BTC.key, spot(**wrong))])), DeadLetter)
    assert next(iter(wrong)) in letter.reason


def test_a_batch_that_names_a_market_twice_becomes_a_dead_letter(strategies) -> None:
    twice = batch(BTC, [(1, 100, 1)])
    twice = msgspec.structs.replace(twice, markets=twice.markets * 2, market=bytes(2))
    (letter,) = of(fold(Pipeline(0, strategies), records([(BTC.key, BTC), (BTC.key, twice)])), DeadLetter)
    assert "twice" in letter.reason


def test_any_new_signal_cancels_an_order_that_waits(strategies) -> None:
    journal = flip_journal(strategies, [(1, 100, 5), (61, 101, 5), (121,)])
    journal += [
        (BTC.key, batch(BTC, [(181,)])),
        (BTC.key, events.ExternalSignal(request="x", who="me", at=START, bot_id=1, target=-1.0)),
    ]
    derived = fold(Pipeline(0, strategies), records([*journal, (BTC.key, batch(BTC, [(182, 102, 5)]))]))
    assert [(s.target, s.code) for s in of(derived, Signal)] == [(1, "ok"), (-1, "short_not_allowed")]
    assert [o.code for o in of(derived, OrderClosed)] == ["superseded"]
    assert not of(derived, Fill)


def test_a_start_whose_parameters_no_longer_fit_halts_the_bot_and_its_order(strategies) -> None:
    journal = flip_journal(strategies, [(1, 100, 5), (61, 101, 5), (121,)])
    journal += [
        (
            BTC.key,
            events.ReconfigureBot(request="r", who="me", at=START, bot_id=1, params={"fast": 9, "slow": 2}),
        )
    ]
    journal += [(BTC.key, batch(BTC, [(182, 102, 5)]))]
    derived = fold(Pipeline(0, strategies), records(journal))
    assert of(derived, BotChanged)[-1].code == "bad_parameters"
    assert len(of(derived, OrderClosed)) == 1
    assert not of(derived, Fill)


@pytest.mark.parametrize(
    "event",
    [
        events.Gap(market="x" * 899_000, start=START, end=START + 1, reason="long name"),
        events.HaltBot(request="h", who="me", at=START, bot_id=1, reason="y" * 900_000, code="halted"),
        create(BTC, 2, params=FLIP, sizing=Sizing("amount", 5, 10**9)),
        events.ReconfigureBot(
            request="r",
            who="me",
            at=START,
            bot_id=1,
            params=None,
            code_hash=None,
            sizing=Sizing("cash", 0, 0),
        ),
    ],
)
def test_what_no_record_may_hold_becomes_a_short_dead_letter_and_the_market_goes_on(
    strategies, event
) -> None:
    journal = [*flip_journal(strategies), (BTC.key, event), (BTC.key, batch(BTC, [(1, 100, 1), (60,)]))]
    pipeline = Pipeline(0, strategies)
    derived = fold(pipeline, records(journal))
    (letter,) = of(derived, DeadLetter)
    assert len(letter.reason) <= 2_000
    assert len(letter.data) <= DATA_BYTES_MAX
    assert len(of(derived, Candle)) == 1
    assert pipeline.snapshot()


@pytest.mark.parametrize(("epoch", "sequence"), [(2**63 - 1, 0), (0, 2**63 - 1), (-1, 0), (0, -1)])
def test_a_source_position_that_no_state_can_hold_is_refused(strategies, epoch, sequence) -> None:
    pipeline = Pipeline(0, strategies)
    (letter,) = of(fold(pipeline, records([Input("feed", epoch, sequence, BTC)])), DeadLetter)
    assert "feed" in letter.reason
    assert pipeline.snapshot()


def test_a_scale_that_would_overflow_an_amount_is_refused_whole(strategies) -> None:
    journal = flip_journal(strategies, [(1, 100, 5), (61, 101, 5), (121,)], cash=90_000_000_000)
    journal += [(BTC.key, spot(cash_scale=18)), (BTC.key, batch(BTC, [(182, 102, 5)]))]
    pipeline = Pipeline(0, strategies)
    derived = fold(pipeline, records(journal))
    assert len(of(derived, DeadLetter)) == 1
    assert len(of(derived, Candle)) == 3
    assert pipeline.snapshot()
