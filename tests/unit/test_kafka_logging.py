"""What aiokafka writes while a broker is away."""

import logging

import pytest

from streams.kafka.logging import REPEATED_LINES, quieten


def test_a_client_that_says_the_same_again_and_again_is_heard_a_few_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = logging.getLogger("aiokafka.test_kafka_logging")
    quieten()
    quieten()
    for attempt in range(100):
        client.error("no answer to attempt %d", attempt)
    client.error("it gave up")
    heard = [f"no answer to attempt {attempt}" for attempt in range(REPEATED_LINES)]
    heard[-1] += " (repetitions are not shown for 10 s)"
    assert caplog.messages == [*heard, "it gave up"]
