"""Forming candles → Redis, in a thread beside the mirror: what is not counted waits for no transaction."""

import threading
import time
from collections.abc import Mapping

from infra.channels.messages import forming_body, market_channel
from infra.channels.publisher import Publisher, RedisError
from streams.agents.app import ending_process
from streams.background import Background
from streams.events import Candle

EVERY_S = 0.1


class FormingPublisher:
    """Publishes open candles, each market's at once, and then at most ten times a second.

    Only while the mirror lets it: in a Redis that has come back empty a candle would carry a wrong `seq`.
    """

    def __init__(self, redis_url: str | None) -> None:
        """`redis_url` None: it is never let, and publishes nothing."""
        self._redis_url = redis_url
        self._publisher: Publisher | None = None
        self._changed = threading.Condition()
        self._waiting: dict[str, Candle] = {}
        self._shown_at: dict[str, float] = {}
        self._let = False
        self._thread = Background("forming", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._thread.stopping.set()
            self._changed.notify()
        self._thread.join()
        if self._publisher is not None:
            self._publisher.close()

    def show(self, candles: Mapping[str, Candle]) -> None:
        """The newest open candles, by market."""
        with self._changed:
            self._waiting.update(candles)
            self._changed.notify()

    def let(self, now: bool) -> None:
        """Whether every channel's snapshot stands in Redis."""
        with self._changed:
            self._let = now
            self._changed.notify()

    def _run(self) -> None:
        with ending_process("mirror, forming candles"):
            while (candles := self._due()) is not None:
                try:
                    if self._publisher is None:
                        assert self._redis_url is not None
                        self._publisher = Publisher(self._redis_url)
                    self._publisher.publish_uncounted(
                        (market_channel(market.partition(":")[2]), forming_body(market, candle))
                        for market, candle in candles.items()
                    )
                except RedisError:
                    self._lose()

    def _due(self) -> dict[str, Candle] | None:
        """Waits for the candles whose turn it is; None at the end."""
        with self._changed:
            while not self._thread.stopping.is_set():
                now = time.monotonic()
                turns = {market: self._shown_at.get(market, 0.0) + EVERY_S for market in self._waiting}
                due = [market for market, at in turns.items() if at <= now]
                if self._let and due:
                    self._shown_at.update(dict.fromkeys(due, now))
                    return {market: self._waiting.pop(market) for market in due}
                self._changed.wait(min(turns.values()) - now if self._let and turns else None)
        return None

    def _lose(self) -> None:
        """The mirror, which tries again, says when Redis is back."""
        self.let(False)
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
