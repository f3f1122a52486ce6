/** All bots, a page of them at a time: what they hold, how they do, start and stop. */

import { get, poll } from "../api.js";
import { ask } from "../ask.js";
import { h, setClass, setText } from "../dom.js";
import { money, percent, plain, sign, signedMoney } from "../format.js";
import { keyOf } from "../markets.js";
import { Pages, Table, textColumn } from "../table.js";

const ROWS = 50;
const REFRESH_MS = 2_000;
const COUNTS_MS = 10_000;
const STATUSES = ["running", "stopped", "halted"];

/** @type {import("../app.js").View} */
export async function show(main, context, _, query) {
  const status = STATUSES.includes(query.get("status") ?? "") ? query.get("status") : null;
  /** @type {Map<number, any>} the newest change of each bot that the socket told */
  const told = new Map();
  const filter = h("div", { className: "segments", role: "group", "aria-label": "Status" });
  const table = new Table(
    "Bots",
    columns(context, () => refresh()),
    "There is no such bot.",
    (element, row) => {
      element.toggleAttribute("data-stales", true);
      setClass(element, `bot ${row.status}${context.markets.stale(keyOf(row)) ? " stale" : ""}`);
    },
  );
  const pages = new Pages(
    table,
    ROWS,
    (row) => row.bot_id,
    async (page) => {
      const answer = await get("/api/bots", { ...page, status }, context.signal);
      return { ...answer, items: answer.items.map((/** @type {any} */ row) => changed(row, told)) };
    },
  );
  main.append(
    h("h1", { className: "hidden" }, "Bots"),
    h("div", { className: "head" }, filter),
    pages.element,
  );
  const counts = poll(
    async () => {
      const { bots } = await get("/api/health", {}, context.signal);
      showCounts(filter, bots, status);
    },
    COUNTS_MS,
    context.signal,
  );
  const refresh = poll(() => pages.refresh(), REFRESH_MS, context.signal);
  context.events.addEventListener("again", refresh, { signal: context.signal });
  context.events.addEventListener(
    "system",
    (event) => {
      const change = /** @type {CustomEvent} */ (event).detail;
      if (change.type !== "bot_changed.v1") return;
      // a row that no longer fits the filter goes with the next refresh
      told.set(change.bot_id, change);
      table.patch(change.bot_id, { status: change.status, message: change.message });
      counts();
    },
    { signal: context.signal },
  );
}

/**
 * A row as the socket told it, where the database does not know that change yet.
 * @param {any} row
 * @param {Map<number, any>} told
 */
function changed(row, told) {
  const change = told.get(row.bot_id);
  const [offset, index] = placeOf(row.cause);
  const [newest, last] = placeOf(change?.cause ?? "");
  const newer = newest > offset || (newest === offset && last > index);
  return newer ? { ...row, status: change.status, message: change.message } : row;
}

/** Offset and index of a cause; all of a bot's are of one partition. @param {string} cause */
function placeOf(cause) {
  return cause.split(":").slice(1).map(Number);
}

/**
 * @param {import("../app.js").Context} context
 * @param {() => void} refresh
 * @returns {import("../table.js").Column<any>[]}
 */
function columns(context, refresh) {
  return [
    {
      title: "Bot",
      show: (cell, row) => {
        if (!cell.firstChild)
          cell.append(
            h("a", { href: `#/bots/${row.bot_id}` }, `${row.bot_id} ${row.name || row.strategy}`),
            h("span", { className: "narrow muted" }),
          );
        setText(cell.children[1], context.markets.venue(row));
      },
    },
    {
      title: "State",
      show: (cell, row) => {
        const badge = cell.firstElementChild ?? cell.appendChild(h("span"));
        setClass(badge, `badge ${row.status}`);
        setText(badge, row.status);
        cell.title = row.message;
      },
    },
    textColumn("Market", (row) => `${row.symbol} ${context.markets.venue(row)}`, "wide"),
    textColumn("Timeframe", (row) => row.timeframe, "wide"),
    {
      title: "Position",
      kind: "number wide",
      show: (cell, row) => {
        setText(cell, plain(row.position));
        cell.classList.toggle("none", !sign(row.position));
      },
    },
    textColumn("Equity", (row) => `${money(row.equity, row.currency)} ${row.currency}`, "number wide"),
    {
      title: "P&L",
      kind: "number",
      show: (cell, row) => {
        setText(cell, signedMoney(row.pnl, row.currency));
        cell.classList.toggle("gain", sign(row.pnl) > 0);
        cell.classList.toggle("loss", sign(row.pnl) < 0);
        cell.title = `${row.pnl} ${row.currency}`;
      },
    },
    textColumn("P&L %", (row) => percent(row.pnl, row.initial_cash), "number wide"),
    {
      title: "Age",
      kind: "number wide",
      show: (cell, row) => cell.firstChild || cell.append(h("span", { "data-age-of": keyOf(row) })),
    },
    {
      title: "Action",
      kind: "action",
      show: (cell, row) => {
        const button = /** @type {HTMLButtonElement} */ (
          cell.firstElementChild ?? cell.appendChild(h("button", { type: "button" }))
        );
        const act = row.status === "running" ? "stop" : "start";
        setText(button, act === "stop" ? "Stop" : "Start");
        button.setAttribute("aria-label", `${button.textContent} bot ${row.bot_id}`);
        button.disabled = !context.may("trade");
        button.title = button.disabled ? "This needs a token of scope trade." : "";
        button.onclick = async () => (await ask(act, row, context.signal)) && refresh();
      },
    },
  ];
}

/** @param {HTMLElement} filter @param {Record<string, number>} counts @param {string | null} chosen */
function showCounts(filter, counts, chosen) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const links = [[null, "all", total], ...STATUSES.map((name) => [name, name, counts[name] ?? 0])];
  if (!filter.children.length) {
    filter.append(
      ...links.map(([name]) =>
        h("a", {
          href: name ? `#/bots?status=${name}` : "#/bots",
          "aria-current": name === chosen ? "true" : null,
        }),
      ),
    );
  }
  links.forEach(([, label, count], place) => setText(filter.children[place], `${label} ${count}`));
}
