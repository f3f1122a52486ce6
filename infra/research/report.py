"""A run as one HTML file that needs no network: its picture, its numbers with their definitions, its honesty.

What is drawn is thinned (`infra.research.drawing`), and the library that draws it is set into the file.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import infra
from infra.process.whole_file import whole_file
from infra.research.drawing import SLOTS, Bin, Drawn, Month, distribution, drawing, months
from projections.research.honesty import Line
from projections.research.round_trips import Trips
from projections.research.statistics import DEFINITIONS

CHARTS = Path(infra.__file__).parent / "present" / "vendor" / "lightweight-charts.mjs"
PARTS = Path(__file__).parent
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EXPORTS = re.compile(r"export\{([^{}]*)\};?\s*$")


class ReportError(Exception):
    """A report cannot be made here; the message says why, and the way out."""


class Page(NamedTuple):
    """What a report tells: `said` in the first lines, `told` as (metric, its text for people) and `exact` as
    JSON has it."""

    title: str
    said: Sequence[str]
    honesty: Sequence[Line]
    told: Sequence[tuple[str, str]]
    exact: Mapping[str, Any]
    drawn: Drawn
    trips: Trips


def report(page: Page) -> str:
    """The whole file as text. Raises ReportError where the library of charts was not fetched."""
    bars = len(page.drawn.curve.ends)
    thinned = f"Drawn are {SLOTS:,} slots of {bars:,} bars; the highest and the lowest point of each stay. "
    data = json.dumps(drawing(page.drawn), separators=(",", ":"), allow_nan=False)
    return Template(part("html")).substitute(
        title=escape(page.title),
        said="".join(f"<p>{escape(text)}</p>" for text in page.said),
        lines="".join(
            f'<li class="{"warns" if line.warns else "fine"}">{escape(line.text)}</li>'
            for line in page.honesty
        ),
        thinned=thinned if bars > SLOTS else "",
        numbers="".join(_numbers(page)),
        month_names="".join(f"<th>{name}</th>" for name in MONTHS),
        months="".join(_month_row(year) for year in months(page.drawn.curve)),
        trades=_trades(distribution(page.trips)),
        style=part("css"),
        data=inside_script(data),
        charts=inside_script(library()),
        script=inside_script(part("chart.js") + part("js")),
    )


def write(text: str, file: Path) -> None:
    """Write a report; the file appears only when it is complete. Raises OSError."""
    with whole_file(file) as target:
        target.write(text.encode())


def framed(page: Page) -> str:
    """The report as an element of another page, such as a notebook's."""
    style = "width: 100%; height: 48rem; border: 0"
    return f'<iframe srcdoc="{escape(report(page))}" style="{style}"></iframe>'


@cache
def part(kind: str) -> str:
    """A file of those that reports are made of."""
    return (PARTS / f"report.{kind}").read_text(encoding="utf-8")


@cache
def library() -> str:
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


def inside_script(text: str) -> str:
    """Nothing in it may end its element. In JSON and in strings of JavaScript it means the same as before."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _numbers(page: Page) -> Iterator[str]:
    for name, text in page.told:
        metric, exact = DEFINITIONS[name], page.exact[name]
        yield (
            f'<tr data-name="{name}" data-value="{escape(json.dumps(exact))}">'
            f'<th scope="row">{escape(metric.title)}</th>'
            f'<td class="value{" none" if exact is None else ""}">{escape(text)}</td>'
            f'<td class="definition">{escape(metric.definition)}</td></tr>'
        )


def _month_row(year: Month) -> str:
    cells = (_return_cell(year.months.get(month)) for month in range(1, 13))
    return f'<tr><th scope="row">{year.year}</th>{"".join(cells)}{_return_cell(year.whole)}</tr>'


def _return_cell(ratio: float | None) -> str:
    if ratio is None:
        return "<td>–</td>"
    kind = "loss" if ratio < 0 else "gain" if ratio > 0 else "same"
    return f'<td class="{kind}">{ratio:,.2%}</td>'


def _trades(bins: list[Bin]) -> str:
    if not bins:
        return "<p>There is no closed trade.</p>"
    most = max(one.trades for one in bins)
    rows = (
        f'<tr><th scope="row">{one.low:,.2%} … {one.high:,.2%}</th>'
        f'<td class="count">{one.trades:,}</td><td><div class="bar {"loss" if one.high <= 0 else "gain"}" '
        f'style="width: {100 * one.trades / most:.1f}%"></div></td></tr>'
        for one in bins
    )
    return f'<div class="rows"><table class="trades"><tbody>{"".join(rows)}</tbody></table></div>'
