"""What became of the sets of a sweep: columns of numbers while they come in, a DataFrame for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from infra.present.values import iso
from infra.research.backtesting import Setting
from infra.research.ledger import NOWHERE, Entry, as_text, axes_as_columns
from infra.research.over_sets import Row
from projections.research.daily import BLOCKS
from projections.research.statistics import DEFINITIONS, Unit
from projections.strategies.code import StrategyCode
from streams.events import Market, Params, TrialStarted

if TYPE_CHECKING:
    from pandas import DataFrame

WHOLE: frozenset[Unit] = frozenset({"count", "money", "time", "duration"})
"""Units of which a number is an integer."""
F8 = npt.NDArray[np.float64]


class Rows:
    """The rows of S sets by their numbers. By metric `values` int64[S] or float64[S], and `known` bool[S]
    where there is one; `done` bool[S]; `errors` by number; `blocks` f8[S, 16, 3], see `blocks_of`."""

    def __init__(self, count: int) -> None:
        self.values: dict[str, npt.NDArray[Any]] = {
            name: np.zeros(count, np.int64 if metric.unit in WHOLE else np.float64)
            for name, metric in DEFINITIONS.items()
        }
        self.known = {name: np.zeros(count, np.bool_) for name in DEFINITIONS}
        self.done = np.zeros(count, np.bool_)
        self.errors: dict[int, str] = {}
        self.blocks: F8 = np.zeros((count, BLOCKS, 3))

    def put(self, numbers: Sequence[int], rows: Sequence[Row], blocks: F8 | None = None) -> None:
        for number, row in zip(numbers, rows, strict=True):
            for name, value in row.values.items():
                if value is not None:
                    self.values[name][number] = value
                    self.known[name][number] = True
            if row.error:
                self.errors[number] = as_text(row.error)
        self.done[list(numbers)] = True
        if blocks is not None:
            self.blocks[list(numbers)] = blocks

    @property
    def ran(self) -> bool:
        """Whether any has numbers: each other one could not be run."""
        return any(known.any() for known in self.known.values())

    def row(self, number: int) -> Row:
        known = {name: self.values[name][number].item() for name in DEFINITIONS if self.known[name][number]}
        values = {name: known.get(name) for name in DEFINITIONS} if known else {}
        return Row(values, self.errors.get(number, ""))


@dataclass
class Swept:
    """The sets of a sweep, checked, and their rows as far as they are done; `invalid`: how many sets of the
    grid the strategy refused. `axes`, `chosen` and `seed`: of what grid they are; `entry`: in the ledger;
    `folder`: where they are kept."""

    setting: Setting
    code: StrategyCode
    sets: list[Params]
    invalid: int
    axes: Mapping[str, Sequence[object]]
    chosen: int | None
    seed: int
    folder: Path | None = field(init=False, default=None)
    rows: Rows = field(init=False)
    entry: Entry = field(init=False, default=NOWHERE)

    def __post_init__(self) -> None:
        self.rows = Rows(len(self.sets))

    @property
    def left(self) -> list[int]:
        """The numbers of those that are not done."""
        return np.flatnonzero(~self.rows.done).tolist()

    @property
    def whole(self) -> bool:
        return bool(self.rows.done.all())

    def best_first(self, metric: str) -> list[int]:
        """The numbers of those that are done, the highest first, those without the number last; equal ones by
        their parameters."""

        def key(number: int) -> tuple[bool, float, list[tuple[str, Any]]]:
            value = self.rows.values[metric][number].item() if self.rows.known[metric][number] else None
            return value is None, 0.0 if value is None else -value, list(self.sets[number].items())

        return sorted(np.flatnonzero(self.rows.done).tolist(), key=key)

    def done(self) -> Iterator[tuple[Params, Row]]:
        for number in np.flatnonzero(self.rows.done).tolist():
            yield self.sets[number], self.rows.row(number)

    def trial(self, who: str, resumes: int | None = None) -> TrialStarted:
        """What the ledger holds of it before it begins, or goes on."""
        asked = {"chosen": self.chosen, "seed": self.seed, "resumes": resumes}
        columns = axes_as_columns(self.axes)
        return self.setting.trial("sweep", [self.code], columns, len(self.sets), who, **asked)

    @property
    def market(self) -> Market:
        """As it stood at the last bar, at whose scales all amounts stand."""
        return self.setting.market

    @property
    def notes(self) -> list[str]:
        return [*notes(self.setting), *self.entry.notes]

    @property
    def frame(self) -> "DataFrame":
        frame = frame_of(self.setting, self.sets, self.rows, self.entry)
        frame.attrs["invalid"] = self.invalid
        return frame


def frame_of(setting: Setting, sets: Sequence[Mapping[str, object]], rows: Rows, entry: Entry) -> "DataFrame":
    """A row a set."""
    import pandas as pd  # noqa: PLC0415 - a third of a second, for those who look at frames

    market = setting.market
    names = dict.fromkeys(name for params in sets for name in params)
    columns: dict[str, Any] = beside_metrics({name: [params.get(name) for params in sets] for name in names})
    for name, metric in DEFINITIONS.items():
        columns[name] = _column(rows.values[name], rows.known[name], metric.unit, market.cash_scale)
    columns["error"] = [rows.errors.get(number, "") for number in range(len(sets))]
    frame = pd.DataFrame(columns)
    told = [*notes(setting), *entry.notes]
    frame.attrs = {"cash_scale": market.cash_scale, "settle": market.settle, "notes": told, **entry.to_dict()}
    return frame


def beside_metrics(params: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that is called as a metric is, has an underscore behind its name."""
    return {f"{name}_" if name in (*DEFINITIONS, "error") else name: of for name, of in params.items()}


def notes(setting: Setting) -> list[str]:
    """What the sets were run over, with which costs, and what was assumed."""
    data, columns = setting.data, setting.data.prepared.columns
    ends = [iso(int(data.prepared.ends[bar])) for bar in (setting.first, setting.last - 1)]
    return [
        f"{columns.market} {columns.timeframe}, {ends[0]} to {ends[1]},"
        f" {setting.last - setting.first:,} candles. {data.words}. {setting.costs.words}.",
        *data.notes,
    ]


def _column(values: npt.NDArray[Any], known: npt.NDArray[np.bool_], unit: Unit, scale: int) -> Any:
    import pandas as pd  # noqa: PLC0415 - as above

    match unit:
        case "count":
            return pd.arrays.IntegerArray(values.copy(), ~known)
        case "time":
            return pd.to_datetime(pd.arrays.IntegerArray(values.copy(), ~known), unit="ns", utc=True)
        case "duration":
            return pd.to_timedelta(pd.arrays.IntegerArray(values.copy(), ~known), unit="ns")
        case "money":
            # as Python divides integers: rounded once
            amounts = np.array([value / 10**scale for value in values.tolist()])
            return np.where(known, amounts, np.nan)
        case _:
            return np.where(known, values, np.nan)
