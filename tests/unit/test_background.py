"""Threads beside what a process is for."""

import subprocess
import sys
from threading import Event

import pytest

from streams.background import Background


def test_it_runs_until_it_is_told_to_stop() -> None:
    begun, ended = Event(), Event()

    def run() -> None:
        begun.set()
        background.stopping.wait()
        ended.set()

    background = Background("waiting", run)
    with background:
        assert begun.wait(30)
        assert not ended.is_set()
    assert ended.is_set()


def test_one_that_does_not_end_in_time_is_left_behind() -> None:
    free = Event()
    background = Background("deaf", free.wait)
    background.start()
    assert not background.stop(within_s=0)
    free.set()
    assert background.join(30)


def test_what_it_fails_with_is_logged_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    with Background("sums", lambda: 1 // 0):
        pass
    (record,) = caplog.records
    assert record.getMessage().startswith("sums failed: ZeroDivisionError(")
    assert record.exc_info is not None


def test_a_process_ends_without_it() -> None:
    code = "import threading, streams.background as b; b.Background('deaf', threading.Event().wait).start()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
