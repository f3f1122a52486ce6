"""Commands over HTTP: in the journal in the token's name, once by key; and errors in one form."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from infra.commands.requests import Answer, RequestReusedError, Requests
from infra.upkeep.fresh_home import fold_home
from streams.codec import decode_input
from streams.events import Command, CreateBot, HaltBot, ReconfigureBot, StopBot
from streams.records import Position
from streams.topics import JOURNAL
from tests.integration.api.conftest import Api
from tests.integration.api.doors import problem

SPEC = {
    "strategy": "sma_cross", "venue": "test", "symbol": "A/USDT", "timeframe": "1m", "cash": "250.5",
    "params": {"fast": 3}, "sizing": "equity:0.5", "name": "the third", "tags": ["slow", "sma"],
}  # fmt: skip


def journal(api: Api) -> list[tuple[str, Command]]:
    log = api.services.log
    found = []
    for partition in range(log.partitions):
        for record in log.read(JOURNAL, partition):
            event = decode_input(record.value).event
            if isinstance(event, Command):
                found.append((str(Position(JOURNAL, partition, record.offset)), event))
    return found


def at(api: Api, position: str) -> Command:
    return dict(journal(api))[position]


def post(api: Api, path: str, body: Any = None, key: str | None = None, **headers: str) -> httpx.Response:
    if key is not None:
        headers["Idempotency-Key"] = key
    with api.client("trade") as client:
        return client.post(path, json=body, headers=headers)


def test_a_command_stands_in_the_journal_with_the_tokens_name(fresh: Api) -> None:
    answer = post(fresh, "/api/bots/1/stop", {"flatten": True})
    assert answer.status_code == 202
    told = answer.json()
    command = at(fresh, told["positions"][0])
    assert isinstance(command, StopBot)
    assert (command.who, command.bot_id, command.flatten) == ("api:a-trade", 1, True)
    assert (told["bot_id"], told["applied"]) == (1, False)


def test_a_bot_is_created_as_asked(fresh: Api) -> None:
    answer = post(fresh, "/api/bots", SPEC).json()
    command = at(fresh, answer["positions"][0])
    assert isinstance(command, CreateBot)
    assert (command.bot_id, answer["bot_id"], command.start) == (3, 3, False)
    assert (command.cash, command.params["fast"]) == (250_50000000, 3)
    assert (command.name, command.tags) == ("the third", ("slow", "sma"))
    fold_home(fresh.services.log, fresh.services.strategies)
    fresh.fold()
    shown = fresh.get("/api/bots/3")
    assert (shown["name"], shown["tags"], shown["sizing"]) == ("the third", ["slow", "sma"], "equity:0.5")


def test_a_bot_is_warmed_as_asked(fresh: Api) -> None:
    params = {"fast": 3, "slow": 7}
    asked = ({}, {"warm": 12}, {"warm": "all"}, {"cold": True})
    told = [post(fresh, "/api/bots", {**SPEC, "params": params, **one}).json() for one in asked]
    assert [answer["needed"] for answer in told] == [7] * 4
    whole = told[2]["warmed"]
    assert [answer["warmed"] for answer in told] == [7, 12, whole, 0]
    again = post(fresh, "/api/bots", {**SPEC, "params": params}, key="k").json()
    assert post(fresh, "/api/bots", {**SPEC, "params": params}, key="k").json() == again
    assert (again["warmed"], again["needed"]) == (7, 7)
    with fresh.client("trade") as client:
        changed = client.patch("/api/bots/1", json={"params": {"slow": 9}, "warm": 20}).json()
        started = client.post("/api/bots/1/start").json()
    assert (changed["warmed"], started["warmed"]) == (20, 0)
    fold_home(fresh.services.log, fresh.services.strategies)
    fresh.fold()
    assert [fresh.get(f"/api/bots/{bot}")["warmed"] for bot in (1, 3, 4, 5, 6)] == [20, 7, 12, whole, 0]
    values = [fresh.get(f"/api/bots/{bot}/indicators")["items"] for bot in (3, 4, 5)]
    assert values[0] == values[1] == values[2]


def test_every_other_command_is_written(fresh: Api) -> None:
    with fresh.client("trade") as client:
        assert client.post("/api/bots/2/start").status_code == 202
        assert client.post("/api/bots/2/halt", json={"reason": "because"}).status_code == 202
        assert client.patch("/api/bots/1", json={"params": {"slow": 9}, "short": False}).status_code == 202
        assert client.post("/api/bots/1/signals", json={"target": 0.5}).status_code == 202
        halted = client.post("/api/bots/halt", json={"reason": "all"})
    assert len(halted.json()["positions"]) == 4
    mine = [command for _, command in journal(fresh) if command.who == "api:a-trade"]
    kinds = sorted(type(command).__name__ for command in mine)
    assert kinds == sorted(["StartBot", "HaltBot", "ReconfigureBot", "ExternalSignal", *["HaltBot"] * 4])
    (changed,) = (command for command in mine if isinstance(command, ReconfigureBot))
    assert changed.params == {"fast": 3, "slow": 9}
    assert {command.reason for command in mine if isinstance(command, HaltBot)} == {"because", "all"}


def test_a_repeat_with_the_same_key_writes_nothing_and_answers_as_the_first(fresh: Api) -> None:
    first = post(fresh, "/api/bots", SPEC, key="k1")
    count = len(journal(fresh))
    for _ in range(2):
        again = post(fresh, "/api/bots", SPEC, key="k1")
        assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(journal(fresh)) == count
    assert at(fresh, first.json()["positions"][0]).request == "api:a-trade:k1"
    assert post(fresh, "/api/bots", SPEC, key="k2").json()["bot_id"] == 4


def test_repeats_at_once_write_once(fresh: Api) -> None:
    fresh.token("trade")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: post(fresh, "/api/bots", SPEC, key="same").json(), range(8)))
    assert all(answer == answers[0] for answer in answers)
    created = [c for _, c in journal(fresh) if isinstance(c, CreateBot) and c.who == "api:a-trade"]
    assert len(created) == 1


def test_a_key_of_another_request_is_refused_and_of_another_token_is_another(fresh: Api) -> None:
    assert post(fresh, "/api/bots/1/stop", key="k").status_code == 202
    problem(post(fresh, "/api/bots/2/stop", key="k"), 409, "key_reused")
    problem(post(fresh, "/api/bots/1/stop", {"flatten": True}, key="k"), 409, "key_reused")
    with fresh.client("admin") as client:
        answer = client.post("/api/bots/2/stop", headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202


def test_a_key_is_free_again_after_a_refusal(fresh: Api) -> None:
    problem(post(fresh, "/api/bots", {**SPEC, "params": {"fats": 1}}, key="k"), 422, "bad_parameter")
    assert post(fresh, "/api/bots", SPEC, key="k").status_code == 202


def test_an_answer_lost_in_a_crash_is_found_in_the_journal(fresh: Api) -> None:
    """The process died when the command was written and its answer was not."""
    log, requests = fresh.services.log, fresh.services.requests
    manager = fresh.services.manager("api:x")
    written: list[Position] = []

    def dies() -> Answer:
        written.append(manager.stop_bot(1, request="api:x:k"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        requests.once("api:x:k", "f", dies)
    restarted = Requests(fresh.services.settings.home / "requests.db", log)
    count = len(journal(fresh))
    found = restarted.once("api:x:k", "f", lambda: pytest.fail("it was given a second time"))
    assert found.positions == written
    assert len(journal(fresh)) == count
    with pytest.raises(RequestReusedError):
        restarted.once("api:x:k", "other", lambda: pytest.fail("it was given"))
    restarted.close()


def test_the_fold_drops_a_repeat_that_was_written_twice(fresh: Api) -> None:
    manager = fresh.services.manager("api:x")
    for _ in range(2):
        manager.process_signal(1, 0.25, request="twice")
    writes = [place for place, command in journal(fresh) if command.request == "twice"]
    assert len(writes) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/api/bots", {**SPEC, "symbol": "Z/USDT"}, 422, "refused"),
        ("/api/bots", {**SPEC, "strategy": "nothing"}, 404, "unknown_strategy"),
        ("/api/bots", {**SPEC, "params": {"fats": 3}}, 422, "bad_parameter"),
        ("/api/bots", {**SPEC, "timeframe": "2m"}, 422, "invalid_request"),
        ("/api/bots", {**SPEC, "cash": "0"}, 422, "refused"),
        ("/api/bots", {**SPEC, "cash": "1e3"}, 422, "invalid_request"),
        ("/api/bots", {**SPEC, "colour": "red"}, 422, "invalid_request"),
        ("/api/bots", {**SPEC, "warm": 0}, 422, "invalid_request"),
        ("/api/bots", {**SPEC, "warm": "some"}, 422, "invalid_request"),
        ("/api/bots", {**SPEC, "warm": 9, "cold": True}, 422, "invalid_request"),
        ("/api/bots", {**SPEC, "sizing": "equity:2"}, 422, "refused"),
        ("/api/bots/99/start", None, 404, "unknown_bot"),
        ("/api/bots/0/start", None, 422, "invalid_request"),
        ("/api/bots/1/signals", {"target": 2}, 422, "invalid_request"),
        ("/api/bots/99/signals", {"target": 1}, 404, "unknown_bot"),
    ],
)
def test_what_cannot_be_is_refused_with_words_and_nothing_is_written(
    api: Api, path: str, body: Any, status: int, code: str
) -> None:
    before = journal(api)
    problem(post(api, path, body), status, code)
    assert journal(api) == before


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/nothing", 404, "not_found"),
        ("/api/bots/99", 404, "unknown_bot"),
        ("/api/bots/99/fills", 404, "unknown_bot"),
        ("/api/bots/one", 422, "invalid_request"),
        ("/api/candles/test/Z/USDT", 404, "unknown_market"),
        ("/api/candles/test/A/USDT?timeframe=2m", 422, "invalid_request"),
        ("/api/candles/test/A/USDT?from=yesterday", 422, "invalid_request"),
        ("/api/candles/test/A/USDT?from=9999-01-01", 422, "invalid_request"),
        ("/api/candles/test/A/USDT?cursor=1:2:3", 422, "invalid_request"),
        ("/api/candles/test/A/USDT?cursor=abc", 422, "invalid_request"),
        ("/api/candles/test/A/USDT?limit=0", 422, "invalid_request"),
        ("/api/log/journal?partition=4", 404, "unknown_partition"),
        ("/api/log/snapshots", 422, "invalid_request"),
        ("/api/portfolio?bot=1&bot=99", 404, "unknown_bot"),
        ("/api/strategies/nothing", 404, "unknown_strategy"),
    ],
)
def test_every_error_has_the_same_form(api: Api, path: str, status: int, code: str) -> None:
    with api.client("read") as client:
        problem(client.get(path), status, code)


def test_a_wrong_method_has_it_too(api: Api) -> None:
    with api.client("admin") as client:
        answer = client.put("/api/bots")
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
