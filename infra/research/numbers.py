"""The numbers of a run at the doors: exact in JSON, readable in a table."""

from infra.present.values import decimal_string, iso
from projections.research.statistics import DEFINITIONS, Number, Unit
from projections.research.summary import Summary

DAY_NS = 86_400_000_000_000
HOUR_NS = 3_600_000_000_000
MINUTE_NS = 60_000_000_000


def as_json(summary: Summary) -> dict[str, str | float | int | None]:
    """By name: money as decimal strings, times as ISO 8601, durations in seconds, ratios as they are."""
    scale = summary.market.cash_scale
    return {
        name: _exact(value, DEFINITIONS[name].unit, scale) for name, value in summary.numbers.values.items()
    }


def _exact(value: Number, unit: Unit, cash_scale: int) -> str | float | int | None:
    if not isinstance(value, int):
        return value
    match unit:
        case "money":
            return decimal_string(value, cash_scale)
        case "time":
            return iso(value)
        case "duration":
            return value // 1_000_000_000
        case _:
            return value


def as_text(summary: Summary, name: str) -> str:
    """One of them for people; words where there is none."""
    value, unit = summary.numbers.values[name], DEFINITIONS[name].unit
    if value is None:
        return summary.numbers.why[name]
    match unit:
        case "money":
            return f"{grouped(decimal_string(int(value), summary.market.cash_scale))} {summary.market.settle}"
        case "time":
            return iso(int(value)).replace("T", " ").removesuffix("Z") + " UTC"
        case "duration":
            return duration(int(value))
        case "ratio":
            return percent(value)
        case "count":
            return f"{value:,}"
        case "number":
            return f"{value:,.3f}"


def percent(ratio: float) -> str:
    return f"{100 * ratio:,.2f} %"


def grouped(decimal: str) -> str:
    """Thousands of a decimal string apart, its zeros at the end left out."""
    whole, _, part = decimal.partition(".")
    sign, whole = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    part = part.rstrip("0")
    return f"{sign}{int(whole):,}{'.' if part else ''}{part}"


def duration(ns: int) -> str:
    """In its two largest units."""
    days, rest = divmod(ns, DAY_NS)
    hours, rest = divmod(rest, HOUR_NS)
    parts = [(days, "d"), (hours, "h"), (rest // MINUTE_NS, "min")]
    told = [f"{count:,} {unit}" for count, unit in parts if count][:2]
    return " ".join(told) or "0 min"
