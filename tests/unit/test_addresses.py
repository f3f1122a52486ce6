"""A process leaves in its home where it can be reached, and no longer than it lives."""

import signal
import subprocess
import sys
from pathlib import Path

from infra.process.addresses import API, REDIS, addresses, announced

TELLER = """
import sys
from pathlib import Path
from infra.process.addresses import API, announced
with announced(Path(sys.argv[1]), API, "http://127.0.0.1:7"):
    print("told", flush=True)
    sys.stdin.read()
"""


def test_what_is_announced_is_found_until_it_ends(tmp_path: Path) -> None:
    assert addresses(tmp_path, API) == []
    with announced(tmp_path, API, "http://127.0.0.1:1"), announced(tmp_path, API, "http://127.0.0.1:22"):
        with announced(tmp_path, REDIS, "redis://127.0.0.1:3/0"):
            assert addresses(tmp_path, API) == ["http://127.0.0.1:1", "http://127.0.0.1:22"]
            assert addresses(tmp_path, REDIS) == ["redis://127.0.0.1:3/0"]
        assert addresses(tmp_path, REDIS) == []
    with announced(tmp_path, API, "http://a:4"):
        assert addresses(tmp_path, API) == ["http://a:4"]


def test_what_a_killed_process_left_is_not_believed(tmp_path: Path) -> None:
    teller = subprocess.Popen(
        [sys.executable, "-c", TELLER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert teller.stdout is not None
        assert teller.stdout.readline() == "told\n"
        assert addresses(tmp_path, API) == ["http://127.0.0.1:7"]
    finally:
        teller.send_signal(signal.SIGKILL)
        teller.communicate()
    assert addresses(tmp_path, API) == []
    assert list((tmp_path / "running").iterdir()), "it is still written there"
