"""What a worker relies on in Faust's transports, on either home."""

from pathlib import Path
from typing import Any

from faust.types import StreamT

from streams.agents import assigned, go_on_behind, unacknowledged
from streams.app import make_app, raw_topic, run_worker
from streams.log import Entry, open_log
from streams.topics import JOURNAL
from tests.contract.conftest import LogHome


def test_what_is_fetched_while_partitions_are_assigned_comes_again_also_from_the_beginning(
    log_home: LogHome, tmp_path: Path
) -> None:
    url = log_home()
    log = open_log(url, partitions=1)
    log.append([Entry(JOURNAL, b"key", b"value", 1_700_000_000_000, 0) for _ in range(5)])
    app = make_app(url, worker="one", datadir=tmp_path / "faust")
    seen: list[int] = []

    async def reader(stream: StreamT[Any]) -> None:
        async for event in unacknowledged(stream):
            seen.append(event.message.offset)

    async def fetch_too_early(*_: Any, **__: Any) -> None:
        places = assigned(app, (JOURNAL,))
        await go_on_behind(app, dict.fromkeys(places, -1))
        await app.consumer.seek_wait(dict.fromkeys(places, 3))  # where a fetch of three records leaves it

    app.agent(raw_topic(app, JOURNAL), name="reader")(reader)
    app.on_rebalance_complete.connect(fetch_too_early)
    run_worker(app, log, [], until=lambda: 4 in seen)
    log.close()
    assert seen == [0, 1, 2, 3, 4]
