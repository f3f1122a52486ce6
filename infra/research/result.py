"""The result of a backtest: integers inside, pandas and numbers for people outside."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infra.present.values import decimal_string, iso
from infra.research.drawing import Drawn
from infra.research.ledger import NOWHERE, Entry
from infra.research.report import Page, framed, report, write
from infra.research.sources import Data
from projections.research import account as of
from projections.research.account import CODES
from projections.research.columns import I8, Table, values_of
from projections.research.holding import Held, bought
from projections.research.holding import rescaled as held_rescaled
from projections.research.honesty import Evidence, Line, lines, other_signals
from projections.research.money import INT64_MAX
from projections.research.prepared import Prepared, era_before
from projections.research.round_trips import grown, round_trips, scales_of
from projections.research.round_trips import rescaled as fills_rescaled
from projections.research.run import Outcome, Specification
from projections.research.statistics import DEFINITIONS, Curve, Metrics, metrics
from projections.research.tripwire import tripwire
from projections.strategies.code import CompiledCode, History, Run
from streams.events import TIMEFRAMES_NS, Market

if TYPE_CHECKING:
    from pandas import DataFrame, Series


@dataclass(frozen=True)
class Costs:
    """Fee and slippage in 1e-8 of the value, and whether they were given for this run."""

    fee: int
    slippage: int
    fee_given: bool
    slippage_given: bool

    @property
    def words(self) -> str:
        return ", ".join(
            f"{name} {rate / 10_000:g} bp{' (given for this run)' if given else ''}"
            for name, rate, given in (
                ("fee", self.fee, self.fee_given),
                ("slippage", self.slippage, self.slippage_given),
            )
        )


@dataclass(frozen=True)
class Result:
    """What became of a strategy over data; it was warmed on `warm` bars before the first."""

    data: Data
    spec: Specification
    outcome: Outcome
    warm: int
    costs: Costs
    annualise: float
    entry: Entry = NOWHERE

    # ------------------------------------------------------------ integers

    @cached_property
    def eras(self) -> tuple[Market, ...]:
        """The market's specifications up to the last bar."""
        return self.data.prepared.columns.eras[: int(self.bars["era"][-1]) + 1]

    @property
    def market(self) -> Market:
        """The market as it stood at the last bar, at whose scales all amounts here stand."""
        return self.eras[-1]

    @cached_property
    def bars(self) -> Table:
        """BAR[n]: those of the run."""
        return self.data.prepared.bars[self.outcome.first : self.outcome.last]

    @cached_property
    def curve(self) -> Curve:
        bars, prepared, first = self.bars, self.data.prepared, self.outcome.first
        prices, sizes, cashes = scales_of(self.eras)
        return Curve(
            prepared.ends[first : self.outcome.last],
            grown(prepared.closes[first : self.outcome.last], bars["era"], prices, "a close"),
            grown(self.outcome.equity, bars["era"], cashes, "the equity"),
            grown(self.outcome.position, bars["era"], sizes, "the position"),
            self.outcome.initial_cash,
            prepared.begin(first),
        )

    def happened(self, kind: int) -> Table:
        return self.outcome.happened[self.outcome.happened["kind"] == kind]

    @cached_property
    def fill_rows(self) -> Table:
        return fills_rescaled(self.happened(of.FILL), self.eras)

    @cached_property
    def trips(self) -> Table:
        return round_trips(self.fill_rows)

    @cached_property
    def held(self) -> Held | None:
        """Buy and hold with the same cash."""
        return held_over(self.data.prepared, self.outcome.first, self.outcome.last, self.spec.cash)

    @property
    def _first_era(self) -> Market:
        prepared = self.data.prepared
        return prepared.columns.eras[era_before(prepared, self.outcome.first)]

    @cached_property
    def found(self) -> Metrics:
        return metrics(self.curve, self.fill_rows, self.trips, self.market, self.held, self.annualise)

    @cached_property
    def honesty(self) -> tuple[Line, ...]:
        """What to know before believing the numbers, in sentences."""
        spec, prepared = self.spec, self.data.prepared
        columns = prepared.columns
        stretch = self.outcome.stretches[0]
        revised = columns.revisions[self.outcome.first : self.outcome.last]
        signals = self.happened(of.SIGNAL)
        refused = signals["code"][signals["status"] == 0]
        return lines(
            Evidence(
                int(self.found.values["days"] or 0),
                int(self.found.values["trades"] or 0),
                tripwire(spec.code, spec.params, stretch.history, self.warm, stretch.run, prepared.zeros),
                spec.code.need(spec.params),
                self.warm,
                self.bars,
                TIMEFRAMES_NS[columns.timeframe],
                self.trips,
                self.market,
                int(np.count_nonzero(revised)),
                self._changed() if np.count_nonzero(revised) else None,
                len(signals),
                {CODES[code]: count for code, count in sorted(Counter(refused.tolist()).items())},
            )
        )

    def _changed(self) -> int | None:
        """At how many bars candles in their other revision give another signal; a strategy in plain Python is
        too slow to be asked."""
        code, stretch, warm = self.spec.code, self.outcome.stretches[0], self.warm
        if not isinstance(code, CompiledCode):
            return None
        prepared = self.data.prepared
        values = values_of(prepared.columns, final=not prepared.is_final, zeros=prepared.zeros)
        higher = tuple(
            one._replace(values=prepared.revised[timeframe][: len(one.ends)])
            for timeframe, one in zip(code.higher, stretch.history.higher, strict=True)
        )
        history = History(stretch.history.ends, values[stretch.first - warm : stretch.last], higher)
        run = Run(*(prepared.zeros(of.shape, of.dtype) for of in stretch.run))
        rows = len(run.targets)
        failure = code.over(code.fresh(), history, 0, rows, code.pack(self.spec.params), run)
        compared = slice(warm, rows if failure is None else failure.bot)
        return other_signals(stretch.run.targets[compared], run.targets[compared])

    @cached_property
    def incidents(self) -> list[str]:
        """How the bot ended before the range did, in sentences."""
        stretch = self.outcome.stretches[0]
        told = [
            f"The bot was halted as {change.code} at {iso(change.time)}."
            for change in self.outcome.changes
            if change.status == "halted"
        ]
        return [*told, *([f"Its strategy said: {stretch.failure}."] if stretch.failure else [])]

    # ------------------------------------------------------------ for people

    @property
    def metrics(self) -> dict[str, Any]:
        """By name, each as its unit says: money as a decimal string, times as ISO 8601, a duration in
        seconds; None where there is nothing to divide by (`why`)."""
        return {name: shown(name, value, self.market.cash_scale) for name, value in self.found.values.items()}

    @property
    def why(self) -> Mapping[str, str]:
        return self.found.why

    @property
    def headline(self) -> str:
        """What was run over what, and by which assumptions."""
        columns, spec = self.data.prepared.columns, self.spec
        named = " ".join([spec.code.name, *(f"{name}={value}" for name, value in spec.params.items())])
        cash = decimal_string(spec.cash, self._first_era.cash_scale)
        size = f"{spec.sizing.mode} {decimal_string(spec.sizing.value, spec.sizing.scale)}"
        noun = "candle" if len(self.bars) == 1 else "candles"
        sides = "long and short" if spec.short else "long only"
        return (
            f"{named} on {columns.market} {columns.timeframe},"
            f" {iso(self.curve.begin)} to {iso(int(self.curve.ends[-1]))},"
            f" {len(self.bars):,} {noun}. {self.data.words}. {self.costs.words}; cash {cash}"
            f" {self.market.settle}, {size}, {sides};"
            f" days are UTC's, {self.annualise:g} a year. No funding, no liquidation."
        )

    @property
    def equity(self) -> "Series":
        """Equity at each close, float64 in the settle currency."""
        return self._series(self.curve.equity / 10.0**self.market.cash_scale, "equity")

    @property
    def position(self) -> "Series":
        return self._series(self.curve.position / 10.0**self.market.size_scale, "position")

    @property
    def indicators(self) -> "DataFrame":
        """The indicators at each close, and the target that followed from them."""
        first = self.outcome.stretches[0]
        frame = _pandas().DataFrame(first.values, columns=list(first.code.value_names))
        frame["target"] = first.targets
        frame.index = self._index()[: len(frame)]
        return frame

    @property
    def signals(self) -> "DataFrame":
        rows = self.happened(of.SIGNAL)
        return self._frame(
            rows["time"],
            target=rows["target"],
            previous=rows["previous"],
            price=self._of_eras(rows, "price", "price_scale"),
            decision=np.where(rows["status"] != 0, "executed", "refused"),
            code=_words(CODES, rows["code"]),
            origin=_words(of.ORIGINS, rows["order"]),
        )

    @property
    def fills(self) -> "DataFrame":
        rows, market = self.fill_rows, self.market
        cash, size = 10.0**market.cash_scale, 10.0**market.size_scale
        return self._frame(
            rows["time"],
            side=np.where(rows["buy"] != 0, "buy", "sell"),
            price=rows["price"] / 10.0**market.price_scale,
            size=rows["size"] / size,
            fee=rows["fee"] / cash,
            realised_pnl=rows["realised"] / cash,
            position=rows["position"] / size,
            cash=rows["cash"] / cash,
        )

    @property
    def trades(self) -> "DataFrame":
        """Round trips; one that is open has no end."""
        pd, rows, market = _pandas(), self.trips, self.market
        cash, price = 10.0**market.cash_scale, 10.0**market.price_scale
        closed = pd.Series(pd.to_datetime(np.maximum(rows["closed"], 0), utc=True)).mask(rows["closed"] < 0)
        frame = self._frame(
            rows["opened"],
            side=np.where(rows["side"] > 0, "long", "short"),
            size=rows["size"] / 10.0**market.size_scale,
            entry_price=rows["entry_price"] / price,
            exit_price=np.where(rows["closed"] < 0, np.nan, rows["exit_price"] / price),
            pnl=rows["net"] / cash,
            fees=rows["fees"] / cash,
        )
        frame.index.name = "opened"
        frame["closed"] = closed.set_axis(frame.index)
        frame["duration"] = frame["closed"] - frame.index
        return frame

    @property
    def told(self) -> list[tuple[str, str]]:
        """Each metric's name and what is shown of it to people."""
        return [(name, self._line(name, value)) for name, value in self.found.values.items()]

    def _line(self, name: str, value: float | None) -> str:
        beside = f" ({self.entry.beside})" if name == "sharpe" else ""
        if value is None:
            return f"\u2013 ({self.why[name]}){beside}"
        return in_words(name, value, self.market.cash_scale, self.market.settle) + beside

    @property
    def notes(self) -> list[str]:
        """What the data, the range and the ledger are to be known for, in sentences."""
        return [*self.data.notes, *self.entry.notes]

    def report(self, path: str | Path) -> None:
        """Write it as one HTML file that needs no network; the file appears only when it is complete.

        Raises `ReportError` and OSError.
        """
        write(report(self._page), Path(path))

    def _repr_html_(self) -> str:
        return framed(self._page)

    @property
    def _page(self) -> Page:
        columns, outcome = self.data.prepared.columns, self.outcome
        values = self.data.prepared.values[outcome.first : outcome.last]
        return Page(
            f"{self.spec.code.name} on {columns.market}, {columns.timeframe}",
            [self.headline, *self.incidents, *self.notes],
            self.honesty,
            self.told,
            self.metrics,
            Drawn(self.market, self.curve, values, self.fill_rows, self.held),
            self.trips,
        )

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        columns, spec = self.data.prepared.columns, self.spec
        return {
            "headline": self.headline,
            "strategy": spec.code.name,
            "code_hash": spec.code.code_hash,
            "params": dict(spec.params),
            "market": columns.market,
            "timeframe": columns.timeframe,
            "source": self.data.source,
            "from": iso(self.curve.begin),
            "to": iso(int(self.curve.ends[-1])),
            "candles": len(self.bars),
            "warmed": self.warm,
            "currency": self.market.settle,
            "incidents": self.incidents,
            "fills": len(self.fill_rows),
            "signals": len(self.happened(of.SIGNAL)),
            "metrics": self.metrics,
            **self.entry.to_dict(),
            "why": dict(self.why),
            "honesty": [line._asdict() for line in self.honesty],
            "notes": self.notes,
        }

    # ------------------------------------------------------------ pandas

    def _index(self) -> Any:
        return _pandas().DatetimeIndex(_pandas().to_datetime(self.curve.ends, utc=True), name="timestamp")

    def _series(self, values: Any, name: str) -> Any:
        return _pandas().Series(values, index=self._index(), name=name)

    def _frame(self, times: Any, **columns: Any) -> Any:
        pd = _pandas()
        return pd.DataFrame(
            columns, index=pd.DatetimeIndex(pd.to_datetime(times, utc=True), name="timestamp")
        )

    def _of_eras(self, rows: Table, name: str, scale: str) -> Any:
        scales = np.array([10.0 ** getattr(era, scale) for era in self.data.prepared.columns.eras])
        return rows[name] / scales[rows["era"]]


