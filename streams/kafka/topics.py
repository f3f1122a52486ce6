"""Names and settings of the streams' topics on Kafka, as they are created and as they are required.

Kafka's defaults would delete the truth after a week and refuse records whose time is far from the broker's,
so both limits are lifted for each topic at its creation, and a topic set otherwise is refused. Needs Kafka
3.6 or newer.
"""

# aiokafka ships no types
# pyright: reportMissingTypeStubs=false

import asyncio
import re
from collections.abc import AsyncGenerator, Container, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.commit import OffsetFetchRequest

from streams import topics
from streams.log import LogError

POLL_S = 0.02
_UNLIMITED = str((1 << 63) - 1)
_EVERY: dict[str, str] = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": _UNLIMITED,
    "message.timestamp.after.max.ms": _UNLIMITED,
}
_KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", **_EVERY}
_COMPACTED = {"cleanup.policy": "compact", **_EVERY}
_PRODUCE, _FETCH, _LIST_OFFSETS = 0, 1, 2
_RELEASES = (
    ("4.2 or newer", _LIST_OFFSETS, 11),
    ("4.1", _PRODUCE, 13),
    ("4.0", _PRODUCE, 12),
    ("3.9", _FETCH, 17),
    ("3.8", _PRODUCE, 11),
    ("3.7", _PRODUCE, 10),
)
"""Newest first: a release, and a request with the version that it brought. The protocol names no release."""
_GROUPS = "__consumer_offsets"
_NO_COORDINATOR = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
MESSAGE_BYTES = 1_048_588
"""Kafka's own default for `max.message.bytes`; a batch with one record of `RECORD_BYTES_MAX` must fit."""


class Address(NamedTuple):
    """What a URL `kafka://host:port[,host:port][/prefix]` names."""

    url: str
    servers: tuple[str, ...]
    prefix: str

    def topic(self, name: str) -> str:
        """The name of a stream on the cluster: `journal`, or `prefix.journal`."""
        return f"{self.prefix}.{name}" if self.prefix else name


def address_of(url: str) -> Address:
    """Raises `LogError`."""
    parts = urlsplit(url)
    servers = tuple(parts.netloc.split(","))
    prefix = parts.path.strip("/")
    if parts.scheme != "kafka" or not all(re.fullmatch(r"[^\s:@/]+:\d+", s) for s in servers):
        raise LogError(f"log URL {url!r}: a Kafka log is named kafka://HOST:PORT[,HOST:PORT][/PREFIX]")
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,200}", prefix):
        raise LogError(f"log URL {url!r}: topic prefix {prefix!r}: use letters, digits, '.', '_' and '-'")
    return Address(url, servers, prefix)


def required(topic: str) -> Mapping[str, str]:
    """The settings of a stream's topic."""
    return _COMPACTED if topic == topics.SNAPSHOTS else _KEPT


class Cluster(NamedTuple):
    """What is found of a cluster: its release, the partition count of the topics that are there, the names of
    those that are not, and the workers of the log; None where the cluster does not tell them."""

    release: str
    partitions: int | None
    missing: list[str]
    workers: list[str] | None


async def ensure_topics(address: Address, partitions: int | None, answer_s: float) -> int:
    """Create the topics that are missing, refuse those set otherwise; the partition count of all.

    The journal comes first: of two programs that create at the same time, its count decides for both.
    Raises `LogError`, and aiokafka's errors when the cluster is away.
    """
    async with _administering(address, answer_s) as admin:
        await _create(admin, address, [topics.JOURNAL], partitions or topics.PARTITIONS_DEFAULT)
        counts = await _partition_counts(admin, address, [topics.JOURNAL])
        count = counts[topics.JOURNAL]
        await _create(admin, address, topics.ALL, count)
        counts = await _partition_counts(admin, address, topics.ALL)
        _check_counts(address, counts, partitions or count)
        await _check_settings(admin, address, topics.ALL)
    return count


async def cluster_of(address: Address, partitions: int | None, answer_s: float) -> Cluster:
    """Looks, and creates nothing. Raises like `ensure_topics`."""
    async with _administering(address, answer_s) as admin:
        found = await _found(admin)
        counts = {n: found[address.topic(n)] for n in topics.ALL if address.topic(n) in found}
        count = next(iter(counts.values()), None)
        if count is not None:
            _check_counts(address, counts, partitions or count)
            await _check_settings(admin, address, counts)
        missing = [address.topic(n) for n in topics.ALL if n not in counts]
        return Cluster(await _release(admin), count, missing, await _workers(admin, address, found))


async def workers_of(address: Address, answer_s: float) -> list[str] | None:
    """The workers of the log; None where the cluster does not tell. Raises aiokafka's errors."""
    async with _administering(address, answer_s) as admin:
        return await _workers(admin, address, await _found(admin))


@asynccontextmanager
async def _administering(address: Address, answer_s: float) -> AsyncGenerator[Any]:
    """An admin client for work that may take `answer_s`."""
    admin: Any = AIOKafkaAdminClient(
        bootstrap_servers=list(address.servers), request_timeout_ms=int(answer_s * 1000)
    )
    try:
        async with asyncio.timeout(answer_s):
            await admin.start()
            yield admin
    finally:
        await admin.close()


