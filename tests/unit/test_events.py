"""Forms that can grow: what a later field with a default does to the bytes of today, and what damage does."""

import inspect
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, replace
from msgspec.structs import fields as fields_of

from infra.strategies.registry import Strategies
from projections.fold.commands import code_check
from projections.fold.pipeline import Pipeline, PipelineState
from streams.codec import TAGS, UndecodableError, decode_input, decode_output, encode, research_of
from streams.events import (
    Clock,
    CreateBot,
    DerivedEvent,
    Event,
    ExternalSignal,
    Feed,
    Gap,
    GapFilled,
    HaltBot,
    IdsReset,
    JournalEvent,
    Market,
    ReconfigureBot,
    RegisterBot,
    ResearchEvent,
    Rules,
    Sizing,
    StartBot,
    StopBot,
)
from streams.genesis import RULES, JournalRefusedError, genesis, rules
from streams.journal import event_tag
from streams.records import Input, Output, Record
from streams.topics import RESEARCH, SYSTEM
from tests.derived import equity
from tests.golden.make import bars, read_journal, read_ledger
from tests.journal import MINUTE, START, batch, create, records, spot

KINDS = sorted(TAGS.items())


@pytest.mark.parametrize(("tag", "kind"), KINDS)
def test_every_event_takes_its_fields_by_name_alone(tag: str, kind: type[Event]) -> None:
    parameters = inspect.signature(kind).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(("tag", "kind"), KINDS)
def test_what_is_at_its_default_is_not_written_however_it_was_made(tag: str, kind: type[Event]) -> None:
    """msgspec tells a default by identity: equal values that are other objects would be written."""
    for field in fields_of(kind):
        if not field.required:
            assert _is_one_object(field), f"{kind.__name__}.{field.name}: default {field.default!r}"


def _is_one_object(field: FieldInfo) -> bool:
    default = field.default
    if isinstance(default, str) and default:
        return default in get_args(field.type)
    return (
        default is None
        or isinstance(default, bool)
        or default in ("", b"", ())
        or (isinstance(default, int) and -5 <= default <= 256)
    )


def test_a_later_field_with_a_default_leaves_the_bytes_of_today_as_they_are() -> None:
    later = msgspec.defstruct(
        "StopBot",
        [("reason", str, "")],
        bases=(StopBot,),
        tag=StopBot.__struct_config__.tag,
        frozen=True,
        kw_only=True,
    )
    given_fields = {"request": "r", "who": "ann", "at": START, "bot_id": 7}
    today = msgspec.msgpack.encode(StopBot(**given_fields))
    assert msgspec.msgpack.encode(later(**given_fields)) == today
    assert msgspec.msgpack.decode(today, type=later).reason == ""


def test_bytes_that_were_decoded_are_written_alike() -> None:
    for record in read_journal()[:-1]:
        assert encode(decode_input(record.value)) == record.value


# ------------------------------------------------------------------ damage


BTC = spot()
SIGNED: dict[str, Any] = {"request": "r", "who": "ann", "at": START}
ONE_OF_EACH: tuple[JournalEvent, ...] = (
    genesis("f" * 32, 1),
    rules(RULES),
    spot(fee=200_000),
    batch(BTC, [(70, 101, 2), (80, 102, 1, "backfill"), (130,)], ids=[7, 8, -1]),
    Clock(time=START + 2 * MINUTE, markets=(BTC.key,)),
    Gap(market=BTC.key, start=START + 1, end=START + MINUTE, reason="cut"),
    GapFilled(market=BTC.key, start=START + 1, end=START + MINUTE),
    IdsReset(market=BTC.key, since=START, who="ann", at=START, reason="maintenance"),
    bars(BTC),
    Feed(market=BTC.key, source="tester", state="stale", since=START, reason="silent"),
    RegisterBot(**SIGNED, market=BTC.key),
    create(BTC, 2),
    StartBot(**SIGNED, bot_id=1, code_hash="b"),
    StopBot(**SIGNED, bot_id=1, flatten=True),
    HaltBot(**SIGNED, bot_id=None, reason="fire", code="halted"),
    ReconfigureBot(**SIGNED, bot_id=1, params={"fast": 2, "slow": 4}, short=True),
    ExternalSignal(**SIGNED, bot_id=1, target=-0.5),
)


