"""Rows whose time runs away: one of the year 2081 among today's would make all behind it late.

A row that lies more than a day ahead of the one before is judged by the next: where that goes back, the row
is a bad one. At the end of a file there is no next, so it takes the word of the user.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.exchange.lost import line_of
from infra.exchange.trade_file import BadRowError, Found, Run, TradeFile
from infra.present.values import iso
from streams.events import Market
from streams.pace import DAY_NS

AMONG_OTHERS = "more than a day ahead of the row before, and the next row goes back"
AT_THE_END = (
    "more than a day ahead of the row before, and the last of the file; if it is right, say --until {}"
)


class _Suspect(NamedTuple):
    """A run of one row that has yet to be judged, what came behind it, which is no trade, and the time before
    it."""

    found: list[tuple[float, Found]]
    run: Run
    before: int | None

    @property
    def time(self) -> int:
        return int(self.run.ticks.time[0])


def without_strays(
    file: TradeFile, market: Market, until: int | None = None
) -> Iterator[tuple[float, Found]]:
    """What `TradeFile.rows` gives, where a row that is astray is a bad one. `until`: the user's word (ns), up
    to which the last row may jump."""
    before: int | None = None
    suspect: _Suspect | None = None
    for read, found in file.rows(market):
        if not isinstance(found, Run):
            if suspect is None:
                yield read, found
            else:
                suspect.found.append((read, found))
            continue
        times = found.ticks.time
        if suspect is not None:
            astray = _goes_back(suspect.time, int(times[0]), suspect.before)
            before = suspect.before if astray else suspect.time
            yield read, _bad(file, market, suspect.run, 0, AMONG_OTHERS) if astray else suspect.run
            yield from suspect.found
        bad, previous, judged = _astray(times, before)
        suspect = None if judged else _Suspect([], found.part(len(times) - 1, len(times)), previous)
        before = previous
        start = 0
        for row in [*bad, len(times) - (not judged)]:
            if start < row:
                yield read, found.part(start, row)
            if row in bad:
                yield read, _bad(file, market, found, row, AMONG_OTHERS)
            start = row + 1
    if suspect is not None:
        right = suspect.before is None or (until is not None and suspect.time <= until)
        hint = AT_THE_END.format(iso(suspect.time))
        yield 1.0, suspect.run if right else _bad(file, market, suspect.run, 0, hint)
        yield from suspect.found


def _astray(times: NDArray[np.int64], before: int | None) -> tuple[list[int], int | None, bool]:
    """The rows that are astray, the time of the last that is not, and whether the last row could be judged
    (if not, that is the time before it)."""
    bad: list[int] = []
    queue = deque([0, *(np.flatnonzero(np.diff(times) > DAY_NS) + 1).tolist()])
    while queue:
        row = queue.popleft()
        if row and not (bad and bad[-1] == row - 1):
            before = int(times[row - 1])
        time = int(times[row])
        if before is not None and time - before <= DAY_NS:
            continue
        if row == len(times) - 1:
            return bad, before, False
        if _goes_back(time, int(times[row + 1]), before):
            bad.append(row)
            if not queue or queue[0] != row + 1:
                queue.appendleft(row + 1)
    return bad, int(times[-1]), True


def _goes_back(time: int, next_time: int, before: int | None) -> bool:
    """By more than a day, or nearer to the time before than to the row."""
    far = DAY_NS if before is None else min(DAY_NS, (time - before) // 2)
    return next_time < time - far


def _bad(file: TradeFile, market: Market, run: Run, row: int, hint: str) -> BadRowError:
    return BadRowError(
        file.path, int(run.rows[row]) + 1, file.layout.columns["time"], iso(int(run.ticks.time[row])), hint,
        line_of(run.ticks, row, market), place=run.first_row + row + 1,
    )  # fmt: skip
