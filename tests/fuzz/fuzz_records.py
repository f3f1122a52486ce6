"""Wrong records through every door: `python -m tests.fuzz.fuzz_records [--seconds 1200] [--seed S]`.

Half of the records are mutated as bytes, half as decoded events that are encoded again. They come in *worlds*
of a thousand, each a journal partition with honest records between them; each is folded, and every so many is
made a home that all doors read, with wrong records behind the honest ones of the derived streams too. What
escapes is printed with the command that repeats it: a world follows from the seed and its number.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from infra.strategies.registry import Strategies, load_strategies
from projections.fold.outbox import Outbox
from projections.fold.pipeline import Pipeline
from streams.codec import decode_input, decode_output
from streams.events import Clock, Event, JournalEvent, TickBatch
from streams.records import Input, Output, Record
from streams.ticks import unpack
from streams.topics import JOURNAL, PROJECTED, RECORD_BYTES_MAX
from tests.fuzz.doors import EscapedError, Home, door
from tests.fuzz.mutations import encoded, mutate_bytes, mutate_event, plain
from tests.fuzz.worlds import World
from tests.journal import START, begun

SECONDS = 1_200.0
WORLD_RECORDS = 1_000
HONEST_SHARE = 0.2
"""Of a world's records so many are left as they are: what is wrong falls on a market that trades."""
DOORS_EACH = 16
"""Every so many worlds are read by all doors."""
AHEAD_NS, YEARS_NS = 2 * 86_400 * 10**9, 6 * 366 * 86_400 * 10**9
EVENT_AT = (3,)
"""Where the event of an `Input` stands, as `plain` gives it."""
UNSEEN = 1_000_000
"""A journal offset that no world reaches."""
LONG_KEY = b"a:" + b"b" * 9_000
DERIVED_WRONG = 300
"""Wrong records behind those of each derived stream."""


class Counting(Pipeline):
    """A pipeline that notes which records reached the fold of their kind."""

    def __init__(self, strategies: Strategies) -> None:
        super().__init__(0, strategies)
        self.reached: set[int] = set()

    def _by_kind(self, event: JournalEvent, record: Record, outbox: Outbox) -> None:
        self.reached.add(record.offset)
        super()._by_kind(event, record, outbox)


class Wrong(NamedTuple):
    """The records of a world, and the offsets of those that are mutated, by how."""

    records: list[Record]
    as_bytes: set[int]
    as_events: set[int]


def world(chance: Random, strategies: Strategies) -> Wrong:
    honest = World(chance, strategies)
    found = Wrong([begun()], set(), set())
    for key, value in honest.begin():
        _add(found.records, chance, key.encode(), encoded(value))
    other = found.records[-1].value
    while len(found.as_bytes) + len(found.as_events) < WORLD_RECORDS:
        text, value = honest.next()
        key, offset, as_it_is = text.encode(), len(found.records), encoded(value)
        made = as_it_is
        if chance.random() >= HONEST_SHARE:
            as_event = chance.random() < 0.5
            made = _mutated(chance, value) if as_event else mutate_bytes(chance, as_it_is, other)
            if len(made) > RECORD_BYTES_MAX or _is_slow(made):  # no log takes a larger one
                continue
            (found.as_events if as_event else found.as_bytes).add(offset)
            if chance.random() < 0.02:
                key = mutate_bytes(chance, key, other[:40])
        other = as_it_is
        _add(found.records, chance, key, made)
    return found


def _mutated(chance: Random, value: Input) -> bytes:
    parts = plain(value)
    mutate_event(chance, parts, () if chance.random() < 0.03 else EVENT_AT)
    return _written(parts)


def _written(parts: object) -> bytes:
    try:
        return encoded(parts)
    except RecursionError:  # it nests deeper than is written
        return b"\x91" * 2_000


def _is_slow(value: bytes) -> bool:
    """Whether a row lies years ahead: to close their minutes takes half a minute a record."""
    try:
        event = decode_input(value).event
        times = [event.time] if isinstance(event, Clock) else []
        times = unpack(event).time.tolist() if isinstance(event, TickBatch) else times
    except ValueError:
        return False
    return any(AHEAD_NS < time - START < YEARS_NS for time in times)


def _add(records: list[Record], chance: Random, key: bytes, value: bytes) -> None:
    offset = len(records)
    time_ms = chance.choice((0, -1, 2**62, -(2**62))) if chance.random() < 0.01 else 1_000 + offset
    records.append(Record(JOURNAL, 0, offset, time_ms, key if chance.random() > 0.005 else None, value))


