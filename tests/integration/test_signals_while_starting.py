"""A signal that comes while a command loads its modules, and that nobody sees then, ends it all the same."""

from pathlib import Path

import pytest

from tests.integration.command_line import CommandLine

SWALLOWED = """
import contextlib, signal, sys

class Swallows:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            with contextlib.suppress(BaseException):
                signal.raise_signal(signal.SIGTERM)

sys.meta_path.insert(0, Swallows())
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("serve", "api.http.app"),
        ("worker", "infra.worker.root"),
        ("collect", "infra.exchange.collecting"),
        ("up", "infra.worker.root"),
    ],
)
def test_a_signal_that_an_import_swallows_ends_a_command_before_it_begins(
    tmp_path: Path, command: str, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SWALLOWED.format(module=module))
    cli = CommandLine(tmp_path / "home", {"PYTHONPATH": str(tmp_path)})
    with cli.start(command, "--json") as started:
        assert started.wait() == 0, started.words()
        assert started.said == "", "it was not ready for anybody"
