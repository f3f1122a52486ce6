/** How each market that is collected stands, and the sources behind them. */

import { get, poll } from "../api.js";
import { h, setClass, setText } from "../dom.js";
import { clock, duration } from "../format.js";
import { linkTo } from "../markets.js";
import { Table, textColumn } from "../table.js";

const REFRESH_MS = 2_000;

/** @type {import("../app.js").View} */
export async function show(main, context) {
  const tiles = h("dl", { className: "tiles" });
  const warnings = h("div", { role: "status" });
  const markets = new Table(
    "Markets that are collected",
    marketColumns(context),
    "Nothing is collected: tcpdashboard up --feed VENUE:SYMBOL begins.",
  );
  const sources = new Table("Sources", sourceColumns(), "No collector of this home is at work.");
  main.append(
    h("h1", {}, "Sources"),
    tiles,
    warnings,
    markets.element,
    h("h2", {}, "Collectors of this home"),
    sources.element,
  );
  poll(
    async () => {
      const { items } = await get("/api/sources", {}, context.signal);
      showTiles(tiles, items);
      showWarnings(warnings, items);
      markets.render(items, (row) => `${row.source} ${row.market}`);
      const bySource = new Map(items.map((/** @type {any} */ item) => [item.source, item]));
      sources.render(
        [...bySource.values()].filter((row) => row.collector),
        (row) => row.source,
      );
    },
    REFRESH_MS,
    context.signal,
  );
}

/** @param {HTMLElement} tiles @param {any[]} items */
function showTiles(tiles, items) {
  const live = items.filter((item) => item.state === "live").length;
  const open = items.reduce((all, item) => all + item.gaps_open, 0);
  const days = items[0]?.days_left ?? null;
  const facts = [
    ["Live", `${live} of ${items.length}`, live < items.length],
    ["Open gaps", String(open), open > 0],
    ["Disk lasts", days === null ? "not known yet" : `${days} days`, days !== null && days < 7],
  ];
  if (!tiles.children.length)
    tiles.append(...facts.map(([name]) => h("div", {}, h("dt", {}, String(name)), h("dd"))));
  facts.forEach(([, value, bad], place) => {
    const shown = /** @type {HTMLElement} */ (tiles.children[place].lastElementChild);
    setText(shown, String(value));
    shown.classList.toggle("loss", Boolean(bad));
  });
}

/** @param {HTMLElement} place @param {any[]} items */
function showWarnings(place, items) {
  const words = [...new Set(items.map((item) => item.warning).filter(Boolean))];
  if (words.join() === [...place.children].map((one) => one.textContent).join()) return;
  place.replaceChildren(...words.map((text) => h("p", { className: "problem" }, text)));
}

/** @param {import("../app.js").Context} context @returns {import("../table.js").Column<any>[]} */
function marketColumns(context) {
  return [
    {
      title: "Market",
      show: (cell, row) =>
        cell.firstChild ||
        cell.append(
          h("a", { href: linkTo(row) }, row.symbol),
          h("span", { className: "muted" }, ` ${context.markets.venue(row)}`),
        ),
    },
    {
      title: "State",
      show: (cell, row) => {
        const badge = cell.firstElementChild ?? cell.appendChild(h("span"));
        setClass(badge, `badge ${row.state}`);
        setText(badge, row.state.replace("_", " "));
      },
    },
    textColumn("Age", (row) => (row.age_s === null ? "–" : duration(1000 * row.age_s)), "number"),
    textColumn("Trades/s", (row) => (row.trades_s === null ? "–" : row.trades_s.toFixed(1)), "number wide"),
    {
      title: "Open gaps",
      kind: "number",
      show: (cell, row) => {
        setText(cell, row.gaps_final ? `${row.gaps_open} (${row.gaps_final} final)` : String(row.gaps_open));
        cell.classList.toggle("loss", row.gaps_open > 0);
      },
    },
    textColumn("Filled", (row) => String(row.gaps_filled), "number wide"),
    textColumn("Repeats", (row) => whole(row.repeats), "number wide"),
    textColumn("Refused", (row) => whole(row.refused), "number wide"),
    textColumn("Since", (row) => (row.since && row.state !== "live" ? clock(row.since) : ""), "time wide"),
    textColumn("Why", (row) => row.reason, "text wide"),
  ];
}

/** @returns {import("../table.js").Column<any>[]} */
function sourceColumns() {
  return [
    textColumn("Source", (row) => row.source),
    textColumn("Clock ahead", (row) => (row.skew_ms === null ? "–" : `${row.skew_ms} ms`), "number"),
    textColumn("Cuts", (row) => whole(row.reconnects), "number"),
    textColumn(
      "REST pages a minute",
      (row) => (row.rest_pages === null ? "–" : `${row.rest_pages} of ${row.rest_pages_max}`),
      "number wide",
    ),
    textColumn("Raw frames lost", (row) => whole(row.raw_dropped), "number wide"),
    textColumn("MB a day", (row) => (row.mb_day === null ? "–" : String(row.mb_day)), "number wide"),
    textColumn("Refused messages", (row) => whole(row.refused_messages), "number wide"),
    textColumn(
      "Last error",
      (row) => (row.last_error === null ? "" : `${clock(row.last_error_at)} ${row.last_error}`),
      "text wide",
    ),
    textColumn("Collector", (row) => row.collector, "wide"),
  ];
}

/** @param {number | null} count */
function whole(count) {
  return count === null ? "–" : String(count);
}
