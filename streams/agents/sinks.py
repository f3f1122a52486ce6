"""What a projector writes to, and how it waits for one that is away."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from streams.records import Record

logger = logging.getLogger(__name__)

RETRY_S = 0.25
RETRY_S_MAX = 2.0


class SinkUnreachableError(Exception):
    """A sink cannot be reached now; the same call may succeed later. The message names it and the reason."""


class Sink(Protocol):
    """Where the projector writes. Called from threads, one call at a time."""

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Last offset applied by (topic, partition); missing: none. Raises `SinkUnreachableError`."""
        ...

    def apply(self, records: Sequence[Record]) -> object:
        """Apply the records and their positions in one transaction.

        Another process may have taken over and gone further: records at or before a stored position
        are refused (raise) or passed over, never applied again; one that leaves a hole is refused.
        A sink that raises `SinkUnreachableError` passes them over: they come again, applied or not.
        """
        ...


async def apply_when_reachable(sink: Sink, records: Sequence[Record], go_on: Callable[[], bool]) -> bool:
    """Apply the records in a thread, again and again while the sink is away.

    `go_on` is asked after each attempt that failed; False gives up, and so does this.
    """
    pause_s = RETRY_S
    attempt = 1
    while True:
        try:
            await asyncio.to_thread(sink.apply, records)
        except SinkUnreachableError as error:
            if not go_on():
                return False
            logger.warning("projecting waits %.2g s after attempt %d: %s", pause_s, attempt, error)
        else:
            if attempt > 1:
                logger.info("projecting goes on; attempt %d succeeded", attempt)
            return True
        await asyncio.sleep(pause_s)
        attempt += 1
        pause_s = min(2 * pause_s, RETRY_S_MAX)
