"""What aiokafka logs, within bounds: while a broker is away its clients write hundreds of lines a second."""

import logging

REPEATED_LINES = 5
REPEATED_S = 10.0


class _Repeated(logging.Filter):
    """Lets a few lines of one place in the code pass in each interval, and counts the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._since = 0.0
        self._seen: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created - self._since > REPEATED_S:
            self._since = record.created
            self._seen.clear()
        place = (record.pathname, record.lineno)
        count = self._seen[place] = self._seen.get(place, 0) + 1
        if count == REPEATED_LINES:
            record.msg = f"{record.msg} (repetitions are not shown for {REPEATED_S:.0f} s)"
        return count <= REPEATED_LINES


def quieten() -> None:
    """Warnings and above, each place a few times in a while; aiokafka must have been imported.

    A filter does not see the lines of child loggers; each module of aiokafka has its own.
    """
    client = logging.getLogger("aiokafka")
    if client.getEffectiveLevel() < logging.WARNING:
        client.setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        module = logging.getLogger(name)
        if name.startswith("aiokafka") and not any(isinstance(f, _Repeated) for f in module.filters):
            module.addFilter(_Repeated())
