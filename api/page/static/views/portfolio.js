/** What all bots hold together, by currency, and their open positions. */

import { get, poll } from "../api.js";
import { h, setText } from "../dom.js";
import { clock, money, percent, plain, sign, signedMoney } from "../format.js";
import { keyOf } from "../markets.js";
import { Table, textColumn } from "../table.js";

const REFRESH_MS = 3_000;
const ROWS = 100;

/** @type {import("../app.js").View} */
export async function show(main, context) {
  const totals = new Table("Totals by currency", totalColumns(), "There is no bot yet.");
  const held = new Table("Open positions", heldColumns(context.markets), "No bot holds a position.", (element) =>
    element.toggleAttribute("data-stales", true),
  );
  const marked = h("p", { className: "muted" });
  const more = h("button", { type: "button", hidden: true }, `Show ${ROWS} more`);
  let rows = ROWS;
  let page = { totals: [], positions: /** @type {any[]} */ ([]), marked: null };
  const draw = () => {
    totals.render(page.totals, (row) => row.currency);
    held.render(page.positions.slice(0, rows), (row) => row.bot_id);
    more.hidden = page.positions.length <= rows;
    setText(
      marked,
      page.marked
        ? `The oldest mark among them is of ${clock(page.marked)}. Sums are of exact decimals.`
        : "",
    );
    setText(heading, `Open positions (${page.positions.length})`);
  };
  const heading = h("h2", {}, "Open positions");
  more.addEventListener("click", () => {
    rows += ROWS;
    draw();
  });
  main.append(h("h1", {}, "Portfolio"), totals.element, marked, heading, held.element, more);
  const refresh = poll(
    async () => {
      page = await get("/api/portfolio", {}, context.signal);
      draw();
    },
    REFRESH_MS,
    context.signal,
  );
  context.events.addEventListener("again", refresh, { signal: context.signal });
}

function totalColumns() {
  /** @param {string} title @param {string} name @param {string} [kind] */
  const amount = (title, name, kind = "number wide") =>
    textColumn(title, (/** @type {any} */ row) => money(row[name], row.currency), kind);
  return [
    textColumn("Currency", (row) => row.currency),
    textColumn("Bots", (row) => String(row.bots), "number"),
    amount("Equity", "equity", "number"),
    gains("P&L", "pnl"),
    textColumn("P&L %", (row) => percent(row.pnl, row.initial_cash), "number wide"),
    amount("Realised", "realised_pnl"),
    amount("Fees", "fees"),
    amount("Cash", "cash"),
    amount("In positions", "cost"),
    amount("Initial cash", "initial_cash"),
  ];
}

/** @param {string} title @param {string} name @returns {import("../table.js").Column<any>} */
function gains(title, name) {
  return {
    title,
    kind: "number",
    show: (cell, row) => {
      setText(cell, signedMoney(row[name], row.currency));
      cell.classList.toggle("gain", sign(row[name]) > 0);
      cell.classList.toggle("loss", sign(row[name]) < 0);
    },
  };
}

/** @param {import("../markets.js").Markets} markets @returns {import("../table.js").Column<any>[]} */
function heldColumns(markets) {
  return [
    {
      title: "Bot",
      show: (cell, row) =>
        cell.firstChild || cell.append(h("a", { href: `#/bots/${row.bot_id}` }, String(row.bot_id))),
    },
    textColumn("Market", (row) => `${row.symbol} ${markets.venue(row)}`),
    textColumn("Side", (row) => (sign(row.position) > 0 ? "long" : "short")),
    textColumn("Position", (row) => plain(row.position), "number"),
    textColumn("Entry value", (row) => `${money(row.cost, row.currency)} ${row.currency}`, "number wide"),
    {
      title: "Age",
      kind: "number wide",
      show: (cell, row) => cell.firstChild || cell.append(h("span", { "data-age-of": keyOf(row) })),
    },
  ];
}
