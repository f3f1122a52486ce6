"""A sweep as one HTML file that needs no network: heat map, the best sets and those beside the best.

Its look, its charts and how it is written are those of `infra.research.report`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from string import Template
from typing import Any, Final

import numpy as np

from infra.research.report import inside_script, library, part
from infra.research.result import in_words
from infra.research.spike import Around, Heat, around, heat_of
from infra.research.swept import F8, Swept
from projections.research.daily import days_of
from projections.research.statistics import DEFINITIONS
from streams.events import Params

TOLD: Final = ("return", "hold_return", "sharpe", "max_drawdown", "trades")
"""What is told of a set beside what it is sorted by."""
SHOWN: Final = 20
DRAWN: Final = 5
NUMBERED: Final = 16
"""Cells of a heat map hold their numbers where no more than so many stand beside each other."""


def drawn(swept: Swept, metric: str) -> list[int]:
    """The sets whose equity a report draws."""
    known = swept.rows.known[metric]
    return [number for number in swept.best_first(metric) if known[number]][:DRAWN]


def sweep_report(swept: Swept, metric: str, returns: Mapping[int, F8], said: Sequence[str] = ()) -> str:
    """The whole file as text. `returns` f8[D] by number, of the sets that are `drawn`; `said`: further lines
    at its head. Raises ReportError where the library of charts was not fetched."""
    columns, title = swept.setting.data.prepared.columns, DEFINITIONS[metric].title
    found, best = around(swept, metric), drawn(swept, metric)
    data = json.dumps(_curves(swept, best, returns), separators=(",", ":"), allow_nan=False)
    return Template(part("sweep.html")).substitute(
        title=escape(f"Sweep of {swept.code.name} on {columns.market}, {columns.timeframe}"),
        said="".join(f"<p>{escape(text)}</p>" for text in (*counted(swept, metric), *swept.notes, *said)),
        lines="".join(_lines(swept, metric, found)),
        beside=_beside(swept, metric, found),
        heat_title=escape(title),
        heat=_heat(swept, metric, heat_of(swept, metric)),
        legend="".join(
            f'<span class="line-{place}">— {escape(params_text(swept.sets[number]))}</span> '
            for place, number in enumerate(best)
            if number in returns
        ),
        best=_table(swept, metric, swept.best_first(metric)[:SHOWN]),
        style=part("css") + part("sweep.css"),
        data=inside_script(data),
        charts=inside_script(library()),
        script=inside_script(part("chart.js") + part("sweep.js")),
    )


def counted(swept: Swept, metric: str) -> Iterator[str]:
    failed = f", {len(swept.rows.errors):,} failed" if swept.rows.errors else ""
    refused = f", without {swept.invalid:,} that the strategy refuses" if swept.invalid else ""
    title = DEFINITIONS[metric].title
    yield f"{len(swept.sets):,} sets of parameters by {title}, the highest first{failed}{refused}."


def params_text(params: Params) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


def told(swept: Swept, metric: str, number: int) -> dict[str, str]:
    """What people are told of a set, by metric."""
    market, row = swept.market, swept.rows.row(number)
    values = {name: row.values.get(name) for name in (metric, *TOLD)}
    return {
        name: "–" if value is None else in_words(name, value, market.cash_scale, market.settle)
        for name, value in values.items()
    }


def _lines(swept: Swept, metric: str, found: Around | None) -> Iterator[str]:
    hindsight = (
        f"The best of {len(swept.sets):,} sets is the best in hindsight: test it on a range that no sweep has"
        " seen."
    )
    no_number = f"No set has a {DEFINITIONS[metric].title}."
    lines = [(hindsight, True), (found.words, found.spike is not False) if found else (no_number, True)]
    for text, warns in lines:
        yield f'<li class="{"warns" if warns else "fine"}">{escape(text)}</li>'


def _beside(swept: Swept, metric: str, found: Around | None) -> str:
    if found is None or not found.neighbours:
        return "<p>None of its direct neighbours was tested.</p>"
    numbers = [found.best, *(n for n in swept.best_first(metric) if n in set(found.neighbours))]
    more = len(numbers) - SHOWN
    return _table(swept, metric, numbers[:SHOWN]) + (
        f'<p class="note">… and {more:,} more</p>' if more > 0 else ""
    )


def _table(swept: Swept, metric: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return "<p>There is none.</p>"
    head = [*swept.sets[0], *(DEFINITIONS[name].title for name in dict.fromkeys((metric, *TOLD)))]
    rows = (
        _row(number, [*map(str, swept.sets[number].values()), *told(swept, metric, number).values()])
        for number in numbers
    )
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        f'<div class="rows"><table class="sets"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(number: int, cells: Iterable[str]) -> str:
    return f'<tr data-set="{number}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


# ------------------------------------------------------------------ heat


def _heat(swept: Swept, metric: str, heat: Heat | None) -> str:
    if heat is None:
        return "<p>No parameter has two values.</p>"
    shares, numbered = _shares(swept, metric, heat), len(heat.columns) <= NUMBERED
    best = swept.best_first(metric)[0]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heat.columns)
    rows = (
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(
            _cell(swept, metric, number, share, best=number == best, numbered=numbered)
            for number, share in zip(numbers, of_row, strict=True)
        )
        + "</tr>"
        for name, numbers, of_row in zip(heat.rows, heat.cells.tolist(), shares.tolist(), strict=True)
    )
    corner = f"{heat.down} ↓ {heat.across} →" if heat.down else f"{heat.across} →"
    size = "" if numbered else " dense"
    return (
        f'<div class="rows"><table class="heat{size}"><thead><tr><th>{escape(corner)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _shares(swept: Swept, metric: str, heat: Heat) -> F8:
    """How strongly each cell is coloured, f8[rows, columns] in −1 … 1: where there are numbers on both sides
    of 0 by the sign and the height, else from the lowest, 0, to the highest."""
    values = np.where(heat.cells >= 0, swept.rows.values[metric][heat.cells].astype(np.float64), np.nan)
    if np.isnan(values).all():
        return np.zeros_like(values)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0 < high:
        return np.nan_to_num(np.where(values < 0, values / -low, values / high))
    shares = (values - low) / (high - low) if high > low else np.ones_like(values)
    return np.nan_to_num(shares if high > 0 else shares - 1.0)


def _cell(swept: Swept, metric: str, number: int, share: float, *, best: bool, numbered: bool) -> str:
    if number < 0:
        return "<td></td>"
    text = told(swept, metric, number)[metric]
    side = "loss" if share < 0 else "gain"
    what = escape(f"{params_text(swept.sets[number])}: {text}")
    return (
        f'<td class="{side}{" best" if best else ""}" style="--share: {abs(share):.2f}" title="{what}"'
        f' data-set="{number}">{escape(text) if numbered else ""}</td>'
    )


# ------------------------------------------------------------------ equity


def _curves(swept: Swept, best: Sequence[int], returns: Mapping[int, F8]) -> dict[str, Any]:
    """`times` in seconds UTC of the days' ends, and `lines`, the equity of each set there; none from where a
    day began with nothing."""
    setting = swept.setting
    days = days_of(setting.data.prepared.ends[setting.first : setting.last]).ends
    lines: list[list[float | None]] = []
    for number in best:
        if number in returns:
            initial = swept.rows.values["initial"][number] / 10.0**swept.market.cash_scale
            equity = initial * np.cumprod(1.0 + returns[number])
            lines.append([float(f"{v:.7g}") if np.isfinite(v) else None for v in equity.tolist()])
    return {"times": (days // 1_000_000_000).tolist(), "lines": lines}
