"""The backends of the log, by the scheme of a URL."""

from urllib.parse import urlsplit

from streams.log import Log, LogError


def open_log(url: str, *, partitions: int | None = None, answer_s: float | None = None) -> Log:
    """Open the log that `url` names, and create its topics where they are missing.

    `embedded:///path/to/folder` or `kafka://host:port[,host:port]`. `partitions` is used at creation
    (default 4); later another count is refused. `answer_s`: silence of a Kafka cluster that is an error
    (default 60 s). Raises `LogError`.
    """
    scheme = urlsplit(url).scheme
    if scheme == "embedded":
        from streams.embedded.log import EmbeddedLog  # noqa: PLC0415 - a backend loads only its own libraries

        return EmbeddedLog(url, partitions=partitions)
    if scheme == "kafka":
        from streams.kafka.log import KafkaLog  # noqa: PLC0415 - a backend loads only its own libraries

        return KafkaLog(url, partitions=partitions, answer_s=answer_s)
    raise LogError(
        f"log URL {url!r}: scheme {scheme!r} is unknown; use embedded:///FOLDER or kafka://HOST:PORT"
    )
