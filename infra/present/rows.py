"""Events as rows: the columns of a kind of event, the row of an event, and the JSON of a row.

A field is a column of its name; a cause is three, a sizing three, what has no column type of its own is JSON
text. Times, prices, sizes and money are the event's integers. Thousands of rows are made a batch, so for each
kind a function is made once, of the text of one expression that names every field.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from infra.present.fields import SCALES, Field, door_fields, per_row, row_fields
from infra.present.values import RATE_SCALE, decimal_string, iso
from streams.causes import Cause
from streams.events import Event

CAUSE = ("cause_partition", "cause_offset", "cause_index")
"""Columns of the identity of the event that made a row."""
PARTS = ("partition", "offset", "index")
SIZING = ("mode", "value", "scale")


class RowColumn(NamedTuple):
    """A column of a field: `type` is one of int, float, bool and str, `source` reads it of an event `e`."""

    name: str
    type: type
    nullable: bool
    content: bool
    source: str


@cache
def columns(kind: type[Event]) -> tuple[RowColumn, ...]:
    """The columns of a kind of event, without those of its market and its cause."""
    single = per_row(kind)
    return tuple(
        column
        for field in row_fields(kind)
        for column in _columns(field, field.name if field.name in single else f"e.{field.name}")
    )


_TYPES: dict[str, type] = {"time": int, "decimal": int, "integer": int, "float": float, "bool": bool}


def _columns(field: Field, source: str) -> list[RowColumn]:
    name, nullable, content = field.name, field.optional, field.content
    if field.form == "cause":
        values = [f"{source}.{part}" for part in PARTS]
        if nullable:
            values = [f"{source} and {value}" for value in values]
        return [
            RowColumn(f"{name}_{part}", int, nullable, False, value)
            for part, value in zip(PARTS, values, strict=True)
        ]
    if field.form == "sizing":
        types = (str, int, int)
        return [
            RowColumn(f"{name}_{part}", type_, nullable, content, f"{source}.{part}")
            for part, type_ in zip(SIZING, types, strict=True)
        ]
    if field.form == "json":
        return [RowColumn(name, str, nullable, content, f"_json({source})")]
    return [RowColumn(name, _TYPES.get(field.form, str), nullable, content, source)]


Made = Callable[..., Any]


@cache
def row_of(kind: type[Event], names: tuple[str, ...]) -> Made:
    """(market, event, cause partition, offset, index) → the event's row, its values in the order of `names`.

    Of a kind whose events hold several rows it makes the list of them.
    """
    given = {name: name for name in ("market", *CAUSE)}
    sources = given | {column.name: column.source for column in columns(kind)}
    row = f"({', '.join(sources[name] for name in names)},)"
    single = per_row(kind)
    if single:
        values = ", ".join(f"e.{name}" for name in single)
        row = f"[{row} for {', '.join(single)} in zip({values}, strict=True)]"
    return _made(f"lambda market, e, {', '.join(CAUSE)}: {row}")


@cache
def shown(kind: type[Event], names: tuple[str, ...]) -> Made:
    """Values of the columns `names` and any others behind them → the JSON object of `door_fields`.

    With `cause`, where the columns of the cause are among them.
    """
    parts = [f'"{field.name}": {_shown(field)}' for field in door_fields(kind)]
    if set(CAUSE) <= set(names):
        parts.append(f'"cause": {_cause_text("cause")}')
    return _made(f"lambda {', '.join(names)}, *_: {{{', '.join(parts)}}}")


def columns_shown(kind: type[Event]) -> tuple[str, ...]:
    """The columns that `shown` needs, without those of market and cause."""
    wanted = {field.name for field in door_fields(kind)}
    units = {SCALES.get(field.unit) for field in door_fields(kind)}
    return tuple(
        column.name
        for field in row_fields(kind)
        if field.name in wanted | units
        for column in _columns(field, "")
    )


def _shown(field: Field) -> str:
    name = field.name
    text = name
    if field.form == "cause":
        return _cause_text(name, optional=field.optional)
    if field.form == "sizing":
        return f'f"{{{name}_mode}}:{{_decimal({name}_value, {name}_scale)}}"'
    if field.form == "time":
        text = f"_iso({name})"
    elif field.form == "decimal":
        text = f"_decimal({name}, {SCALES.get(field.unit, RATE_SCALE)})"
    elif field.form == "json":
        text = f"_decode({name})"
    return f"None if {name} is None else {text}" if field.optional else text


def _cause_text(name: str, *, optional: bool = False) -> str:
    text = "f'" + ":".join(f"{{{name}_{part}}}" for part in PARTS) + "'"
    return f"None if {name}_partition is None else {text}" if optional else text


def cause_of(row: Any, name: str = "cause") -> str | None:
    """`partition:offset:index` of a row's columns of a cause; None where there is none."""
    parts = [getattr(row, f"{name}_{part}") for part in PARTS]
    return None if None in parts else str(Cause(*parts))


def names_of(columns: Iterable[Any]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _made(source: str) -> Made:
    return eval(source, dict(_NAMES))  # noqa: S307 - of the names of fields in streams.events alone


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_NAMES = {"_json": _json, "_iso": iso, "_decimal": decimal_string, "_decode": msgspec.json.decode}