def test_one_of_each_kind_is_tried() -> None:
    assert {type(event) for event in ONE_OF_EACH} == set(get_args(JournalEvent))


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=event_tag)
def test_a_record_with_any_bit_flipped_stops_nothing(strategies: Strategies, event: JournalEvent) -> None:
    pipeline, code = Pipeline(0, strategies), strategies.latest("sma_cross").code_hash
    if isinstance(event, CreateBot | StartBot):  # as they are given, whose code is looked for
        event = replace(event, code_hash=code, code_check=code_check("sma_cross", code))
    begun = [(BTC.key, BTC), (BTC.key, create(BTC, params={"fast": 1, "slow": 2}, code_hash=code))]
    world = records([*begun, (BTC.key, batch(BTC, [(1, 100, 5), (61, 101, 5)])), (BTC.key, event)])
    for record in world[:-1]:
        pipeline.fold(record)
    whole = world[-1]
    for bit in range(8 * len(whole.value)):
        flipped = bytearray(whole.value)
        flipped[bit // 8] ^= 1 << bit % 8
        pipeline.fold(whole._replace(offset=pipeline.applied + 1, value=bytes(flipped)))
    assert pipeline.applied == whole.offset + 8 * len(whole.value) - 1


def decode_research(value: bytes) -> ResearchEvent:
    return research_of(Record(RESEARCH, 0, 0, 0, None, value))


@given(st.binary(max_size=200))
def test_whatever_bytes_give_an_event_or_are_undecodable(value: bytes) -> None:
    for decode in (decode_input, decode_output, decode_research):
        try:
            decode(value)
        except UndecodableError as error:
            assert str(error)


HOSTILE = {
    "bad UTF-8": b"\x94\xa1\xff\x00\x00\x81\xa4type\xa8clock.v1",
    "deep nesting": b"\x91" * 100_000,
    "a list as type": msgspec.msgpack.encode(["", 0, 0, {"type": ["clock.v1"]}]),
    "a map as type": msgspec.msgpack.encode(["", 0, 0, {"type": {"clock.v1": 1}}]),
    "rows without end": msgspec.msgpack.encode(
        ["", 0, 0, {
            "type": "ticks.v1", "markets": [["test:BTC/USDT", 2, 3]], "rows": 10**15,
            "kind": b"", "time": b"", "price": b"", "size": b"",
        }]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_a_dead_letter(strategies, name: str) -> None:
    pipeline = Pipeline(0, strategies)
    first, market = records([(spot().key, spot())])
    pipeline.fold(first)
    pipeline.fold(market)
    derived, report = pipeline.fold(market._replace(offset=2, value=HOSTILE[name]))
    assert [item.topic for item in derived] == [SYSTEM]
    assert [letter.offset for letter in report.dead_letters] == [2]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_in_the_ledger_are_told_in_words(name: str) -> None:
    with pytest.raises(UndecodableError):
        decode_research(HOSTILE[name])


def test_results_whose_columns_differ_in_length_are_no_event() -> None:
    *_, ended = read_ledger()
    short = msgspec.msgpack.decode(ended.value) | {"errors": [""]}
    with pytest.raises(UndecodableError, match="results of 2 sets in columns of"):
        decode_research(msgspec.msgpack.encode(short))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_command_with_a_parameter_that_is_not_finite_is_no_event(number: float) -> None:
    value = encode(Input("", 0, 0, create(spot(), params={"fast": 7})))
    whole, without = value.count(b"\xa4fast\x07"), msgspec.msgpack.encode(number)
    assert whole == 1
    with pytest.raises(UndecodableError, match="the parameter fast is"):
        decode_input(value.replace(b"\xa4fast\x07", b"\xa4fast" + without))


def test_a_record_with_a_huge_key_is_a_dead_letter_with_its_beginning(strategies) -> None:
    pipeline = Pipeline(0, strategies)
    (first,) = records([])
    pipeline.fold(first)
    derived, report = pipeline.fold(first._replace(offset=1, key=b"\xff" * 800_000, value=b"\xc1"))
    assert [letter.offset for letter in report.dead_letters] == [1]
    assert max(len(item.key) + len(item.value) for item in derived) < 5_000


# ------------------------------------------------------------------ genesis and rules


def test_a_partition_that_begins_otherwise_is_refused(strategies) -> None:
    _, market = records([(spot().key, spot())])
    with pytest.raises(JournalRefusedError, match="begins with Market, not with a genesis"):
        Pipeline(0, strategies).fold(market._replace(offset=0))


def test_a_damaged_genesis_is_named_and_never_taken_for_another(strategies) -> None:
    (first,) = records([])
    for bit in range(8 * len(first.value)):
        flipped = bytearray(first.value)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(JournalRefusedError, match="journal:0:0: the genesis is damaged"):
            Pipeline(0, strategies).fold(first._replace(value=bytes(flipped)))


def test_a_snapshot_of_later_rules_is_refused(strategies) -> None:
    pipeline = Pipeline(0, strategies)
    (first,) = records([])
    pipeline.fold(first)
    state = msgspec.msgpack.decode(pipeline.snapshot(), type=PipelineState)
    later = msgspec.msgpack.encode(replace(state, rules=RULES + 1))
    with pytest.raises(JournalRefusedError, match="a snapshot of journal partition 0"):
        Pipeline(0, strategies).restore(later)


def test_of_two_geneses_the_first_counts(strategies) -> None:
    (first,) = records([])
    pipeline = Pipeline(0, strategies)
    pipeline.fold(first)
    home = pipeline.view().home
    assert pipeline.fold(first._replace(offset=1)).derived == []
    assert pipeline.view().home == home


def test_rules_of_a_later_release_stop_the_fold_with_a_word(strategies) -> None:
    pipeline = Pipeline(0, strategies)
    first, later = records([("", rules(RULES + 1))])
    pipeline.fold(first)
    with pytest.raises(JournalRefusedError, match=f"folded by rules {RULES + 1}.*install the release"):
        pipeline.fold(later)
    assert pipeline.applied == 0


@pytest.mark.parametrize("wrong", [Rules(number=RULES + 1, sha256="0" * 64), rules(RULES), rules(0)])
def test_rules_that_do_not_fit_are_a_dead_letter(strategies, wrong: Rules) -> None:
    pipeline = Pipeline(0, strategies)
    first, record = records([("", wrong)])
    pipeline.fold(first)
    (letter,) = pipeline.fold(record).report.dead_letters
    assert f"rules {wrong.number}" in letter.reason
    assert pipeline.applied == 1


# ------------------------------------------------------------------ the chain


@pytest.mark.parametrize(
    "change",
    [
        {"time_ms": 5},
        {"key": b"test:ETH/USD"},
        {"headers": (("source", b"other"),)},
        {"headers": (("source", b"tester"), ("type", b""))},
        {"value": encode(Input("tester", 1, 0, Clock(time=START, markets=())))},
    ],
)
def test_a_record_of_another_time_key_value_or_header_gives_another_chain(strategies, change) -> None:
    first, record = records([(spot().key, spot())])
    record = record._replace(headers=(("source", b"tester"),))
    chains = set()
    for one in (record, record._replace(**change)):
        pipeline = Pipeline(0, strategies)
        pipeline.fold(first)
        pipeline.fold(one)
        chains.add(pipeline.journal_sha256)
    assert len(chains) == 2


def test_all_events_of_a_family_have_tags_of_their_own() -> None:
    kinds = [*get_args(JournalEvent), *get_args(DerivedEvent), *get_args(ResearchEvent)]
    assert len(TAGS) == len(kinds)
    assert Market.__struct_config__.tag == "market.v1"
    assert Output(0, 0, (), ()).causes() == []


def integers(kind: object) -> Iterator[tuple[object, ...]]:
    """The metadata of every integer in an annotation."""
    if get_origin(kind) is Annotated and get_args(kind)[0] is int:
        yield get_args(kind)[1:]
    elif kind is int:
        yield ()
    elif isinstance(kind, type) and issubclass(kind, Struct):
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from integers(hint)
    else:
        for part in get_args(kind):
            yield from integers(part)


@pytest.mark.parametrize("kind", [Input, Output, *TAGS.values()])
def test_every_integer_of_a_record_is_one_of_64_bits(kind: type[Struct]) -> None:
    """Write `Int`, or `Scale` for a decimal scale: what is beyond is then refused by whoever decodes it."""
    for metadata in integers(kind):
        limits = [one for one in metadata if isinstance(one, Meta) and one.ge is not None]
        assert any(one.ge >= -(2**63) and one.le is not None and one.le < 2**63 for one in limits), kind


@pytest.mark.parametrize(
    "changes",
    [
        {"price_scale": 19},
        {"cash_scale": -1},
        {"venue": "a:b"},
        {"venue": ""},
        {"symbol": "x" * 101},
        {"symbol": "A/B\n"},
    ],
)
def test_a_market_that_no_door_can_show_is_no_event(changes: dict[str, Any]) -> None:
    with pytest.raises(UndecodableError):
        decode_input(encode(Input("", 0, 0, replace(spot(), **changes))))


def test_a_sizing_below_nothing_is_no_event() -> None:
    command = create(spot(), sizing=Sizing("cash", 5, 0))
    value = encode(Input("", 0, 0, command))
    assert decode_input(value).event == command
    with pytest.raises(UndecodableError, match="sizing"):
        decode_input(encode(Input("", 0, 0, replace(command, sizing=Sizing("cash", -5, 0)))))


def test_marks_whose_columns_differ_in_length_are_no_event() -> None:
    marks = msgspec.to_builtins(Output(0, 1, (0,), (equity(1, 2),)))
    assert decode_output(msgspec.msgpack.encode(marks))
    marks[3][0]["cash"] = (1,)
    with pytest.raises(UndecodableError, match="columns of"):
        decode_output(msgspec.msgpack.encode(marks))
