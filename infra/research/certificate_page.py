"""A parity certificate as one page of HTML that needs nothing beside it."""

from collections.abc import Iterable
from html import escape
from typing import Any

from infra.research.certificate import Certificate, Difference

_HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ border-bottom: 1px solid #ccc; padding: .25rem .75rem .25rem 0; text-align: left;
  vertical-align: top; }}
td {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
.equal {{ color: #06632e; }} .differs, .unlike td {{ color: #a3171a; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #16181c; color: #e6e6e6; }} th, td {{ border-color: #444; }}
  .equal {{ color: #5fd38d; }} .differs, .unlike td {{ color: #ff8a80; }}
}}
</style>
"""


def page(certificate: Certificate) -> str:
    """One page, the same for the same certificate."""
    c = certificate
    title = f"Parity of bot {c.bot_id}{f' ({c.name})' if c.name else ''} on {c.market}, {c.timeframe}"
    total = sum(c.compared.values())
    verdict = (
        f'<p class="equal">Equal in all of {total:,} facts.</p>'
        if c.equal
        else '<p class="differs">The backtest is not what is recorded: the first difference is below.</p>'
    )
    return "\n".join(
        [
            _HEAD.format(title=escape(title)) + f"<h1>{escape(title)}</h1>",
            verdict,
            "<p>The bot was run again by the backtest over the journal of its home, and held against what the"
            " engine recorded of it: decisions with their codes and the bits of their indicators, orders and"
            " their ends, fills, equity and changes, in integers. No price, size or amount is rounded."
            " Funding and liquidation are in neither.</p>",
            _section("Compared", c.compared.items()),
            _section("Range", _range(c)),
            _section("Journal", _journal(c)),
            *(_section(f"Life {n}", _life(life)) for n, life in enumerate(c.lives, 1)),
            _section("Code", (("recorded by", ", ".join(c.recorded_by)), ("compared by", c.compared_by))),
            "" if c.difference is None else _difference(c.difference),
            "<p><code>tcpdashboard parity --check FILE.json</code> makes the certificate again from the home,"
            " without a network, and says whether it is the same.</p>\n</html>\n",
        ]
    )


def _range(c: Certificate) -> Iterable[tuple[str, Any]]:
    yield "asked for", f"{c.after or 'the beginning'} … {c.until or 'the end'}"
    yield "bars", f"{c.bars:,}"
    yield "first and last", f"{c.first_bar} … {c.last_bar}"


def _journal(c: Certificate) -> Iterable[tuple[str, Any]]:
    yield "home", c.home
    yield "partition", c.partition
    yield "records", f"{c.records:,}"
    yield "chain", c.chain
    yield "checkpoints met", c.checkpoints
    yield "dead letters left out", c.dead_letters


def _life(life: Any) -> Iterable[tuple[str, Any]]:
    yield "strategy", life.strategy
    yield "code", life.code_hash
    yield "parameters", ", ".join(f"{name}={value}" for name, value in life.params.items())
    yield "bars", f"{life.bars:,}, {life.first_bar} … {life.last_bar}"
    if life.failure:
        yield "failed", life.failure


def _section(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<h2>{escape(title)}</h2>\n<table>\n" + "\n".join(cells) + "\n</table>"


def _difference(d: Difference) -> str:
    parts = [f"<h2>First difference: {escape(d.kind)}, number {d.number}, {escape(d.time)}</h2>"]
    for title, recorded, backtest in sides(d):
        rows = (
            f"<tr{'' if one == other else ' class=unlike'}><th>{escape(name)}</th>"
            f"<td>{escape(one)}</td><td>{escape(other)}</td></tr>"
            for name, one, other in fields(recorded, backtest)
        )
        parts.append(
            f"<h3>{escape(title)}</h3>\n<table>\n<tr><th></th><th>recorded</th><th>backtest</th></tr>\n"
            + "\n".join(rows)
            + "\n</table>"
        )
    return "\n".join(parts)


Side = dict[str, Any] | None


def sides(d: Difference) -> list[tuple[str, Side, Side]]:
    """The fact itself, the bar, and the indicators, as recorded and by the backtest."""
    return [
        (d.kind, d.recorded, d.backtest),
        (f"the bar that ends at {d.bar}", d.recorded_bar, d.backtest_bar),
        ("indicators behind that bar", d.recorded_indicators, d.backtest_indicators),
    ]


def fields(recorded: Side, backtest: Side) -> list[tuple[str, str, str]]:
    """Each field with its value on both sides, "–" where a side has none."""
    one, other = recorded or {}, backtest or {}
    return [(name, str(one.get(name, "–")), str(other.get(name, "–"))) for name in one | other]
