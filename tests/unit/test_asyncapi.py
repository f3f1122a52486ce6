"""The AsyncAPI document: whole by the rules of 3.0.0, and nothing that happens is missing in it."""

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator

from api.http import sockets
from api.http.asyncapi import EXAMPLES, document
from api.http.failures import CLOSES
from infra.channels.messages import publications, snapshot_key
from streams.causes import Cause
from streams.events import DerivedEvent
from streams.journal import event_tag
from tests.asyncapi import Document

DOCUMENT = Document(document("1.2.3", "127.0.0.1:8321", secure=False, redis_url=None))
CHANNELS: dict[str, Any] = DOCUMENT["channels"]
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
NAME = re.compile(r"[\w.-]+")


def references(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part
        for one in part.values():
            yield from references(one)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)


def test_every_reference_leads_to_something_and_every_part_is_led_to() -> None:
    found = {one["$ref"] for one in references(DOCUMENT.text)}
    for reference in found:
        assert DOCUMENT.resolved({"$ref": reference})
    parts = DOCUMENT["components"]
    assert {f"#/components/{kind}/{name}" for kind in parts for name in parts[kind]} <= found


def test_a_channel_has_the_parameters_of_its_address_a_server_and_messages() -> None:
    for name, channel in CHANNELS.items():
        assert NAME.fullmatch(name)
        assert set(channel.get("parameters", {})) == set(re.findall(r"\{(\w+)\}", channel["address"])), name
        assert all(DOCUMENT.resolved(server)["host"] for server in channel["servers"])
        for key, message in channel["messages"].items():
            assert DOCUMENT.resolved(message)["name"] == key


def test_each_channel_has_one_operation_with_exactly_its_messages() -> None:
    operations = DOCUMENT["operations"].values()
    assert sorted(one["channel"]["$ref"] for one in operations) == sorted(f"#/channels/{c}" for c in CHANNELS)
    for one in operations:
        assert one["action"] == "send"
        place = one["channel"]["$ref"]
        listed = {f"{place}/messages/{key}" for key in DOCUMENT.resolved(one["channel"])["messages"]}
        assert {message["$ref"] for message in one["messages"]} == listed


def test_every_schema_is_one_of_draft_7() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
    for channel in CHANNELS.values():
        Draft7Validator.check_schema(channel.get("bindings", {}).get("ws", {}).get("query", {}))


def test_an_example_is_valid_as_its_own_message_and_as_no_other() -> None:
    for channel, described in CHANNELS.items():
        for name in described["messages"]:
            (example,) = MESSAGES[name]["examples"]
            assert DOCUMENT.kinds(channel, example["payload"]) == [name]


def test_there_is_an_example_of_every_derived_event() -> None:
    assert [type(event) for event in EXAMPLES] == list(get_args(DerivedEvent))


@pytest.mark.parametrize("event", EXAMPLES, ids=event_tag)
def test_an_event_is_in_the_document_on_every_channel_that_it_is_published_on(event: DerivedEvent) -> None:
    for made in publications("sim:BTC/USDT", event, Cause(1, 2, 3)):
        described = CHANNELS[DOCUMENT.channel(made.channel)]
        assert event_tag(event) in described["messages"]
        key = re.sub(r"\{\w+\}", made.channel.partition(":")[2], described["x-snapshot"]["key"])
        assert key == snapshot_key(made.channel)


def test_every_socket_that_the_server_has_is_in_the_document() -> None:
    paths = {route.path.replace(":path", "") for route in sockets.router.routes}
    assert paths == {c["address"] for c in CHANNELS.values() if c["address"].startswith("/")}


def test_every_close_code_is_told_in_words() -> None:
    told = DOCUMENT["servers"]["api"]["x-close-codes"]
    assert set(told) == {str(code) for code, _ in CLOSES.values()} | {"1012"}
    assert all(words in DOCUMENT["servers"]["api"]["description"] for words in told.values())


def price(message: dict[str, Any]) -> None:
    message["close"] = float(message["close"])


def time(message: dict[str, Any]) -> None:
    message["timestamp"] = 1_767_225_900_000_000_000


def seq(message: dict[str, Any]) -> None:
    del message["seq"]


def zero(message: dict[str, Any]) -> None:
    message["seq"] = 0


def more(message: dict[str, Any]) -> None:
    message["vwap"] = "1.0"


def market(message: dict[str, Any]) -> None:
    del message["venue"]


@pytest.mark.parametrize("spoil", [price, time, seq, zero, more, market])
def test_a_message_that_is_wrong_is_no_message(spoil: Callable[[dict[str, Any]], None]) -> None:
    right = MESSAGES["candle.v1"]["examples"][0]["payload"]
    wrong = deepcopy(right)
    spoil(wrong)
    for channel in ("market_data", "market_socket"):
        assert DOCUMENT.kinds(channel, right) == ["candle.v1"]
        assert DOCUMENT.kinds(channel, wrong) == []


def test_a_message_about_the_machinery_has_both_venue_and_symbol_or_neither() -> None:
    letter = MESSAGES["dead_letter.v1"]["examples"][0]["payload"]
    assert DOCUMENT.kinds("system_events", letter | {"venue": "sim", "symbol": "BTC/USDT"})
    assert not DOCUMENT.kinds("system_events", letter | {"venue": "sim"})


def test_where_redis_is_is_told_and_its_password_is_not() -> None:
    text = document(
        "1", "[::1]:443", secure=True, redis_url="rediss://ann:canary@redis.example:6390/2?a=canary"
    )
    assert "canary" not in str(text)
    redis, api = text["servers"]["redis"], text["servers"]["api"]
    assert (redis["protocol"], redis["host"], redis["pathname"]) == ("rediss", "redis.example:6390", "/2")
    assert (api["protocol"], api["host"]) == ("wss", "[::1]:443")
