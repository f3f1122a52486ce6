"""A mirror in this process, as tests use it."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.channels.mirror import Mirror
from infra.process.bundled_redis import RedisServer
from streams.log import Log


@contextmanager
def mirroring(
    log: Log, database_url: str, redis_url: str, server: RedisServer | None = None
) -> Iterator[Mirror]:
    """It is stopped in any case: one that outlives its database ends its process, and that is pytest."""
    mirror = Mirror(log, database_url, redis_url, server)
    mirror.start()
    try:
        yield mirror
    finally:
        mirror.stop()