def fold(wrong: Wrong, strategies: Strategies, counts: Counter[str]) -> dict[str, list[Record]]:
    """Fold a world, once more from its midst; what follows, by stream. Raises `EscapedError`."""
    pipeline, derived = Counting(strategies), {topic: list[Record]() for topic in PROJECTED}
    for record in wrong.records:
        with door(f"fold of record {record.offset}, {record.value.hex()[:2_000]}"):
            made, report = pipeline.fold(record)
        counts["dead letters"] += len(report.dead_letters)
        for item in made:
            stream = derived[item.topic]
            stream.append(Record(item.topic, 0, len(stream), item.time_ms, item.key, item.value))
    with door("restore"):
        again = Pipeline(0, strategies)
        again.restore(pipeline.snapshot())
        if again.state_sha256() != pipeline.state_sha256():
            raise EscapedError("a restored state is another one")
    mutated = wrong.as_bytes | wrong.as_events
    counts["records"] += len(mutated)
    counts["as bytes"] += len(wrong.as_bytes)
    counts["as events"] += len(wrong.as_events)
    counts["reaching _by_kind"] += len(mutated & pipeline.reached)
    return derived


def wrong_derived(chance: Random, derived: list[Record], count: int) -> Iterator[Record]:
    """Derived records with something wrong in them, of each kind of event as many, of causes not seen yet."""
    kinds: dict[type[Event], list[tuple[Record, Output]]] = {}
    for record in derived:
        output = decode_output(record.value)
        kinds.setdefault(type(output.events[-1]), []).append((record, output))
    for number in range(count if derived else 0):
        record, output = chance.choice(kinds[chance.choice(list(kinds))])
        other = chance.choice(derived)
        new = replace(output, offset=UNSEEN + number)
        if chance.random() < 0.6:
            parts = plain(new)
            # a cause of the far future would have all that follow taken for repeats: last
            mutate_event(chance, parts, () if number > 0.9 * count else chance.choice(((3,), (3, -1))))
            value = _written(parts)
        else:
            value = mutate_bytes(chance, encoded(new), other.value)
        if len(value) > RECORD_BYTES_MAX:
            continue
        key = chance.choice((record.key, other.key, b"", b"no market", b"\xff:\xfe", LONG_KEY, None))
        time_ms = chance.choice((record.time_ms, 0, -(2**62), 2**62))
        yield record._replace(value=value, key=key if chance.random() < 0.2 else record.key, time_ms=time_ms)


def one(
    seed: int, number: int, strategies: Strategies, kernels: Path, counts: Counter[str], *, doors: bool
) -> None:
    """Fold a world and, where asked for, read it through all doors. Raises `EscapedError`."""
    chance = Random(f"{seed}:{number}")
    wrong = world(chance, strategies)
    derived = fold(wrong, strategies, counts)
    if not doors:
        return
    with tempfile.TemporaryDirectory(prefix="tcpd-fuzz-") as folder:
        home = Home(Path(folder) / "home", wrong.records, strategies, kernels)
        home.proven()
        for topic in PROJECTED:
            made = list(wrong_derived(chance, derived[topic], DERIVED_WRONG))
            home.append(topic, made)
            counts["derived"] += len(made)
        home.read()
        counts["homes"] += 1


def run(seconds: float, seed: int, strategies: Strategies, kernels: Path, first: int = 0) -> Counter[str]:
    """Worlds from number `first` on, for so long. Raises `EscapedError`, whose message has the number."""
    counts: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    number = first
    while number == first or time.monotonic() < ends:
        try:
            one(seed, number, strategies, kernels, counts, doors=number % DOORS_EACH == 0)
        except EscapedError as error:
            repeat = f"python -m tests.fuzz.fuzz_records --seed {seed} --world {number}"
            raise EscapedError(f"{error}\nrepeat it with: {repeat}") from error
        number += 1
    counts["worlds"] = number - first
    return counts


def told(counts: Counter[str]) -> str:
    share = 100 * counts["reaching _by_kind"] / counts["records"]
    events = 100 * counts["as events"] / counts["records"]
    return (
        f"{counts['records']:,} mutated records ({events:.0f} % as events) in {counts['worlds']:,} worlds,"
        f" {share:.1f} % of them reached Pipeline._by_kind, {counts['dead letters']:,} dead letters;"
        f" {counts['homes']} homes,"
        f" {counts['derived']:,} wrong derived records through every door; 0 escapes"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--world", type=int, default=None, help="this one alone, through all doors")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() % 2**32
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tcpd-kernels-") as kernels:
        strategies = load_strategies(Path(kernels))
        try:
            if given.world is not None:
                counts = Counter({"worlds": 1})
                one(seed, given.world, strategies, Path(kernels), counts, doors=True)
            else:
                counts = run(given.seconds, seed, strategies, Path(kernels))
        except EscapedError as error:
            traceback.print_exception(error)
            return 1
    print(told(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
