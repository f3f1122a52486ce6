"""How fast the log grows on the disk, with all that follows from the journal, and what is free there."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.exchange.recent import DAY_S, GROWTH_KNOWN_S, Recent
from infra.exchange.status import DiskStatus


class Disk:
    """Looked at again and again; `now_s` is a clock that never goes back."""

    def __init__(self, log_url: str, now_s: float) -> None:
        url = urlsplit(log_url)
        self._folder = Path(unquote(url.path)) if url.scheme == "embedded" else None
        self._grown = Recent(DAY_S, now_s)
        self._size: int | None = None

    def look(self, now_s: float) -> DiskStatus | None:
        """None where the log is elsewhere. Raises `OSError`."""
        if self._folder is None:
            return None
        size = sum(file.stat().st_size for file in self._folder.iterdir())
        self._grown.add(0 if self._size is None else size - self._size, now_s)
        self._size = size
        known = self._grown.known_s(now_s) >= GROWTH_KNOWN_S
        day = max(0.0, self._grown.a_second(now_s)) * DAY_S
        return DiskStatus(shutil.disk_usage(self._folder).free, day if known else None)
