"""Which of a file's columns is what: by the usual names of columns, or by the shape of a row without names.

A form is one in which an exchange or a tool hands out its trades. One without names is known by the cells of
its first row; one with names is known by them, and named only to say what was recognised, and whose `side`
it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple

Side = Literal["taker", "maker"]
ISO = "iso"

NAMES = {
    "time": "timestamp tradetime transacttime time ts datetime date createdtime T",
    "price": "price p rate tradeprice px",
    "size": "size amount qty quantity volume sz q v",
    "side": "side takerside taker aggressor direction",
    "maker": "isbuyermaker buyerismaker m",
    "id": "id tradeid aggtradeid tid t",
    "symbol": "symbol instrumentname instrument instid productid pair",
}
"""Usual names of columns, best first, written without signs between words and without a unit. Those
of one letter are told apart by case, as Binance does."""
NEEDED = ("time", "price", "size")
EPOCHS_S = (946_684_800, 4_102_444_800)
"""A number without a name is taken for a time between the years 2000 and 2100."""


class FormError(ValueError):
    """Columns that are not understood; the message says what to do."""


@dataclass(frozen=True)
class FileOptions:
    """What the user says about a file; what is left out is taken from its first rows.

    `columns` names a column for each field of `NAMES` (`maker`: whether the buyer was the maker); "" for
    none. `time_unit` is s, ms, us, ns or iso. `signed`: the sign of a size is the taker's side. `side`:
    whose side it is. `header`: whether the first line has the names; `names`: those of a file without.
    `only`: the symbol whose rows are taken. `member`: of a zip.
    """

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    time_unit: str | None = None
    signed: bool | None = None
    side: Side | None = None
    header: bool | None = None
    names: tuple[str, ...] = ()
    only: str | None = None
    member: str | None = None


class Form(NamedTuple):
    """`columns`: the names of a header, or what we call those of a file that has none; `shape`: a letter for
    each cell of a row, see `_CELLS`, or for a header the letter of its time."""

    name: str
    columns: tuple[str, ...]
    shape: str
    side: Side = "taker"


def _form(name: str, columns: str, shape: str, side: Side = "taker") -> Form:
    return Form(name, tuple(columns.split()), shape, side)


BARE = (
    _form("Binance spot trades", "id price qty quote_qty time is_buyer_maker is_best_match", "INNNTBB"),
    _form(
        "Binance spot aggregated trades",
        "id price qty first_id last_id time is_buyer_maker is_best_match",
        "INNIITBB",
    ),
    _form("Binance futures trades", "id price qty quote_qty time is_buyer_maker", "INNNTB"),
    _form(
        "Binance futures aggregated trades", "id price qty first_id last_id time is_buyer_maker", "INNIITB"
    ),
    _form("Kraken time and sales", "time price size", "TNN"),
    _form("freqtrade trades", "time id type side price amount cost", "T**SNNN"),
)
_PRODUCTS = (
    "timestamp symbol side size price tickDirection trdMatchID grossValue homeNotional foreignNotional"
)
HEADED = (
    _form("Binance USD-M trades", "id price qty quote_qty time is_buyer_maker", "T"),
    _form("Bybit spot trades", "id timestamp price volume side rpi", "T"),
    _form("Bybit linear trades", _PRODUCTS, "T"),
    _form("BitMEX trades", _PRODUCTS, "D"),
    _form("OKX trades", "instrument_name trade_id side price size created_time", "T"),
    _form("Tardis trades", "exchange symbol timestamp local_timestamp id side price amount", "T"),
    _form("Coinbase trades", "trade_id time price size side", "D", "maker"),
)


def bare_form(cells: Sequence[str | None]) -> Form | None:
    """The form of a row of a file without names; None for one that nobody knows."""
    for form in BARE:
        if len(form.shape) == len(cells) and all(
            _CELLS[letter](cell or "") for letter, cell in zip(form.shape, cells, strict=True)
        ):
            return form
    return None


def headed_form(names: Sequence[str], time_unit: str) -> Form | None:
    """The form of a file with these columns; None for one that nobody knows."""
    time = "D" if time_unit == ISO else "T"
    return next((f for f in HEADED if f.columns == tuple(names) and f.shape == time), None)


def has_names(cells: Sequence[str]) -> bool:
    """Whether a first line is a header: a row of trades has numbers for its time, price and size."""
    return bare_form(cells) is None and sum(number(cell) is not None for cell in cells) < len(NEEDED)


def field_columns(names: Sequence[str], options: FileOptions) -> dict[str, str]:
    """The column of each field. Raises `FormError`, and `ValueError` for a field that trades have not."""
    if unknown := options.columns.keys() - NAMES.keys():
        raise ValueError(f"{min(unknown)!r} is no field of a trade; use one of {', '.join(NAMES)}")
    found: dict[str, str] = {}
    for name, usual in NAMES.items():
        given = options.columns.get(name)
        if given and given not in names:
            raise FormError(f"has no column {given!r}; it has {_listed(names)}")
        column = _usual(usual.split(), names) if given is None else given
        if column:
            found[name] = column
    for name in NEEDED:
        if name not in found:
            raise FormError(
                f"none of its columns {_listed(names)} is known as the {name}; "
                f"say which is: --column {name}=COLUMN"
            )
    for column in found.values():
        if names.count(column) > 1:
            raise FormError(f"has several columns {column!r}; rename all but one")
    return found


def number(text: str) -> Decimal | None:
    """The finite number that a text means; None for what is none."""
    try:
        value = Decimal(text if text.isascii() and "_" not in text else "")
    except ArithmeticError:
        return None
    return value if value.is_finite() else None


def time_unit(value: object) -> str:
    """The unit of a numeric time by its magnitude (each covers the years 1973 to 5138), or `ISO`."""
    found = number(str(value))
    if found is None:
        return ISO
    digits = found.adjusted() + 1
    return next((unit for unit, limit in (("s", 11), ("ms", 14), ("us", 17)) if digits <= limit), "ns")


def _is_epoch(cell: str) -> bool:
    value = number(cell)
    if value is None or not 9 <= value.adjusted() <= 18:
        return False
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[time_unit(cell)]
    return EPOCHS_S[0] * per_second <= value < EPOCHS_S[1] * per_second


_CELLS: dict[str, Callable[[str], bool]] = {
    "I": lambda cell: bool(re.fullmatch(r"\d{1,19}", cell)),
    "N": lambda cell: number(cell) is not None,
    "T": _is_epoch,
    "B": lambda cell: cell.lower() in ("true", "false"),
    "S": lambda cell: cell.lower() in ("buy", "sell"),
    "*": lambda cell: True,
}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)[:1000]


def _usual(usual: list[str], names: Sequence[str]) -> str | None:
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[name] for name in usual if name in plain), None)


def _plain(name: str) -> str:
    name = name.strip()
    if len(name) == 1:
        return name
    return re.sub(r"[\W_]", "", re.sub(r"_(s|ms|us|ns)$", "", name.lower()))
