"""When a venue's REST may be asked, and how often it was."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from infra.exchange.recent import MINUTE_S, Recent
from infra.exchange.status import RestStatus
from infra.exchange.venues.venue import NotServedError

NOT_SERVED = (403, 451)
TOO_MANY = (418, 429)
TOO_MANY_WAIT_S = 60.0
"""Where the venue does not say how long."""
LOOK_S = 0.5


class NotYetError(RuntimeError):
    """The venue may not be asked now."""


class Rest:
    """One request at a time, and none before the venue allows it; an answer may take several. It outlives a
    client: a ban does not end with a new start.

    `now` is a clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.not_before = 0.0
        self.pages = Recent(MINUTE_S, now())
        """Of trades that were asked for."""
        self._status = 0
        self._asking, self._requesting = asyncio.Lock(), asyncio.Lock()

    async def allowed(self) -> None:
        """Wait until the venue may be asked."""
        while (left := self.not_before - self._now()) > 0:
            await asyncio.sleep(min(left, LOOK_S))

    async def ask(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """What the venue answers. Raises what `request` raises, `NotServedError` where the venue shuts us
        out."""
        async with self._asking:
            await self.allowed()
            self._status = 0
            try:
                return await request()
            except Exception as error:
                if self._status in NOT_SERVED:
                    raise NotServedError(f"not served from here: HTTP {self._status}") from error
                raise

    async def one(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """One request of those that an answer takes. Raises `NotYetError` after one that was refused."""
        async with self._requesting:
            if (left := self.not_before - self._now()) > 0:
                raise NotYetError(f"the venue may not be asked for another {left:.0f} s")
            return await request()

    def status(self, pages_max: int) -> RestStatus:
        """From any thread. `pages_max`: of trades, that may be asked for in a minute."""
        now = self._now()
        return RestStatus(self.pages.count(now), pages_max, max(0.0, self.not_before - now))

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self.obey(status, headers)

    def obey(self, status: int, headers: Mapping[str, str]) -> None:
        """Wait as long as a refusal says."""
        told_s = _told_s({name.lower(): value.strip() for name, value in headers.items()})
        if status in TOO_MANY or (status >= 400 and told_s is not None):
            wait_s = TOO_MANY_WAIT_S if told_s is None else told_s
            self.not_before = max(self.not_before, self._now() + wait_s)


def _told_s(headers: Mapping[str, str]) -> float | None:
    """For how long nothing may be asked, in seconds, or up to a time as the venue's clock has it."""
    told = headers.get("retry-after", "")
    if told.isdecimal():
        return float(told)
    try:
        until, now = parsedate_to_datetime(told), parsedate_to_datetime(headers.get("date", ""))
        return (until - now).total_seconds()
    except (TypeError, ValueError):
        return None
