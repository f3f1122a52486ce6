"""Replay = live, split anywhere = whole, restart anywhere = uninterrupted: over generated journals."""

from itertools import pairwise
from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.present.values import event_to_json
from projections.fold.pipeline import Pipeline
from streams import events
from streams.events import Checkpoint, Fill, Sizing
from streams.records import Input
from tests.journal import MINUTE, START, batch, batch_of, create, emitted, fold, of, records, spot

BTC = spot()
ETH = spot("ETH/USDT", closed="left", grace_ms=2_500, slippage=50_000)
LINEAR = spot("XRP/USD", contract="linear", multiplier=25, multiplier_scale=1, slippage=10_000)
PERP = spot("SOL/USD", contract="inverse", settle="SOL", size_scale=0, fee=5_000)

steps = st.tuples(
    st.floats(0, 40).map(lambda s: round(s, 3)),
    st.integers(-3, 3),
    st.integers(1, 9),
    st.sampled_from("ttttcb"),
)


@st.composite
def rows(draw, least: int = 5, most: int = 60):
    """Trades with a wandering price, clock rows, late and backfilled trades."""
    now, price, made = 0.0, 100, []
    for pause, move, size, kind in draw(st.lists(steps, min_size=least, max_size=most)):
        now += pause
        price = max(price + move, 1)
        if kind == "c":
            made.append((now,))
        elif kind == "b":
            made.append((max(now - 70, 0), price, size, "backfill"))
        else:
            made.append((max(now - (50 if size == 9 else 0), 0), price, size))
    return made


def bots(market, strategies, first: int = 1) -> list[tuple[str, events.JournalEvent]]:
    code = strategies.latest("sma_cross").code_hash
    made = [
        create(market, first, params={"fast": 1, "slow": 2}, code_hash=code, short=True),
        create(
            market, first + 1, params={"fast": 2, "slow": 3}, code_hash=code, sizing=Sizing("amount", 5, 3)
        ),
        create(market, first + 2, params={"fast": 1, "slow": 3}, code_hash=code, timeframe="5m"),
    ]
    return [(market.key, command) for command in made]


def content(derived) -> dict[str, list]:
    """Events by market and topic without what is no content; some have none."""
    found: dict[str, list] = {}
    for item in derived:
        made = [event_to_json(event, content_only=True) for _, event in emitted([item])]
        if with_content := [fields for fields in made if fields]:
            found.setdefault(f"{item.topic} {item.key.decode()}", []).extend(with_content)
    return found


def cuts(draw_from, count: int):
    return st.lists(st.integers(0, count), max_size=6).map(lambda c: sorted({0, count, *c}))


def journal_of(market, strategies, parts, ids=None) -> list:
    """`ids`: those of all rows in turn, −1 for clock rows."""
    made = [(market.key, market), *bots(market, strategies)]
    at = 0
    for part in parts:
        if part:
            made.append((market.key, batch(market, part, ids=ids and ids[at : at + len(part)])))
        at += len(part)
    return made


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, LINEAR, PERP]), rows())
def test_the_same_rows_in_any_batches_give_the_same_content(strategies, data, market, trades) -> None:
    at = data.draw(cuts(data, len(trades)))
    some = st.one_of(st.integers(0, 12), st.integers(0, 2**40))
    ids = [data.draw(some) if len(row) > 1 else -1 for row in trades] if data.draw(st.booleans()) else None
    whole = fold(Pipeline(0, strategies), records(journal_of(market, strategies, [trades], ids)))
    parts = [trades[a:b] for a, b in pairwise(at)]
    split = fold(Pipeline(0, strategies), records(journal_of(market, strategies, parts, ids)))
    assert first_and_last(content(split)) == first_and_last(content(whole))


