"""Values of a source's columns as bars, piece by piece: exact integers at scales that grow with them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.exchange.convert import SAFE_NUMBER, decimals, pc, times
from infra.exchange.forms import ISO, number, time_unit
from projections.fold.money import INT64_MAX
from projections.research.arrays import Growing, Zeros, stretches
from projections.research.bars import Bars, BarsError
from projections.research.columns import I8
from streams.events import CandleFlag

PRICES: Final = ("open", "high", "low", "close")
DECIMALS_MAX: Final = 12
VOLUME_DECIMALS_MAX: Final = 8
VOLUME_MAX: Final = 2**62
SHOWN_CHARACTERS: Final = 200


class Reading:
    """Bars as far as they are read, at the smallest scales that hold all of them."""

    def __init__(self, zeros: Zeros) -> None:
        self._ends, self._prices = Growing(np.int64, zeros), Growing(np.int64, zeros, (4,))
        self._volume, self._flags = Growing(np.int64, zeros), Growing(np.int64, zeros)
        self._scale = self._size_scale = 0
        self._symbols: dict[object, None] = {}
        self._fields: frozenset[str] = frozenset()
        self._unit = ""
        self._rounds = False

    def add(self, columns: Mapping[str, pa.Array]) -> None:
        """The next bars, by field. Raises `BarsError` with row and value."""
        before, count = len(self._ends.rows), len(columns["time"])
        self._fields = frozenset(columns)
        if "symbol" in columns:
            self._symbols |= dict.fromkeys(columns["symbol"].unique().to_pylist())
        self._finer(max(_decimals(columns[name], name, DECIMALS_MAX, before) for name in PRICES))
        prices = [_scaled(columns[name], name, self._scale, before) for name in PRICES]
        volume = (
            self._volumes(columns["volume"], before) if "volume" in columns else np.zeros(count, np.int64)
        )
        flags = np.zeros(count, np.int64)
        if "trades" in columns:
            flags[_scaled(columns["trades"], "trades", 0, before) == 0] = int(CandleFlag.EMPTY)
        self._ends.add(self._times(columns["time"], before))
        self._prices.add(np.column_stack(prices))
        self._volume.add(volume)
        self._flags.add(flags)

    def read(self) -> tuple[Bars, list[str]]:
        """All of them, with what was assumed. Raises `BarsError`."""
        if len(self._symbols) > 1:
            shown = ", ".join(map(str, list(self._symbols)[:5]))
            raise BarsError(
                f"it holds {len(self._symbols)} markets ({shown}): a backtest has one, take its rows alone"
            )
        ends, volume, flags = self._ends.rows, self._volume.rows, self._flags.rows
        if not len(ends):
            raise BarsError("there is no bar in it")
        notes: list[str] = []
        if "volume" not in self._fields:
            notes.append("It has no volume: strategies see 0.")
        elif self._rounds:
            notes.append(f"Its volumes are rounded to {VOLUME_DECIMALS_MAX} decimals.")
        if "trades" not in self._fields and volume.any():
            for rows in stretches(len(ends)):
                flags[rows] = np.where(volume[rows] == 0, int(CandleFlag.EMPTY), 0)
        rows = range(1, len(ends) + 1)
        return Bars(ends, self._prices.rows, volume, flags, rows, self._scale, self._size_scale), notes

    def _times(self, column: pa.Array, before: int) -> I8:
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("ms"))
        elif not self._unit and not pa.types.is_timestamp(column.type):
            values = column.drop_null()
            self._unit = time_unit(values[0].as_py()) if len(values) else ""
        values, ok = times(column, self._unit or ISO)
        if not ok.all():
            at = int(np.argmin(ok))
            raise BarsError(
                f"row {before + at + 1}: time {_shown(column, at)}: it is no time from 1970 to 2116"
            )
        return values

    def _finer(self, scale: int) -> None:
        """All prices at no smaller scale than this."""
        if scale <= self._scale:
            return
        factor = 10 ** (scale - self._scale)
        for rows in stretches(len(self._prices.rows)):
            prices = self._prices.rows[rows]
            for at, name in np.argwhere(np.abs(prices) > INT64_MAX // factor)[:1].tolist():
                value = Decimal(int(prices[at, name])).scaleb(-self._scale)
                raise BarsError(
                    f"row {rows.start + at + 1}: {PRICES[name]} is '{value:f}': {_too_fine(scale)}"
                )
            np.multiply(prices, factor, out=prices)
        self._scale = scale

    def _volumes(self, column: pa.Array, before: int) -> I8:
        """Exactly where few decimals do it, else rounded: no money is made of volume."""
        if not self._rounds:
            try:
                self._larger(_decimals(column, "volume", VOLUME_DECIMALS_MAX, before))
                return _scaled(column, "volume", self._size_scale, before)
            except BarsError:
                if any(number(str(value)) is None for value in column.to_pylist()):
                    raise
        self._rounds = True
        self._larger(VOLUME_DECIMALS_MAX)
        rounded: list[int] = []
        for at, value in enumerate(column.to_pylist()):
            exact = number(str(value))
            if exact is None:
                raise BarsError(f"row {before + at + 1}: volume {_shown(column, at)}: {_why(value, 0)}")
            rounded.append(int(round(exact, VOLUME_DECIMALS_MAX).scaleb(VOLUME_DECIMALS_MAX)))
        _check_volume(max(map(abs, rounded), default=0), VOLUME_DECIMALS_MAX)
        return np.array(rounded, np.int64)

    def _larger(self, scale: int) -> None:
        """All volumes at no smaller scale than this."""
        if scale <= self._size_scale:
            return
        factor = 10 ** (scale - self._size_scale)
        for rows in stretches(len(self._volume.rows)):
            volume = self._volume.rows[rows]
            _check_volume(factor * int(np.abs(volume).max()), scale)
            np.multiply(volume, factor, out=volume)
        self._size_scale = scale


def _check_volume(most: int, scale: int) -> None:
    if most > VOLUME_MAX:
        raise BarsError(f"a volume is beyond 64 bits at {scale} decimals; give it in larger units")


def _decimals(column: pa.Array, name: str, most: int, before: int) -> int:
    """The decimals that hold every number of a column."""
    if pa.types.is_integer(column.type) and not column.null_count:
        return 0
    left, x = np.arange(len(column)), _floats(column)
    for scale in range(most + 1):
        k = np.rint(x.astype(np.float64) * 10.0**scale)
        # as `convert` proves it: no other decimal of this scale is that float
        ok = (np.abs(k) < 2.0 ** np.finfo(x.dtype).nmant) & ((k / 10.0**scale).astype(x.dtype) == x)
        left, x = left[~ok], x[~ok]
        if not len(left):
            return scale
    ok = decimals(column.take(pa.array(left)), most).ok
    if ok.all():
        return most
    at = int(left[~ok][0])
    raise BarsError(f"row {before + at + 1}: {name} {_shown(column, at)}: {_why(column[at].as_py(), most)}")


def _floats(column: pa.Array) -> npt.NDArray[np.floating[Any]]:
    """NaN for what is no plain number."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.match_substring_regex(column, SAFE_NUMBER), column, None)
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    return column.fill_null(float("nan")).to_numpy(zero_copy_only=False)


def _why(value: Any, most: int) -> str:
    found = None if value is None else number(str(value))
    if found is None:
        return "it is no number; mend or take out the row"
    return _too_fine(most)


def _too_fine(scale: int) -> str:
    return f"it does not fit {scale} decimals and 64 bits; round it"


def _scaled(column: pa.Array, name: str, scale: int, before: int) -> I8:
    values, ok = decimals(column, scale)
    if not ok.all():
        at = int(np.argmin(ok))
        raise BarsError(
            f"row {before + at + 1}: {name} {_shown(column, at)}: {_why(column[at].as_py(), scale)}"
        )
    return values


def _shown(column: pa.Array, at: int) -> str:
    value = column[at].as_py()
    return "is missing" if value is None else f"is {str(value)[:SHOWN_CHARACTERS]!r}"
