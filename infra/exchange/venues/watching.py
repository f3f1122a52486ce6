"""What a connection has proven, and when it must be asked, given up or dialled anew.

Pure: times are handed in. `now` is a clock that never goes back, in seconds; `venue_now` the venue's time in
ns, which is ours less the skew, or None where that was not measured.
"""

import itertools
from typing import Literal

from streams.events import MINUTE_NS

PONG_S = 2.0
LOOKS = 5
"""A connection is given up after so many looks at it since it was asked first: one late look proves that this
process was slow."""
PING_AGAIN_S = 20.0
RENEW_S = 23 * 3600.0
RENEW_AT_LAST_S = RENEW_S + 1800.0
PAUSE_S = 1.0
"""Without a trade for so long, a connection can be dialled anew."""

CONFIRM_S = 30.0
"""Of a connection whose subscription was not confirmed by then nothing is to be had."""
CONFIRM_LOOKS = 20

Act = Literal["ping", "deaf", "renew", "unconfirmed"]


class Watch:
    """One connection from when it was dialled. It proves nothing before its subscription is confirmed."""

    def __init__(self, now: float, *, silence_s: float, grace_ms: int) -> None:
        self._silence_s, self._grace_ns = silence_s, grace_ms * 1_000_000
        self._dialled = self._heard = self._traded = now
        self._tokens = itertools.count(1)
        self._ping: tuple[bytes, float, int | None] | None = None
        self._looks = 0
        self.subscribed = False
        self.answered = now
        """When it last answered a ping, or was dialled."""
        self._proven = 0

    @property
    def proven(self) -> int:
        """Everything up to then (ns of the venue) has come through this connection; 0: nothing is known."""
        return self._proven if self.subscribed else 0

    @property
    def is_asking(self) -> bool:
        """Whether a ping is out that was not answered."""
        return self._ping is not None

    def heard(self, now: float) -> None:
        """A frame came, of whatever kind."""
        self._heard = now

    def traded(self, time: int, now: float) -> None:
        """A trade came; others of its nanosecond may follow."""
        self._traded = now
        self._proven = max(self._proven, time - 1)

    def ping(self, now: float, venue_now: int | None) -> bytes:
        """A ping goes out with the text that this returns."""
        token = b"%d" % next(self._tokens)
        if self._ping is None:
            self._looks = 0
        self._ping = token, now, venue_now
        return token

    def pong(self, token: bytes, now: float) -> None:
        """An answer to a ping: what the venue sent before it is here."""
        if self._ping is not None and token == self._ping[0]:
            self._proven = max(self._proven, self._ping[2] or 0)
            self._ping, self.answered = None, now

    def act(self, now: float, venue_now: int | None) -> Act | None:
        """What is to be done with it now."""
        if not self.subscribed:
            self._looks += 1
            is_late = now - self._dialled > CONFIRM_S and self._looks > CONFIRM_LOOKS
            return "unconfirmed" if is_late else None
        if self._ping is not None:
            self._looks += 1
            asked = self._ping[1]
            if now - max(asked, self._heard) > PONG_S and self._looks > LOOKS:
                return "deaf"
            if now - asked < PING_AGAIN_S:
                return None
        if now - self._dialled > RENEW_S and now - self._traded > PAUSE_S:
            return "renew"
        if now - self._dialled > RENEW_AT_LAST_S:
            return "renew"
        if now - max(self._heard, self.answered) >= self._silence_s or self._has_minute_to_prove(venue_now):
            return "ping"
        return None

    def silent_s(self, now: float) -> float:
        """For how long nothing came."""
        return now - self._heard

    def _has_minute_to_prove(self, venue_now: int | None) -> bool:
        """Whether a minute has ended, with the grace of its last trades, that no frame has proven."""
        if venue_now is None:
            return False
        return self.minute(venue_now) > self.minute(self._proven)

    def minute(self, time: int) -> int:
        """How many minutes have ended by a time, with their grace."""
        return (time - self._grace_ns) // MINUTE_NS
