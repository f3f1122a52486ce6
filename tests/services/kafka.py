"""A real Kafka broker for tests: Maven's jars, one KRaft process on 127.0.0.1, ended by its pid.

    python -m tests.services.kafka --dir DIR

prints the bootstrap address and serves until it is interrupted. Needs Java 17 and, the first time, Maven
(`tests/services/install.sh`).
"""

import argparse
import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.services.server import Server, free_ports

VERSION = "4.1.0"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
CLUSTER = "dGNwZGFzaGJvYXJkLXRlcw"
START_S = 120.0
JVM = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

# kafka-tools brings the console programs; of its own dependencies these programs need only Kafka's.
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version>
      <exclusions>
        <exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""


class KafkaMissingError(Exception):
    """Java, Maven or the jars cannot be had; the message says which and the way out."""


class Kafka(Server):
    """One broker with its data in `folder`; start, kill and restart keep data and address."""

    start_s = START_S

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.jars = jars()
        port, controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{port}"
        self._properties = folder / "server.properties"
        text = PROPERTIES.format(port=port, controller=controller, data=folder / "data")
        self._properties.write_text(text)

    def command(self) -> list[str]:
        return [*self._java("kafka.Kafka"), str(self._properties)]

    def answers(self) -> bool:
        return asyncio.run(_answers(self.bootstrap))

    def start(self) -> Self:
        """Format the storage if it is new, start the broker, wait until it answers."""
        if not (self.folder / "data" / "meta.properties").exists():
            arguments = ["format", "-t", CLUSTER, "-c", str(self._properties)]
            self._run("kafka.tools.StorageTool", arguments, timeout_s=START_S)
        return super().start()

    def console_consumer(self, topic: str, *options: str, timeout_s: float = 60.0) -> bytes:
        """What Kafka's own `kafka-console-consumer` prints of `topic`, read from its beginning.

        It ends when nothing more has come for a while, or after `--max-messages N`.
        """
        arguments = ["--bootstrap-server", self.bootstrap, "--topic", topic, "--from-beginning"]
        if "--max-messages" not in options:
            arguments += ["--timeout-ms", "3000"]
        program = "org.apache.kafka.tools.consumer.ConsoleConsumer"
        return self._run(program, [*arguments, *options], timeout_s)

    def delete_topics(self, prefix: str) -> None:
        """Delete every topic `prefix.…`, so that a broker that serves many tests stays small."""

        async def delete(admin: AIOKafkaAdminClient) -> None:
            names = [name for name in await admin.list_topics() if name.startswith(f"{prefix}.")]
            if names:
                await admin.delete_topics(names)

        self.administer(delete)

    def create_topic(self, topic: str, partitions: int, **settings: str) -> None:
        """`settings` as Kafka calls them, with `_` for each dot."""
        configs = {name.replace("_", "."): value for name, value in settings.items()}
        new = NewTopic(topic, partitions, 1, topic_configs=configs)
        response = self.administer(lambda admin: admin.create_topics([new]))
        assert [code for _, code, _ in response.topic_errors] == [0]

    def administer(self, work: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
        """What `work` returns of a client that may do everything."""

        async def run() -> Any:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:
                await admin.start()
                return await work(admin)
            finally:
                await admin.close()

        return asyncio.run(run())

    def _run(self, program: str, arguments: list[str], timeout_s: float) -> bytes:
        command = [*self._java(program), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
        # the console consumer reports its own --timeout-ms as an error, with exit code 0
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace")
            raise RuntimeError(f"{program} failed ({done.returncode}): {words}")
        return done.stdout

    def _java(self, program: str) -> list[str]:
        return [_program("java"), *JVM, QUIET, "-cp", f"{self.jars}/*", program]


def jars() -> Path:
    """The folder of Kafka's jars, fetched by Maven once. Raises `KafkaMissingError`."""
    _program("java")
    folder = CACHE / VERSION
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=CACHE))
    (work / "pom.xml").write_text(POM)
    command = [_program("mvn"), "--quiet", "--batch-mode", "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'jars'}"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        shutil.rmtree(work)
        raise KafkaMissingError(f"Maven could not fetch Kafka {VERSION}: {done.stdout[-500:].strip()}")
    if not folder.is_dir():  # another run may have been quicker
        (work / "jars").rename(folder)
    shutil.rmtree(work)
    return folder


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise KafkaMissingError(f"no {name} on this machine: tests/services/install.sh installs it (as root)")
    return path


async def _answers(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    with socket.socket() as probe:  # aiokafka logs an error for every refused connection
        if probe.connect_ex((host, int(port))):
            return False
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a real Kafka broker for tests until interrupted.")
    parser.add_argument("--dir", type=Path, required=True, help="folder of its data; kept")
    broker = Kafka(parser.parse_args().dir.resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broker.start()
        print(broker.bootstrap, flush=True)
        broker.wait()
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()


if __name__ == "__main__":
    main()
