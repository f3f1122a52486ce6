"""What a check finds."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

State = Literal["ok", "warning", "failed"]

ANSWER_S = 4
"""Of one server; less than what doctor waits for a check, so that the server's own message is told."""


class Finding(NamedTuple):
    """One sentence about a part; `hint` stands where something is to be done."""

    part: str
    state: State
    message: str
    hint: str = ""


Findings = Iterator[Finding]