def first_and_last(found: dict[str, list]) -> dict[str, tuple[list, dict]]:
    """Everything but revisions, and every candle as it is in the end: how often it is told in between depends
    on the batches."""
    return {
        key: (
            [event for event in events if not event.get("revision")],
            {
                (event["timeframe"], event["timestamp"]): event | {"revision": None}
                for event in events
                if "revision" in event
            },
        )
        for key, events in found.items()
    }


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([BTC, ETH, LINEAR, PERP]), rows(least=20, most=120))
def test_only_live_trades_in_open_minutes_fill(strategies, market, trades) -> None:
    """No fill stands in a backfilled row, nor in one whose minute an earlier row had closed."""
    derived = fold(Pipeline(0, strategies), records(journal_of(market, strategies, [trades])))
    grace = market.grace_ms * 10**6
    for filled in of(derived, Fill):
        row = trades[filled.row]
        assert len(row) == 3
        shift = MINUTE if market.closed == "left" else MINUTE - 1
        end = (filled.timestamp + shift) // MINUTE * MINUTE
        before = [START + round(r[0] * 10**9) for r in trades[: filled.row] if len(r) < 4]
        assert all(time <= end + grace for time in before)


@settings(max_examples=40, deadline=None)
@given(st.data(), rows(), rows())
def test_another_market_beside_it_changes_nothing(strategies, data, ours, theirs) -> None:
    alone = fold(Pipeline(0, strategies), records(journal_of(BTC, strategies, [ours])))
    mixed = [(BTC, row) for row in ours]
    for row in theirs:
        mixed.insert(data.draw(st.integers(0, len(mixed))), (ETH, row))
    in_order = {BTC.key: iter(ours), ETH.key: iter(theirs)}
    mixed = [(m, next(in_order[m.key])) for m, _ in mixed]
    journal = [(ETH.key, ETH), (BTC.key, BTC), *bots(BTC, strategies), *bots(ETH, strategies, 11)]
    beside = fold(Pipeline(0, strategies), records([*journal, (BTC.key, batch_of([ETH, BTC], mixed))]))
    ours_only = {key: made for key, made in content(beside).items() if key.endswith(BTC.key)}
    assert ours_only == content(alone)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, LINEAR, PERP]), rows(least=10))
def test_a_restart_at_any_record_gives_the_same_bytes(strategies, data, market, trades) -> None:
    at = data.draw(cuts(data, len(trades)))
    journal = records(journal_of(market, strategies, [trades[a:b] for a, b in pairwise(at)]))
    uninterrupted = Pipeline(0, strategies)
    expected = fold(uninterrupted, journal)
    stop = data.draw(st.integers(0, len(journal)))
    first, second = Pipeline(0, strategies), Pipeline(0, strategies)
    derived = fold(first, journal[:stop])
    second.restore(first.snapshot())
    derived += fold(second, journal[stop:])
    assert derived == expected
    assert second.snapshot() == uninterrupted.snapshot()


@settings(max_examples=40, deadline=None)
@given(st.data(), rows(least=10))
def test_a_record_that_raises_anywhere_leaves_the_state_of_a_journal_without_it(
    strategies, data, trades
) -> None:
    at = data.draw(cuts(data, len(trades)))
    journal = journal_of(BTC, strategies, [trades[a:b] for a, b in pairwise(at)])
    bad = (BTC.key, batch_of([BTC, ETH], [*((BTC, row) for row in trades[:3]), (ETH, (1, 1, 1))]))
    where = data.draw(st.integers(1, len(journal)))
    with_bad = fold(Pipeline(0, strategies), records([*journal[:where], bad, *journal[where:]]))
    without = fold(Pipeline(0, strategies), records(journal))
    kept = {key: made for key, made in content(with_bad).items() if not key.startswith("system")}
    assert kept == content(without)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([BTC, ETH, LINEAR, PERP]), rows(least=20, most=120))
