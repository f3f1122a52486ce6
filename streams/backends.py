"""The backends of the log, by the scheme of a URL."""

from urllib.parse import urlsplit

from streams.backend import Backend
from streams.journal import begin
from streams.log import Log, LogError


def backend_of(url: str) -> Backend:
    """The backend of the log that `url` names, `embedded:///path/to/folder` or `kafka://host:port[,host:port]`.

    Looks at nothing but the URL. Raises `LogError`.
    """
    scheme = urlsplit(url).scheme
    if scheme == "embedded":
        from streams.embedded.backend import EmbeddedBackend  # noqa: PLC0415 - loads only its own libraries

        return EmbeddedBackend(url)
    if scheme == "kafka":
        from streams.kafka.backend import KafkaBackend  # noqa: PLC0415 - loads only its own libraries

        return KafkaBackend(url)
    raise LogError(
        f"log URL {url!r}: scheme {scheme!r} is unknown; use embedded:///FOLDER or kafka://HOST:PORT"
    )


def open_log(url: str, *, partitions: int | None = None, answer_s: float | None = None) -> Log:
    """Open the log that `url` names, as `open_bare_log`, and begin the journal partitions that are empty."""
    log = open_bare_log(url, partitions=partitions, answer_s=answer_s)
    try:
        begin(log)
    except BaseException:
        log.close()
        raise
    return log


def open_bare_log(url: str, *, partitions: int | None = None, answer_s: float | None = None) -> Log:
    """Open the log that `url` names, and create its topics where they are missing.

    `partitions` is used at creation (default 4); later another count is refused. `answer_s`: silence of a
    Kafka cluster that is an error (default 60 s). Raises `LogError`.
    """
    return backend_of(url).open(partitions=partitions, answer_s=answer_s)