def held_over(prepared: Prepared, first: int, last: int, cash: int) -> Held | None:
    """Buy and hold over these bars, from the trade behind the first close, the first that can fill; at the
    scales of the last."""
    columns, bars = prepared.columns, prepared.bars
    trade = int(bars["trade"][first])
    eras = columns.eras[: int(bars["era"][last - 1]) + 1]
    if trade < 0 or columns.trades[trade]["era"] >= len(eras):
        return None
    at = columns.trades[trade]
    # the bar that the same row closed was closed before it
    bar = int(np.searchsorted(bars["place"][first:last], at["place"], side="right"))
    era, begun = eras[at["era"]], columns.eras[era_before(prepared, first)]
    cash *= 10 ** (era.cash_scale - begun.cash_scale)
    held = bought(era, cash, int(at["price"]), bar) if cash <= INT64_MAX else None
    return None if held is None else held_rescaled(held, era, eras[-1])


def shown(name: str, value: float | None, cash_scale: int) -> Any:
    """A metric as its unit says."""
    unit = DEFINITIONS[name].unit
    if value is None or unit in ("ratio", "number", "count"):
        return value
    if unit == "money":
        return decimal_string(int(value), cash_scale)
    return iso(int(value)) if unit == "time" else value / 1e9


def in_words(name: str, value: float, cash_scale: int, settle: str) -> str:
    """A metric as people read it."""
    match DEFINITIONS[name].unit:
        case "ratio":
            return f"{value:.2%}"
        case "number":
            return f"{value:.2f}"
        case "money":
            return f"{decimal_string(int(value), cash_scale)} {settle}"
        case "time":
            return iso(int(value))
        case "duration":
            return str(timedelta(seconds=int(value) // 10**9))
        case _:
            return f"{value:,}"


def _words(words: Any, numbers: I8) -> list[str]:
    return [words[number] for number in numbers.tolist()]


def _pandas() -> Any:
    import pandas  # noqa: PLC0415 - a third of a second, for those who look at frames

    return pandas
