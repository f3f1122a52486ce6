"""A small Faust app on the embedded log: `tiny_app.py URL COUNT [ACKNOWLEDGED] [kill]`.

Copies `journal` to `candles` and reads both, printing what it sees. After COUNT records of each it commits
and stops, or kills itself. Of each journal partition it acknowledges offsets below ACKNOWLEDGED only.
"""

import asyncio
import logging
import os
import signal
import sys

import faust
from faust.types import EventT, StreamT

from streams import topics

URL = sys.argv[1]
COUNT = int(sys.argv[2])
ACKNOWLEDGED = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
END = signal.SIGKILL if "kill" in sys.argv else signal.SIGINT

app = faust.App(
    "tiny",
    broker=URL,
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    topic_partitions=4,
    broker_commit_interval=0.05,
    stream_wait_empty=False,
)
seen = {topics.JOURNAL: 0, topics.CANDLES: 0}


def raw(name: str) -> faust.types.TopicT:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def say_record(event: EventT) -> None:
    message = event.message
    headers = dict(message.headers)
    words = (message.key.decode(), message.value.decode(), int(message.timestamp * 1000), headers)
    say(message.topic, message.partition, message.offset, *words)


async def count(topic: str) -> None:
    seen[topic] += 1
    if all(n >= COUNT for n in seen.values()):
        await app.consumer.commit()
        say("committed")
        os.kill(os.getpid(), END)


@app.agent(raw(topics.JOURNAL), concurrency=1)
async def copy(stream: StreamT) -> None:
    async for event in stream.noack().events():
        say_record(event)
        message = event.message
        sent = await app.producer.send(
            topics.CANDLES, message.key, message.value, None, message.timestamp, {"from": b"journal"}
        )
        sent.add_done_callback(tell)
        if message.offset < ACKNOWLEDGED:
            event.ack()
        await count(topics.JOURNAL)


def tell(sent: "asyncio.Future[faust.types.RecordMetadata]") -> None:
    say("sent", sent.result().partition, sent.result().offset)


@app.agent(raw(topics.CANDLES), concurrency=1)
async def read(stream: StreamT) -> None:
    async for event in stream.events():
        say_record(event)
        await count(topics.CANDLES)


@app.on_partitions_revoked.connect
async def on_revoked(_app: faust.App, revoked: set[faust.types.TP], **_: object) -> None:
    say("revoked", len(revoked))


@app.on_partitions_assigned.connect
async def on_assigned(_app: faust.App, assigned: set[faust.types.TP], **_: object) -> None:
    say("assigned", len(assigned))


@app.on_rebalance_complete.connect
async def on_complete(_app: faust.App, **_: object) -> None:
    say("complete", app.consumer_generation_id, len(app.consumer.assignment()))


if __name__ == "__main__":
    logging.getLogger("faust").setLevel(logging.INFO)
    with open(os.devnull, "w") as spinner:
        worker = faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, stdout=spinner)
        worker.execute_from_commandline()
