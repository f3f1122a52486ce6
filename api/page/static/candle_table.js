/** The newest candles as a table, for whoever cannot see the chart or wants its exact numbers. */

import { h } from "./dom.js";
import { clock, group, isoOf } from "./format.js";
import { Table, textColumn } from "./table.js";

const ROWS = 120;

/** @param {{bars: import("./bars.js").Bars}} feed */
export function candleTable(feed) {
  /** @param {string} title @param {string} name @param {string} [kind] */
  const amount = (title, name, kind = "number") =>
    textColumn(title, (/** @type {any} */ bar) => group(bar.candle[name]), kind);
  const table = new Table(
    "Candles",
    [
      textColumn("Close", (bar) => clock(isoOf(bar.time))),
      amount("Open", "open", "number wide"),
      amount("High", "high", "number wide"),
      amount("Low", "low", "number wide"),
      amount("Price", "close"),
      amount("Volume", "volume"),
      textColumn("Trades", (bar) => String(bar.candle.trades), "number wide"),
    ],
    "There is no candle yet.",
  );
  const show = () => {
    if (element.open) table.render(feed.bars.closed.slice(-ROWS).reverse(), (bar) => bar.time);
  };
  const element = h(
    "details",
    { className: "candles", ontoggle: show },
    h("summary", {}, "Closed candles as a table"),
    table.element,
  );
  return { element, show };
}