def test_money_balances_after_every_fill(strategies, market, trades) -> None:
    derived = fold(Pipeline(0, strategies), records(journal_of(market, strategies, [trades])))
    fees: dict[int, int] = {}
    realised: dict[int, int] = {}
    for filled in of(derived, Fill):
        fees[filled.bot_id] = fees.get(filled.bot_id, 0) + filled.fee
        realised[filled.bot_id] = realised.get(filled.bot_id, 0) + filled.realised_pnl
        initial = 10_000 * 10**market.cash_scale
        assert filled.cash + filled.cost + fees[filled.bot_id] - realised[filled.bot_id] == initial
        assert filled.size % market.size_step == 0
        assert filled.price % market.price_step == 0


WORDS = st.sampled_from([None, None, "live", "live", "stale", "down", "gap", "stop", "start"])


@st.composite
def stretches(draw):
    """Rows of two sources by turns, of which one gives its word, and says where it missed something."""
    trades = draw(rows(least=20, most=120))
    at = draw(cuts(None, len(trades)))
    return [
        (draw(WORDS), draw(st.sampled_from(["venue", "venue", "file"])), trades[a:b])
        for a, b in pairwise(at)
        if a < b
    ]


def journal_of_stretches(market, strategies, parts, split) -> list[Input]:
    """`split`: whether each row is a record of its own."""
    said: dict[str, events.JournalEvent] = {
        "gap": events.Gap(market=market.key, start=START, end=START + 5 * MINUTE, reason=""),
    }
    made = [Input("spec", 1, 0, market)]
    for (_, command), on_stale in zip(bots(market, strategies), get_args(events.OnStale), strict=True):
        made.append(Input("", 0, 0, msgspec.structs.replace(command, on_stale=on_stale)))
    numbers = {"venue": 0, "file": 0}
    for place, (word, source, trades) in enumerate(parts):
        command = {"request": f"{place}", "who": "ann", "at": START, "bot_id": 1}
        if word in get_args(events.FeedState):
            feed = events.Feed(market=market.key, source="venue", state=word, since=START)
            made.append(Input("", 0, 0, feed))
        elif word is not None:
            commands = {"stop": events.StopBot, "start": events.StartBot}
            made.append(Input("", 0, 0, said[word] if word in said else commands[word](**command)))
        for part in [[row] for row in trades] if split else [trades]:
            made.append(Input(source, 1, numbers[source], batch(market, part)))
            numbers[source] += 1
    return made


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([BTC, ETH, LINEAR, PERP]), stretches())
def test_the_words_of_sources_are_heard_alike_however_their_rows_are_cut(strategies, market, parts) -> None:
    whole, split = (
        fold(
            Pipeline(0, strategies),
            records(journal_of_stretches(market, strategies, parts, cut), key=market.key),
        )
        for cut in (False, True)
    )
    assert first_and_last(content(split)) == first_and_last(content(whole))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, LINEAR, PERP]), stretches())
def test_a_restart_in_a_stale_time_gives_the_same_bytes(strategies, data, market, parts) -> None:
    journal = records(
        journal_of_stretches(market, strategies, parts, data.draw(st.booleans())), key=market.key
    )
    uninterrupted, first, second = (Pipeline(0, strategies) for _ in range(3))
    expected = fold(uninterrupted, journal)
    stop = data.draw(st.integers(0, len(journal)))
    derived = fold(first, journal[:stop])
    second.restore(first.snapshot())
    assert derived + fold(second, journal[stop:]) == expected
    assert second.snapshot() == uninterrupted.snapshot()


def test_checkpoints_stand_in_the_log_at_their_interval_and_name_the_state(strategies) -> None:
    trades = [(n * 2, 100 + n % 7, 1) for n in range(700)]
    journal = records(journal_of(BTC, strategies, [[row] for row in trades]))
    pipeline = Pipeline(0, strategies)
    made = [event for record in journal[:512] for event in of(pipeline.fold(record).derived, Checkpoint)]
    assert [c.state_sha256 for c in made] == [pipeline.state_sha256()]
    assert made[0].journal_sha256 == pipeline.journal_sha256
    assert msgspec.msgpack.decode(pipeline.snapshot())[1] == 511
