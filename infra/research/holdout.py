"""The last part of a range, held out until somebody looks at it."""

from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from infra.present.values import iso
from projections.research.run import Prepared


class HoldoutError(ValueError):
    """A share that can't be held out; the message says why, and what can be."""


class Holdout(NamedTuple):
    """What is held out of a range: `share` of its candles in words, those that end in (`after`, `until`], ns,
    `candles` in number. `look`: these are looked at, and nothing else."""

    share: str
    look: bool
    after: int
    until: int
    candles: int

    @property
    def words(self) -> str:
        span = f"{self.candles:,} from {iso(self.after)} to {iso(self.until)}"
        if self.look:
            return f"This run looks at the held-out last {self.share} of the candles alone, {span}."
        return f"Held out and not looked at: the last {self.share} of the candles, {span}."


def apart(
    prepared: Prepared, first: int, last: int, given: float | str | None, *, look: bool
) -> tuple[int, int, Holdout | None]:
    """Of the bars first … last − 1 those to run over, and what is held out of them. Raises `HoldoutError`."""
    if given is None:
        if look:
            raise HoldoutError("look is for what is held out: say how much that is, such as holdout 20%")
        return first, last, None
    share = _share(given)
    begin = last - int((last - first) * share)
    if not first < begin < last:
        raise HoldoutError(
            f"holdout {given} of {last - first:,} candles leaves none on one side: take a longer range"
        )
    until = int(prepared.ends[last - 1])
    held = Holdout(f"{(share * 100).normalize():f} %", look, prepared.begin(begin), until, last - begin)
    return (begin, last, held) if look else (first, begin, held)


def _share(given: float | str) -> Decimal:
    """Above 0 and below 1. Raises `HoldoutError`."""
    text = str(given).strip()
    try:
        share = Decimal(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        share = Decimal("NaN")
    if not share.is_finite() or not 0 < share < 1:
        raise HoldoutError(f"holdout {given}: give a share of the candles, such as 20% or 0.2")
    return share
