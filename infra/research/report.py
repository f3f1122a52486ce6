"""A run as one HTML file that needs no network: its picture, its numbers with their definitions, its honesty.

What is drawn is thinned (`infra.research.drawing`), and the library that draws it is set into the file.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

import infra
from infra.research.drawing import SLOTS, Month, distribution, drawing, months
from infra.research.numbers import as_json, as_text, percent
from projections.research.columns import Floats
from projections.research.statistics import DEFINITIONS
from projections.research.summary import Summary

CHARTS = Path(infra.__file__).parent / "present" / "vendor" / "lightweight-charts.mjs"
PARTS = Path(__file__).parent
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EXPORTS = re.compile(r"export\{([^{}]*)\};?\s*$")


class ReportError(Exception):
    """A report cannot be made here; the message says why, and the way out."""


def report(title: str, said: Sequence[str], summary: Summary, values: Floats) -> str:
    """The whole file as text.

    `said` are the lines that stand first: what the run was made of, under which assumptions. `values`
    f8[bars, ≥ 4]: open, high, low and close of the run's bars. Raises ReportError where the library of charts
    was not fetched.
    """
    bars = len(summary.curve.ends)
    thinned = f"Drawn are {SLOTS:,} slots of {bars:,} bars; the highest and the lowest point of each stay. "
    data = json.dumps(drawing(summary, values), separators=(",", ":"), allow_nan=False)
    return Template(_part("html")).substitute(
        title=escape(title),
        said="".join(f"<p>{escape(text)}</p>" for text in said),
        lines="".join(
            f'<li class="{"warns" if line.warns else "fine"}">{escape(line.text)}</li>'
            for line in summary.lines
        ),
        thinned=thinned if bars > SLOTS else "",
        numbers="".join(_numbers(summary)),
        month_names="".join(f"<th>{name}</th>" for name in MONTHS),
        months="".join(_month_row(year) for year in months(summary.curve)),
        trades=_trades(summary),
        style=_part("css"),
        data=_inside_script(data),
        charts=_inside_script(_library()),
        script=_inside_script(_part("js")),
    )


@cache
def _part(kind: str) -> str:
    return (PARTS / f"report.{kind}").read_text(encoding="utf-8")


@cache
def _library() -> str:
    """The charts as a module that names what it exports to the others on the page."""
    try:
        text = CHARTS.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(f"the charts are not there, {CHARTS} is missing: run `make setup`") from None
    exports = _EXPORTS.search(text)
    if exports is None:
        raise ReportError(f"{CHARTS} is not the library that is expected: run `make setup` again")
    pairs = (item.split(" as ") for item in exports[1].split(","))
    names = ",".join(f"{name}:{inner}" for inner, name in pairs)
    return f"{text[: exports.start()]}globalThis.LightweightCharts={{{names}}};"


def _inside_script(text: str) -> str:
    """Nothing in it may end its element. In JSON and in strings of JavaScript it means the same as before."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _numbers(summary: Summary) -> Iterator[str]:
    exact = as_json(summary)
    for name, metric in DEFINITIONS.items():
        kind = "value none" if exact[name] is None else "value"
        yield (
            f'<tr data-name="{name}" data-value="{escape(json.dumps(exact[name]))}">'
            f'<th scope="row">{escape(metric.title)}</th>'
            f'<td class="{kind}">{escape(as_text(summary, name))}</td>'
            f'<td class="definition">{escape(metric.definition)}</td></tr>'
        )


def _month_row(year: Month) -> str:
    cells = (_return_cell(year.months.get(month)) for month in range(1, 13))
    return f'<tr><th scope="row">{year.year}</th>{"".join(cells)}{_return_cell(year.whole)}</tr>'


def _return_cell(ratio: float | None) -> str:
    if ratio is None:
        return "<td>–</td>"
    kind = "loss" if ratio < 0 else "gain" if ratio > 0 else "same"
    return f'<td class="{kind}">{percent(ratio)}</td>'


def _trades(summary: Summary) -> str:
    bins = distribution(summary)
    if not bins:
        return "<p>There is no closed trade.</p>"
    most = max(one.trades for one in bins)
    rows = (
        f'<tr><th scope="row">{percent(one.low)} … {percent(one.high)}</th>'
        f'<td class="count">{one.trades:,}</td><td><div class="bar {"loss" if one.high <= 0 else "gain"}" '
        f'style="width: {100 * one.trades / most:.1f}%"></div></td></tr>'
        for one in bins
    )
    return f'<div class="rows"><table class="trades"><tbody>{"".join(rows)}</tbody></table></div>'
