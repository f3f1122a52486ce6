"""The Kafka log by its URL: who folds it, whether its topics are sound, and how Faust reaches it."""

# aiokafka ships no types
# pyright: reportMissingTypeStubs=false

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from aiokafka.errors import KafkaError

from streams import locks as locking
from streams.backend import Broker, Finding
from streams.kafka.log import ANSWER_S, KafkaLog
from streams.kafka.topics import Cluster, address_of, cluster_of, workers_of
from streams.log import LogError

SEE = "see that the brokers run, and that log_url names what they advertise"


class KafkaBackend:
    """A `streams.backend.Backend`."""

    shared = True

    def __init__(self, url: str) -> None:
        """Raises `LogError` for a URL that names no cluster."""
        self.url = url
        self._address = address_of(url)

    def open(self, *, partitions: int | None = None, answer_s: float | None = None) -> KafkaLog:
        return KafkaLog(self.url, partitions=partitions, answer_s=answer_s)

    # ------------------------------------------------------------ who folds

    def folding(self, worker: str, locks: Path) -> AbstractContextManager[None]:
        """The group shares the partitions out by name; a name is held by a lock in this home."""

        def refusal(holder: str) -> LogError:
            return _is_taken(worker, holder)

        return locking.held(_slot(locks, worker), self.url, "a process", refusal)

    def check_folding(self, worker: str, locks: Path) -> None:
        holder = locking.holder_of(_slot(locks, worker))
        if holder is not None:
            raise _is_taken(worker, holder)

    def folded_by(self, *, answer_s: float | None = None) -> list[str] | None:
        """The members of the workers' group; one that has ended stays for the rest of its session."""
        try:
            return asyncio.run(workers_of(self._address, ANSWER_S if answer_s is None else answer_s))
        except (KafkaError, OSError) as error:
            raise LogError(f"{self._silence(error)}; {SEE}") from error

    # ------------------------------------------------------------ whether it is as it must be

    def examine(self, *, partitions: int | None = None, answer_s: float | None = None) -> Finding:
        answer_s = ANSWER_S if answer_s is None else answer_s
        try:
            cluster = asyncio.run(cluster_of(self._address, partitions, answer_s))
        except LogError as error:
            return Finding("failed", str(error), "do what it says; no worker starts before")
        except Exception as error:  # noqa: BLE001 - aiokafka has many kinds, they all mean the same here
            return Finding("failed", self._silence(error), SEE)
        there = f"{self.url}: Kafka {cluster.release}"
        if cluster.missing:
            message = f"{there}, without the topics {', '.join(cluster.missing)}"
            return Finding("warning", message, "the first start makes them")
        kept = f"all topics there, kept for ever; {cluster.partitions} partitions"
        untried = "whether it may be written is not tried"
        return Finding("ok", f"{there}, {kept}; {_folding(cluster)}; {untried}")

    def _silence(self, error: Exception) -> str:
        return f"{self.url} does not answer: {str(error) or type(error).__name__}"

    def broker(self) -> Broker:
        from streams.kafka.transport import Transport  # noqa: PLC0415 - only a worker needs Faust

        urls = [f"kafka://{server}" for server in self._address.servers]
        return Broker(urls, self._address.topic(""), Transport)


def _folding(cluster: Cluster) -> str:
    if cluster.workers is None:
        return "it does not tell who folds it (allow DescribeGroups)"
    return f"folded by {', '.join(cluster.workers)}" if cluster.workers else "nobody folds it"


def _slot(locks: Path, worker: str) -> Path:
    return locks / f"{quote(worker, safe='')}.lock"


def _is_taken(worker: str, holder: str) -> LogError:
    return LogError(
        f"worker {worker!r} runs already: {holder}; the two would take the partitions from each other."
        " Stop that one, or give this one another name with TCPD_WORKER"
    )
