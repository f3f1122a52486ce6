"""What a kind of event is made of: tables, rows, messages, models and exports follow from this description.

It is read from the annotations of `streams.events`; nothing about a single field is written anywhere else.
"""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from streams.causes import Cause
from streams.events import Equity, Event, Market, Sizing

Form: TypeAlias = Literal[
    "time", "decimal", "integer", "float", "bool", "text", "json", "bytes", "cause", "sizing"
]
SCALES = {
    "price": "price_scale",
    "size": "size_scale",
    "cash": "cash_scale",
    "multiplier": "multiplier_scale",
}
"""By the unit of a decimal, the field of the same event that holds its scale; a `rate` has always 8."""
_PLAIN: dict[Any, Form] = {int: "integer", float: "float", bool: "bool", str: "text", bytes: "bytes"}
_STRUCTS: dict[Any, Form] = {Cause: "cause", Sizing: "sizing", Market: "json"}


class Field(NamedTuple):
    """A field of a kind of event.

    `hint` is its annotation, `unit` that of its integers, `form` how a single value looks at the doors;
    `content`: see design rule 3.
    """

    name: str
    hint: Any
    unit: str
    content: bool
    form: Form

    @property
    def optional(self) -> bool:
        return NoneType in get_args(self.hint)


@cache
def fields(kind: type[Event]) -> tuple[Field, ...]:
    """The fields of a kind of event, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_field(name, hints[name]) for name in kind.__struct_fields__)


@cache
def per_row(kind: type[Event]) -> tuple[str, ...]:
    """The fields that are columns of several rows: those of an `Equity` with a value for each bot."""
    is_column = kind is Equity
    return tuple(one.name for one in fields(kind) if is_column and get_origin(bare(one.hint)) is tuple)


@cache
def row_fields(kind: type[Event]) -> tuple[Field, ...]:
    """The fields of a row: a field that is a column has one value there."""
    columns = per_row(kind)
    return tuple(
        one._replace(hint=get_args(bare(one.hint))[0], form=_form(get_args(bare(one.hint))[0], one.unit))
        if one.name in columns
        else one
        for one in fields(kind)
    )


@cache
def door_fields(kind: type[Event]) -> tuple[Field, ...]:
    """What REST and exports show of a row: scales show in the decimals, and of positions only causes."""
    return tuple(
        one
        for one in row_fields(kind)
        if one.name not in SCALES.values() and (one.content or one.form == "cause")
    )


def bare(hint: Any) -> Any:
    """An annotation without its metadata, and without None."""
    if get_origin(hint) is Annotated:
        return bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        (only,) = (part for part in get_args(hint) if part is not NoneType)
        return bare(only)
    return hint


def _field(name: str, hint: Any) -> Field:
    extra = _extra(hint)
    unit = extra.get("unit", "")
    return Field(name, hint, unit, extra.get("content", True), _form(hint, unit))


def _form(hint: Any, unit: str) -> Form:
    kind = bare(hint)
    if get_origin(kind) in (tuple, dict):
        return "json"
    if kind in _STRUCTS:
        return _STRUCTS[kind]
    if kind is int and unit:
        return "time" if unit == "time" else "decimal"
    return _PLAIN[type(get_args(kind)[0]) if get_origin(kind) is Literal else kind]


def _extra(hint: Any) -> dict[str, Any]:
    """The metadata of `Annotated[…, Meta(extra=…)]`, also inside a union with None."""
    extra: dict[str, Any] = {}
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Annotated:
            for meta in part.__metadata__:
                extra |= (meta.extra or {}) if isinstance(meta, Meta) else {}
    return extra
