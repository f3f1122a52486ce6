"""How events look on the channels."""

import msgspec
import pytest

from infra.channels import Snapshot, forming_body, message, publication
from streams.events import Cause, Checkpoint, Equity, LateTick
from tests.derived import START_NS, bot_changed, candle

CAUSE = Cause(1, 7, 2)


def made(event: object, market: str = "sim:BTC/USDT") -> dict[str, object]:
    found = publication(market, event, CAUSE)  # type: ignore[arg-type] - any event may be asked for
    assert found is not None
    return {"channel": found.channel} | msgspec.json.decode(message(3, found.body))


def test_a_candle_is_published_with_its_venue_decimal_strings_and_iso_times() -> None:
    shown = made(candle(4))
    assert shown["channel"] == "market_data:BTC/USDT"
    assert (shown["seq"], shown["type"], shown["venue"], shown["symbol"]) == (
        3,
        "candle.v1",
        "sim",
        "BTC/USDT",
    )
    assert (shown["close"], shown["end"], shown["forming"]) == ("13000.5", "2018-01-01T00:05:00Z", False)
    assert shown["cause"] == "1:7:2"


def test_a_symbol_may_hold_a_colon() -> None:
    assert made(candle(0), "bitmex:BTC/USD:BTC")["channel"] == "market_data:BTC/USD:BTC"


def test_changes_of_bots_are_system_events() -> None:
    shown = made(bot_changed(4, "sim:BTC/USDT"))
    assert (shown["channel"], shown["bot_id"], shown["status"]) == ("system_events", 4, "running")


@pytest.mark.parametrize(
    "event",
    [
        LateTick(START_NS, 1, 1, 0, 0),
        Equity(START_NS, (1,), (1,), (0,), (1,), 0, 0),
        Checkpoint("a", "b"),
    ],
)
def test_events_without_a_channel_are_not_published(event: object) -> None:
    assert publication("sim:BTC/USDT", event, CAUSE) is None  # type: ignore[arg-type] - any event


def test_a_revision_of_an_old_candle_does_not_replace_the_newest_in_the_snapshot() -> None:
    snapshot = Snapshot()
    for event in (candle(5), candle(6), candle(5, revision=1)):
        found = publication("sim:BTC/USDT", event, CAUSE)
        assert found is not None
        snapshot.add(found)
    shown = msgspec.json.decode(snapshot.encode())
    assert shown["seq"] == 3
    assert [m["end"] for m in shown["messages"]] == ["2018-01-01T00:07:00Z"]


def test_a_snapshot_that_is_read_again_is_the_same() -> None:
    snapshot = Snapshot()
    for market in ("sim:BTC/USDT", "other:BTC/USDT"):
        found = publication(market, candle(1), CAUSE)
        assert found is not None
        snapshot.add(found)
    again = Snapshot.decode(snapshot.encode())
    assert again == snapshot
    assert len(again.newest) == 2


def test_a_forming_candle_says_so() -> None:
    shown = msgspec.json.decode(message(9, forming_body("sim:BTC/USDT", candle(4))))
    assert (shown["seq"], shown["forming"], shown["timeframe"]) == (9, True, "1m")