async def _found(admin: Any) -> dict[str, int]:
    """The partition count of every topic of the cluster."""
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


async def _release(admin: Any) -> str:
    answer = await admin._send_request(ApiVersionRequest())
    newest = {key: last for key, _, last in answer.api_versions}
    known = (name for name, key, version in _RELEASES if newest.get(key, -1) >= version)
    return next(known, "3.6 or older")


async def _workers(admin: Any, address: Address, found: Container[str]) -> list[str] | None:
    """The names of the group's members; one that has ended stays for the rest of its session."""
    if _GROUPS not in found:  # there was never a group; to ask for one would create their topic
        return []
    group = address.topic(topics.GROUP)
    try:
        ((answer, *_),) = [response.groups for response in await admin.describe_consumer_groups([group])]
    except KafkaError:
        return None
    code, _, _, _, _, members, *_ = answer
    # a static member's id is the name that it gave, a hyphen and a UUID
    return None if code else sorted(member[0][:-37].removeprefix(f"{group}-") for member in members)


async def committed_offsets(address: Address, consumer: str, answer_s: float) -> dict[Any, int]:
    """What a consumer's group has committed, by aiokafka's `TopicPartition`. Raises aiokafka's errors."""
    async with _administering(address, answer_s) as admin:
        found = await _group_offsets(admin, address.topic(consumer))
    return {tp: offset for tp, offset in found.items() if offset >= 0}


async def _group_offsets(admin: Any, group: str) -> dict[Any, int]:
    """As soon as the group has a coordinator that knows: the client's own method takes "not yet" for none."""
    while True:
        with suppress(*_NO_COORDINATOR):
            coordinator = await admin.find_coordinator(group)
            answer = await admin._send_request(OffsetFetchRequest(group, None), coordinator)
            found: dict[Any, int] = {}
            _raise(answer.error_code)
            for topic, partitions in answer.topics:
                for partition, offset, _, code in partitions:
                    _raise(code)
                    found[TopicPartition(topic, partition)] = offset
            return found
        await asyncio.sleep(POLL_S)


def _raise(code: int) -> None:
    if code:
        raise for_code(code)()


async def _create(admin: Any, address: Address, names: Iterable[str], partitions: int) -> None:
    # Asked for all topics, since to ask for one that is missing may create it with the cluster's defaults.
    existing = {topic["topic"] for topic in await admin.describe_topics()}
    missing = [
        NewTopic(
            name=address.topic(name),
            num_partitions=partitions,
            replication_factor=-1,  # the cluster's default
            replica_assignments={},
            topic_configs={**required(name), "max.message.bytes": str(MESSAGE_BYTES)},
        )
        for name in names
        if address.topic(name) not in existing
    ]
    if not missing:
        return
    response = await admin.create_topics(missing)
    for topic, code, message in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise LogError(
                f"log {address.url}: topic {topic!r} could not be created: {message} (Kafka error {code});"
                " allow it, or let the cluster's owner create it as docs/architecture.md says"
            )


async def _partition_counts(admin: Any, address: Address, names: Iterable[str]) -> dict[str, int]:
    """Partition counts by stream, as soon as each partition of each has a leader."""
    wanted = {address.topic(name): name for name in names}
    while True:
        found = {t["topic"]: t["partitions"] for t in await admin.describe_topics()}
        led = {
            name: len(found[topic])
            for topic, name in wanted.items()
            if found.get(topic) and all(p["leader"] >= 0 for p in found[topic])
        }
        if len(led) == len(wanted):
            return led
        await asyncio.sleep(POLL_S)


def _check_counts(address: Address, counts: Mapping[str, int], partitions: int) -> None:
    for name, count in counts.items():
        if count != partitions:
            raise LogError(
                f"log {address.url}: topic {address.topic(name)!r} has {count} partitions, not {partitions}:"
                " leave the number away if all topics have the same, or replay into a new log"
                " (another prefix in the URL)"
            )


async def _check_settings(admin: Any, address: Address, streams: Iterable[str]) -> None:
    names = {address.topic(name): name for name in streams}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in names]
    for response in await admin.describe_configs(resources):
        for code, message, _, topic, entries in response.resources:
            if code:
                raise LogError(
                    f"log {address.url}: the settings of topic {topic!r} cannot be read: {message}"
                    f" (Kafka error {code}); allow DescribeConfigs"
                )
            _check_topic(address, topic, required(names[topic]), {e[0]: e[1] for e in entries})


def _check_topic(address: Address, topic: str, wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    wrong = {name: value for name, value in wanted.items() if found.get(name) != value}
    if int(found["max.message.bytes"]) < topics.RECORD_BYTES_MAX + 1000:
        wrong["max.message.bytes"] = str(MESSAGE_BYTES)
    if wrong:
        name, value = next(iter(wrong.items()))
        change = ",".join(f"{n}={v}" for n, v in wrong.items())
        raise LogError(
            f"log {address.url}: topic {topic!r} has {name}={found.get(name)}, it must be {value}: run"
            f" kafka-configs.sh --bootstrap-server {','.join(address.servers)} --alter --topic {topic}"
            f" --add-config {change}"
        )
