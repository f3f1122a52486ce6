/** A bot's signals, orders and fills as tables, the newest first. */

import { get, path } from "../api.js";
import { h, setClass, setText } from "../dom.js";
import { clock, plain, sign } from "../format.js";
import { Pages, Table, textColumn } from "../table.js";

const ROWS = 25;
const when = (/** @type {string} */ name) => textColumn("Time", (/** @type {any} */ row) => clock(row[name]));
const amount = (/** @type {string} */ title, /** @type {string} */ name, kind = "number") =>
  textColumn(title, (/** @type {any} */ row) => plain(row[name]), kind);
const side = textColumn("Side", (/** @type {any} */ row) => row.side);

/** @typedef {import("../table.js").Column<any>[]} Columns */
/** @typedef {{route: string, key: string, empty: string, columns: Columns}} List */
/** @type {Record<string, List>} */
export const LISTS = {
  Signals: {
    route: "signals",
    key: "cause",
    empty: "It has given no signal yet.",
    columns: [
      when("timestamp"),
      textColumn("Target", (row) => `${row.previous} → ${row.target}`, "number"),
      amount("Price", "price", "number wide"),
      { title: "Decision", show: (cell, row) => badge(cell, row.decision, row.decision) },
      textColumn("Why", (row) => row.message),
      textColumn(
        "Values",
        (row) =>
          Object.entries(row.values)
            .map(([name, value]) => `${name} ${value === null ? "–" : Number(value).toPrecision(6)}`)
            .join(", "),
        "wide",
      ),
    ],
  },
  Orders: {
    route: "orders",
    key: "order_id",
    empty: "It has given no order yet.",
    columns: [
      when("timestamp"),
      side,
      amount("Size", "size"),
      amount("Price", "price", "number wide"),
      amount("Filled", "filled", "number wide"),
      { title: "Status", show: (cell, row) => badge(cell, row.status, row.status) },
      textColumn("Why", (row) => row.code || row.reason, "wide"),
    ],
  },
  Fills: {
    route: "fills",
    key: "cause",
    empty: "Nothing was filled yet.",
    columns: [
      when("timestamp"),
      side,
      amount("Size", "size"),
      amount("Price", "price"),
      textColumn("Fee", (row) => `${plain(row.fee)} ${row.fee_currency}`, "number wide"),
      {
        title: "Realised",
        kind: "number",
        show: (cell, row) => {
          setText(cell, plain(row.realised_pnl));
          cell.classList.toggle("gain", sign(row.realised_pnl) > 0);
          cell.classList.toggle("loss", sign(row.realised_pnl) < 0);
        },
      },
      amount("Position", "position", "number wide"),
      textColumn("Cause", (row) => row.cause, "wide"),
    ],
  },
};

/** @param {string} name @param {any} bot @param {import("../app.js").Context} context */
export function listOf(name, bot, context) {
  const { route, key, empty, columns } = LISTS[name];
  const table = new Table(name, columns, empty);
  return new Pages(
    table,
    ROWS,
    (row) => row[key],
    (page) => get(path("api", "bots", bot.bot_id, route), { ...page, order: "newest" }, context.signal),
  );
}

/** @param {HTMLElement} cell @param {string} kind @param {string} text */
function badge(cell, kind, text) {
  const shown = cell.firstElementChild ?? cell.appendChild(h("span"));
  setClass(shown, `badge ${kind}`);
  setText(shown, text);
}
