"""Research events, the ledger of trials: what was about to be run over history, and what came of it.

A trial is known by the offset of its first `TrialStarted` in the stream `research`.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from streams.events.base import Event, Int, OnStale, Rate, Scale, Time, Timeframe
from streams.events.journal import Market

TrialKind: TypeAlias = Literal["backtest", "sweep", "batch"]
ParamValue: TypeAlias = Int | float | bool | str | None


class TrialStarted(Event, frozen=True, kw_only=True, tag="trial_started.v1"):
    """A run that has not yet looked at a bar. So many `sets` of parameters go over `candles` that end in
    (`after`, `until`].

    `resumes`: the trial that goes on with this, which is none of its own. `parameters`: of a sweep the values
    of each axis, else of each set one value a column, with its `strategy` where sets name theirs; None where
    a set has no such parameter. `chosen`, `seed`: so many sets of the grid by chance. `strategies`: code
    hashes by name. `origin` says where the bars can be read again, `sha256` is theirs (`Prepared.digest`),
    `specification` the market as it stood at the first, with the costs of the run. `fee` and `slippage`: as
    given for this run, None: the market's. `holdout`: the share of the range that is held out, of which a
    `look` is the held-out part alone. `process`: PID@HOST.
    """

    at: Time
    kind: TrialKind
    market: str
    timeframe: Timeframe
    after: Time
    until: Time
    candles: Int
    origin: dict[str, str]
    sha256: str
    specification: Market
    strategies: dict[str, str]
    sets: Int
    parameters: dict[str, tuple[ParamValue, ...]]
    cash: str
    sizing: str
    annualise: float
    who: str
    process: str
    versions: dict[str, str]
    chosen: Int | None = None
    seed: Int = 0
    short: bool = False
    on_stale: OnStale = "hold"
    cold: bool = False
    fee: Rate | None = None
    slippage: Rate | None = None
    holdout: str = ""
    look: bool = False
    resumes: Int | None = None


class TrialEnded(Event, frozen=True, kw_only=True, tag="trial_ended.v1"):
    """What became of so many `sets` of a trial, from its set number `first` on: it has ended when all of them
    have.

    `parameters` and `metrics` hold a value a set in each column: ratios as floats, money as integers of
    10**-`cash_scale` of `settle`, times and durations in ns, None where there is none. `errors`: of each set,
    "" where there was none. `blocks`: of each set, for 16 equal blocks of the days of the range, sum, sum of
    squares and count of its daily returns, float64 [sets, 16, 3], little-endian.
    """

    trial: Int
    at: Time
    first: Int
    sets: Int
    parameters: dict[str, tuple[ParamValue, ...]]
    metrics: dict[str, tuple[Int | float | None, ...]]
    errors: tuple[str, ...]
    blocks: Annotated[bytes, Meta(description="float64 [sets, 16, 3]", extra={"unit": "floats"})]
    cash_scale: Scale
    settle: str

    def __post_init__(self) -> None:
        columns = [*self.parameters.values(), *self.metrics.values(), self.errors]
        if (
            any(len(column) != self.sets for column in columns)
            or len(self.blocks) != BLOCKS_BYTES * self.sets
        ):
            raise ValueError(f"results of {self.sets} sets in columns of {sorted(set(map(len, columns)))}")


BLOCKS_BYTES = 8 * 16 * 3
"""Of a set."""
ResearchEvent: TypeAlias = TrialStarted | TrialEnded
