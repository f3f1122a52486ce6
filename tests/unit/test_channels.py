"""How events look on the channels."""

import msgspec
import pytest

from infra.channels.messages import Snapshot, forming_body, message, publications
from streams.causes import Cause
from tests.derived import (
    bot_changed,
    candle,
    checkpoint,
    dead_letter,
    equity,
    fill,
    late_tick,
    order,
    order_closed,
)

CAUSE = Cause(1, 7, 2)


def made(event: object, market: str = "sim:BTC/USDT") -> dict[str, object]:
    found = publications(market, event, CAUSE)  # type: ignore[arg-type] - any event may be asked for
    return {"channel": found[0].channel} | msgspec.json.decode(message(3, found[0].body))


def channels_of(event: object) -> list[str]:
    return [found.channel for found in publications("sim:BTC/USDT", event, CAUSE)]  # type: ignore[arg-type] - as above


def test_a_candle_is_published_with_its_venue_decimal_strings_and_iso_times() -> None:
    shown = made(candle(4))
    assert shown["channel"] == "market_data:BTC/USDT"
    assert (shown["seq"], shown["type"], shown["venue"], shown["symbol"]) == (
        3,
        "candle.v1",
        "sim",
        "BTC/USDT",
    )
    assert (shown["close"], shown["timestamp"], shown["forming"]) == (
        "13000.5",
        "2018-01-01T00:05:00Z",
        False,
    )
    assert shown["cause"] == "1:7:2"


def test_a_symbol_may_hold_a_colon() -> None:
    assert made(candle(0), "bitmex:BTC/USD:BTC")["channel"] == "market_data:BTC/USD:BTC"


def test_changes_of_bots_are_system_events() -> None:
    shown = made(bot_changed(4, "sim:BTC/USDT"))
    assert (shown["channel"], shown["bot_id"], shown["status"]) == ("system_events", 4, "running")


@pytest.mark.parametrize("event", [late_tick(), checkpoint()])
def test_events_without_a_channel_are_not_published(event: object) -> None:
    assert channels_of(event) == []


def test_what_happens_to_a_bot_is_on_its_own_channels_too() -> None:
    assert channels_of(bot_changed(4)) == ["system_events", "bot_status:4"]
    assert channels_of(order(4)) == ["trade_updates:4", "bot_status:4"]
    assert channels_of(fill(4)) == ["trade_updates:4", "bot_status:4", "portfolio:4"]
    assert channels_of(order_closed(4)) == ["trade_updates:4", "bot_status:4"]


def test_of_the_marks_of_many_bots_each_portfolio_gets_its_own() -> None:
    money = {"cash": (100, 200), "position": (1, 2), "equity": (150, 250), "peak": (150, 300)}
    marks = equity(4, 7, **money, mark_price=55, cash_scale=2)
    found = publications("sim:BTC/USDT", marks, CAUSE)
    assert [one.channel for one in found] == ["portfolio:4", "portfolio:7"]
    shown = msgspec.json.decode(message(1, found[1].body))
    assert (shown["type"], shown["symbol"], shown["cause"]) == ("equity.v1", "BTC/USDT", "1:7:2")
    assert (shown["bot_id"], shown["cash"], shown["position"], shown["equity"]) == (7, "2.00", "2", "2.50")
    assert (shown["peak"], shown["mark_price"], shown["unrealised_pnl"]) == ("3.00", "5.5", "0.00")
    assert publications("sim:BTC/USDT", marks, CAUSE, "portfolio:7") == found[1:]


def test_an_event_is_the_same_on_every_channel() -> None:
    bodies = {found.body for found in publications("sim:BTC/USDT", bot_changed(4, "sim:BTC/USDT"), CAUSE)}
    assert len(bodies) == 1


def test_a_revision_of_an_old_candle_does_not_replace_the_newest_in_the_snapshot() -> None:
    snapshot = Snapshot()
    for event in (candle(5), candle(6), candle(5, revision=1)):
        snapshot.add(*publications("sim:BTC/USDT", event, CAUSE))
    shown = msgspec.json.decode(snapshot.encode())
    assert shown["seq"] == 3
    assert [m["timestamp"] for m in shown["messages"]] == ["2018-01-01T00:07:00Z"]


def test_a_snapshot_that_is_read_again_is_the_same() -> None:
    snapshot = Snapshot()
    for market in ("sim:BTC/USDT", "other:BTC/USDT"):
        snapshot.add(*publications(market, candle(1), CAUSE))
    again = Snapshot.decode(snapshot.encode())
    assert again == snapshot
    assert len(again.newest) == 2


def test_a_forming_candle_says_so() -> None:
    shown = msgspec.json.decode(message(9, forming_body("sim:BTC/USDT", candle(4))))
    assert (shown["seq"], shown["forming"], shown["timeframe"]) == (9, True, "1m")


def test_a_dead_letter_carries_its_reason_and_the_beginning_of_its_bytes() -> None:
    shown = made(dead_letter(b"\x00\xff{" + b"x" * 1_000, reason="no event"))
    assert (shown["channel"], shown["reason"], shown["size"]) == ("system_events", "no event", 1_003)
    assert shown["data"] == "\x00\\xff{" + "x" * 497
