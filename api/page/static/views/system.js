/** How the whole stands: lag, ages, dead letters, versions, and what happened lately. */

import { get, poll } from "../api.js";
import { h, setText } from "../dom.js";
import { clock, duration } from "../format.js";
import { Pages, Table, textColumn } from "../table.js";

const REFRESH_MS = 2_000;
const LETTERS = 10;
/** A lag that is looked at: so many journal records. */
const LAG = 100;

/** @type {import("../app.js").View} */
export async function show(main, context) {
  const tiles = h("dl", { className: "tiles" });
  const partitions = new Table("Partitions", partitionColumns(), "There is no partition.");
  const markets = new Table(
    "Markets",
    [
      textColumn("Market", (row) => row.market),
      textColumn("Newest candle", (row) => clock(row.newest), "wide"),
      {
        title: "Age",
        kind: "number",
        show: (cell, row) => cell.firstChild || cell.append(h("span", { "data-age-of": row.market })),
      },
    ],
    "No market has candles yet.",
    (element) => element.toggleAttribute("data-stales", true),
  );
  const letters = new Pages(
    new Table("Dead letters", letterColumns(), "There is none: every record could be read and folded."),
    LETTERS,
    (row) => row.id,
    (page) => get("/api/dead-letters", { ...page, order: "newest" }, context.signal),
  );
  const events = h("ol", { className: "events" });
  main.append(
    h("h1", {}, "System"),
    tiles,
    h(
      "div",
      { className: "columns" },
      h("section", {}, h("h2", {}, "Partitions"), partitions.element),
      h("section", {}, h("h2", {}, "Markets"), markets.element),
    ),
    h("h2", {}, "Dead letters"),
    letters.element,
    h("h2", {}, "Latest events"),
    events,
  );
  const happened = () => events.replaceChildren(...context.recent.map(line));
  const refresh = poll(
    async () => {
      await letters.refresh();
      const health = await get("/api/health", {}, context.signal);
      showTiles(tiles, health);
      partitions.render(health.partitions, (row) => row.partition);
      markets.render(health.markets, (row) => row.market);
    },
    REFRESH_MS,
    context.signal,
  );
  happened();
  for (const kind of ["again", "system"]) {
    context.events.addEventListener(kind, refresh, { signal: context.signal });
    context.events.addEventListener(kind, happened, { signal: context.signal });
  }
}

/** @param {HTMLElement} tiles @param {any} health */
function showTiles(tiles, health) {
  const sum = (/** @type {string} */ name) =>
    health.partitions.reduce((/** @type {number} */ all, /** @type {any} */ one) => all + one[name], 0);
  const { bots, versions } = health;
  const facts = [
    ["Journal lag", `${sum("lag")} records`, sum("lag") > LAG],
    ["Database lag", `${sum("projection_lag")} records`, sum("projection_lag") > LAG],
    ["Dead letters", String(health.dead_letters), health.dead_letters > 0],
    [
      "Bots",
      Object.entries(bots)
        .map(([status, count]) => `${count} ${status}`)
        .join(", ") || "none",
      (bots.halted ?? 0) > 0,
    ],
    ["Version", versions.tcpdashboard, false],
    ["Fold", versions.fold.slice(0, 12), false],
    ["Database", versions.database, false],
    ["Python", versions.python, false],
  ];
  if (!tiles.children.length)
    tiles.append(...facts.map(([name]) => h("div", {}, h("dt", {}, name), h("dd"))));
  facts.forEach(([, value, bad], place) => {
    const shown = /** @type {HTMLElement} */ (tiles.children[place].lastElementChild);
    setText(shown, value);
    shown.classList.toggle("loss", bad);
  });
}

/** @returns {import("../table.js").Column<any>[]} */
function partitionColumns() {
  return [
    textColumn("Partition", (row) => String(row.partition)),
    textColumn("Records", (row) => String(row.highwater), "number"),
    {
      title: "Lag",
      kind: "number",
      show: (cell, row) => {
        setText(cell, String(row.lag));
        cell.classList.toggle("loss", row.lag > LAG);
      },
    },
    textColumn("Database lag", (row) => String(row.projection_lag), "number"),
    textColumn(
      "Recorded",
      (row) => (row.recorded_age_s === null ? "never" : `${duration(1000 * row.recorded_age_s)} ago`),
      "number wide",
    ),
  ];
}

/** @returns {import("../table.js").Column<any>[]} */
function letterColumns() {
  return [
    textColumn("Recorded", (row) => clock(row.timestamp), "time"),
    textColumn("Position", placeOf),
    textColumn("Market", (row) => row.market, "wide"),
    textColumn("Reason", (row) => row.reason, "text"),
    textColumn("Data", (row) => row.data, "text wide"),
  ];
}

/** Where it stands, or where it came from. @param {any} letter */
function placeOf(letter) {
  if (letter.offset >= 0) return `${letter.topic}:${letter.partition}:${letter.offset}`;
  return letter.sequence >= 0 ? `${letter.source}:${letter.sequence}` : letter.source;
}

/** @param {any} event */
function line(event) {
  const told = {
    "bot_changed.v1": () => `Bot ${event.bot_id} is ${event.status}: ${event.message} (${event.who})`,
    "dead_letter.v1": () =>
      `Dead letter at ${placeOf(event)}: ${event.reason}`,
    "source_hole.v1": () =>
      `Records of ${event.source} are missing: ${event.expected} was due, ${event.got} came`,
    "ids_reused.v1": () =>
      `${event.trades} trades of ${event.symbol} have ids of other trades, the first is ${event.venue_id}: all are kept`,
    "worker_started.v1": () => `Worker ${event.worker} started`,
    "worker_stopped.v1": () => `Worker ${event.worker} stopped: ${event.reason}`,
    gap: () => "Some events are no longer in the log",
  }[/** @type {string} */ (event.type)];
  const bad = event.type === "dead_letter.v1" || event.type === "source_hole.v1";
  return h(
    "li",
    { className: bad ? "loss" : "" },
    h("time", {}, clock(event.timestamp ?? event.at ?? null)),
    ` ${told ? told() : event.type}`,
  );
}
