"""Anchors that a worker appends to a file outside of its home: one a day, and one at its end."""

import logging
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from projections.audit.anchors import AnchorError, Chains, Link, Place, anchors_in, home_of
from streams.background import Background
from streams.log import Log, LogError

logger = logging.getLogger(__name__)

EVERY_S = 86_400.0
LOOK_S = 600.0


@contextmanager
def anchoring(log: Log, file: Path | None) -> Generator[None]:
    """Append anchors of `log` to `file`, if one is given. What fails is a warning, and is tried again."""
    if file is None:
        yield
        return
    anchors = _Anchors(log, file)
    with anchors.background:
        yield
    anchors.append()


def append_anchor(file: Path, text: str) -> None:
    """Behind what the file holds, on disk when this returns. Raises `OSError`."""
    with file.open("ab") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


class _Anchors:
    def __init__(self, log: Log, file: Path) -> None:
        self._log, self._file = log, file
        self._chains: Chains | None = None
        self.background = Background("anchors", self._keep)

    def _keep(self) -> None:
        """The file's own time says when the last one was written, so that a restart is no new day."""
        while True:
            if not self._file.exists() or time.time() - self._file.stat().st_mtime >= EVERY_S:
                self.append()
            if self.background.stopping.wait(LOOK_S):
                return

    def append(self) -> None:
        try:
            if self._chains is None:
                self._chains = Chains(self._log, self._known())
            append_anchor(self._file, self._chains.text())
        except (LogError, OSError) as error:
            logger.warning("no anchor was appended to %s: %s", self._file, error)

    def _known(self) -> Mapping[Place, Link]:
        """The newest chains of this home in the file, so that only what came since is read."""
        if not self._file.exists():
            return {}
        try:
            anchors = anchors_in(self._file.read_text(encoding="utf-8", errors="replace"), str(self._file))
        except AnchorError as error:
            logger.warning("%s; all of the log is read for the next anchor", error)
            return {}
        home = home_of(self._log)
        return next((anchor.links for anchor in reversed(anchors) if anchor.home == home), {})
