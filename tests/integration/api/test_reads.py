"""What the API reads: forms, pages, times, and that its values are those that were recorded."""

import io
import math
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from api.http import models
from infra.exchange import simulated
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import fold_home
from streams.events import Gap, GapFilled
from streams.journal import JournalWriter
from streams.records import Entry
from streams.topics import JOURNAL
from tests.contract.database_rows import candles, fills
from tests.integration.api.conftest import A, Api
from tests.journal import MINUTE, START

A1 = "/api/candles/test/A/USDT"


def pages_of(api: Api, path: str, **params: Any) -> list[dict[str, Any]]:
    """All rows, by following `next`."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, **params, **cursor)
        assert len(page["items"]) <= params.get("limit", 500)
        rows += page["items"]
        if page["next"] is None:
            return rows
        cursor = {"cursor": page["next"]}


def test_candles_are_those_of_the_database(api: Api) -> None:
    expected = candles(api.services.database, "test:A/USDT")
    assert pages_of(api, A1, limit=100) == expected
    assert len(expected) > 300
    assert pages_of(api, A1, limit=70, order="newest") == expected[::-1]


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/api/candles/test/A/USDT", models.Candles),
        ("/api/bots", models.Bots),
        ("/api/bots/1/signals", models.Signals),
        ("/api/bots/1/orders", models.Orders),
        ("/api/bots/1/fills", models.Fills),
    ],
)
def test_rows_that_are_not_checked_at_each_request_are_what_openapi_says(
    api: Api, path: str, model: type[BaseModel]
) -> None:
    told = api.get(path)
    assert told["items"]
    assert model.model_validate(told, extra="forbid").model_dump(mode="json") == told


def test_a_symbol_stands_last_in_the_path_with_its_slash_or_escaped(api: Api) -> None:
    assert api.get("/api/markets/test/B/USD:B") == api.get("/api/markets/test/B%2FUSD%3AB")
    assert api.get("/api/markets/test/B/USD:B")["contract"] == "inverse"
    assert [market["market"] for market in api.get("/api/markets")["items"]] == [
        "test:A/USDT",
        "test:B/USD:B",
    ]


def test_gaps_are_those_of_the_journal_the_open_ones_alone_where_asked(fresh: Api) -> None:
    start = START + 7 * MINUTE
    gap = Gap(
        market=A.key, start=start, end=start + 9, reason="disconnected", final=True, first_id=7, last_id=9
    )
    filled = GapFilled(market=A.key, start=start, end=start + 2)
    JournalWriter(fresh.services.log, "feed", 1).append_all([(A.key, gap), (A.key, filled)])
    told = fresh.get("/api/gaps")["items"]
    assert [(one["end"], one["filled"]) for one in told] == [
        ("2026-01-01T00:07:00.000000002Z", True),
        ("2026-01-01T00:07:00.000000009Z", False),
    ]
    assert fresh.get("/api/gaps", open=True)["items"] == [
        {
            "market": A.key,
            "start": "2026-01-01T00:07:00.000000002Z",
            "end": "2026-01-01T00:07:00.000000009Z",
            "first_id": 7,
            "last_id": 9,
            "reason": "disconnected",
            "final": True,
            "filled": False,
        }
    ]


def test_from_is_exclusive_and_to_inclusive(api: Api) -> None:
    found = api.get(A1, **{"from": "2026-01-01T00:05:00Z", "to": "2026-01-01T00:07:00Z"})["items"]
    assert [row["timestamp"] for row in found] == ["2026-01-01T00:06:00Z", "2026-01-01T00:07:00Z"]


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_files_for_researchers_hold_all_rows(api: Api, form: str) -> None:
    rows = pages_of(api, A1, timeframe="5m")
    with api.client("read") as client:
        answer = client.get(A1, params={"timeframe": "5m", "format": form})
    if form == "csv":
        lines = answer.text.splitlines()
        assert lines[0] == ",".join(rows[0])
        assert lines[0].startswith("timestamp,timeframe,revision,open,high,low,close,volume,trades,")
        assert [line.split(",")[0:4:3] for line in lines[1:]] == [[r["timestamp"], r["open"]] for r in rows]
    else:
        table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
        assert table.num_rows == len(rows)
        assert [f"{value:.2f}" for value in table["close"].to_pylist()] == [r["close"] for r in rows]
        assert str(table.schema.field("timestamp").type) == "timestamp[ns, tz=UTC]"


@pytest.mark.parametrize("what", ["signals", "orders", "fills", "equity"])
@pytest.mark.parametrize("bot", [1, 2])
def test_what_a_bot_did_comes_in_pages_without_gap_or_repeat(api: Api, bot: int, what: str) -> None:
    whole = pages_of(api, f"/api/bots/{bot}/{what}")
    assert len(whole) > 3
    assert pages_of(api, f"/api/bots/{bot}/{what}", limit=2) == whole
    assert pages_of(api, f"/api/bots/{bot}/{what}", limit=3, order="newest") == whole[::-1]


def test_fills_are_those_of_the_command_line(api: Api) -> None:
    mine = pages_of(api, "/api/bots/1/fills")
    assert mine == fills(api.services.database, 1)


@pytest.mark.parametrize("bot", [1, 2])
def test_indicators_are_those_that_the_signals_recorded(api: Api, bot: int) -> None:
    rows = pages_of(api, f"/api/bots/{bot}/indicators", limit=50)
    assert rows[::-1] == pages_of(api, f"/api/bots/{bot}/indicators", limit=77, order="newest")
    values = {row["timestamp"]: row["values"] for row in rows}
    signals = [s for s in pages_of(api, f"/api/bots/{bot}/signals") if s["origin"] == "strategy"]
    assert len(signals) > 3
    for signal in signals:
        assert values[signal["timestamp"]] == signal["values"]
    assert all(value is None or math.isfinite(value) for row in rows for value in row["values"].values())


def test_indicators_begin_anew_where_the_bot_was_reconfigured(api: Api) -> None:
    rows = pages_of(api, "/api/bots/1/indicators")
    cold = [i for i, row in enumerate(rows) if row["values"]["slow_average"] is None]
    assert cold[:4] == [0, 1, 2, 3]
    assert len(cold) > 4
    life = api.services.histories.lives(1, "test:A/USDT")
    assert [dict(one.change.params) for one in life[:2]] == [{"fast": 2, "slow": 5}, {"fast": 3, "slow": 5}]


def test_a_portfolio_sums_by_settle_currency(api: Api) -> None:
    bots = {bot["bot_id"]: bot for bot in api.get("/api/bots")["items"]}
    totals = {total["currency"]: total for total in api.get("/api/portfolio")["totals"]}
    assert set(totals) == {"USDT", "B"}
    assert (totals["USDT"]["equity"], totals["B"]["pnl"]) == (bots[1]["equity"], bots[2]["pnl"])
    assert [t["currency"] for t in api.get("/api/portfolio", bot=2)["totals"]] == ["B"]
    held = {row["bot_id"] for row in api.get("/api/positions")["items"]}
    assert held == {bot_id for bot_id, bot in bots.items() if float(bot["position"])}


def test_strategies_carry_their_parameters_as_json_schema(api: Api) -> None:
    schema = api.get("/api/strategies/sma_cross")["parameters"]
    assert schema["properties"]["fast"] == {
        "type": "integer", "default": schema["properties"]["fast"]["default"], "minimum": 1,
        "maximum": schema["properties"]["fast"]["maximum"],
        "description": schema["properties"]["fast"]["description"],
    }  # fmt: skip
    assert schema["additionalProperties"] is False


def test_the_log_is_read_by_offset_and_by_time(api: Api) -> None:
    ends = {(s["topic"], s["partition"]): s["highwater"] for s in api.get("/api/log")["items"]}
    partition = max(range(4), key=lambda p: ends["bots", p])
    found = api.get("/api/log/bots", partition=partition, offset=1, limit=2)
    assert [record["offset"] for record in found["items"]] == [1, 2]
    assert found["next"] == 3
    everything = api.get("/api/log/bots", partition=partition, limit=1000)["items"]
    kinds = {event["type"] for record in everything for event in record["events"]}
    assert kinds >= {"bot_changed.v1", "equity.v1"}
    assert api.get("/api/log/bots", partition=partition, **{"from": "2100-01-01"})["items"] == []


def test_health_tells_lag_ages_and_versions(api: Api) -> None:
    health = api.get("/api/health")
    assert [p["partition"] for p in health["partitions"]] == [0, 1, 2, 3]
    assert (
        {p["lag"] for p in health["partitions"]} == {p["projection_lag"] for p in health["partitions"]} == {0}
    )
    assert [market["market"] for market in health["markets"]] == ["test:A/USDT", "test:B/USD:B"]
    assert health["bots"] == {"running": 2}
    assert len(health["versions"]["fold"]) == 64


def test_a_dead_letter_tells_where_and_why(fresh: Api, strategies: Strategies) -> None:
    assert fresh.get("/api/dead-letters") == {"items": [], "next": None}
    log = fresh.services.log
    (at,) = log.append([Entry(JOURNAL, b"test:A/USDT", b"<b>no</b>", 0, 1)])
    fold_home(log, strategies)
    fresh.fold()
    (letter,) = pages_of(fresh, "/api/dead-letters", order="newest")
    models.DeadLetter.model_validate(letter, extra="forbid")
    assert (letter["topic"], letter["partition"], letter["offset"]) == at
    assert (letter["timestamp"], letter["market"]) == ("1970-01-01T00:00:00Z", "test:A/USDT")
    assert "not an event record" in letter["reason"]
    assert (letter["data"], letter["size"]) == ("<b>no</b>", 9)
    partition, offset, index = letter["id"].split(":")
    (notice, *_) = fresh.get("/api/log/system", partition=partition, offset=offset)["items"]
    assert notice["events"][int(index)]["event"]["reason"] == letter["reason"]
    assert fresh.get("/api/health")["dead_letters"] == 1


def test_a_market_of_the_simulated_exchange_is_told_to_be_one(fresh: Api) -> None:
    writer = JournalWriter(fresh.services.log, "sim", 0)
    made = simulated.market("BTC/USDT")
    writer.append(made, key=made.key)
    told = {market["market"]: market["simulated"] for market in fresh.get("/api/markets")["items"]}
    assert told == {"sim:BTC/USDT": True, "test:A/USDT": False, "test:B/USD:B": False}
