/** All markets, and the candles of one. */

import { SECONDS } from "../bars.js";
import { poll } from "../api.js";
import { h, missing, setText } from "../dom.js";
import { clock, duration, group, plain } from "../format.js";
import { keyOf, linkTo } from "../markets.js";
import { candleTable } from "../candle_table.js";
import { candlePanel } from "../panel.js";
import { Table } from "../table.js";

const LOOK_MS = 1_000;
const wide = matchMedia("(min-width: 64rem)");

/** @type {import("../app.js").View} */
export async function show(main, context, [venue, ...rest], query) {
  const { markets, signal } = context;
  const asked = venue ? `${venue}:${rest.join("/")}` : null;
  const [first] = wide.matches ? markets.items.values() : [];
  const market = asked ? await markets.find(asked, signal) : first;
  const list = listOf(market ? keyOf(market) : null, context);
  const view = h("div", { className: market ? "split" : "" }, list);
  if (asked) view.classList.add("chosen");
  main.append(h("h1", { className: "hidden" }, "Markets"), view);
  if (asked && !market) {
    view.append(missing(`There is no market ${asked}.`, "#/markets", "All markets"));
  } else if (market) {
    await detail(view, market, query.get("tf") ?? "1m", context);
  }
}

/** @param {string | null} chosen @param {import("../app.js").Context} context */
function listOf(chosen, context) {
  const before = new Map();
  const table = new Table(
    "Markets with their last price and the age of their data",
    [
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
        title: "Last",
        kind: "number",
        show: (cell, row) => {
          setText(cell, row.price === null ? "–" : group(row.price));
          const former = before.get(row.market);
          if (former !== undefined && former !== row.price) flash(cell, Number(row.price) > Number(former));
          before.set(row.market, row.price);
        },
      },
      {
        title: "Age",
        kind: "number",
        show: (cell, row) => cell.firstChild || cell.append(h("span", { "data-age-of": row.market })),
      },
    ],
    "No market is in the journal yet.",
    (element, row) => {
      element.toggleAttribute("data-stales", true);
      if (row.market === chosen) element.setAttribute("aria-current", "true");
    },
  );
  const age = h("p", { className: "stale-text" });
  const list = h("section", { className: "list", "aria-label": "All markets" }, age, table.element);
  poll(
    async () => {
      table.render([...context.markets.items.values()], (row) => row.market);
      const late = context.markets.late();
      list.classList.toggle("stale", late > 0);
      if (late) setText(age, `This list is ${duration(late)} old: the server does not answer.`);
    },
    LOOK_MS,
    context.signal,
  );
  return list;
}

/** @param {HTMLElement} cell @param {boolean} rose */
function flash(cell, rose) {
  cell.classList.remove("rose", "fell");
  requestAnimationFrame(() => cell.classList.add(rose ? "rose" : "fell"));
}

/**
 * @param {HTMLElement} view
 * @param {any} market
 * @param {string} asked
 * @param {import("../app.js").Context} context
 */
async function detail(view, market, asked, context) {
  const timeframe = asked in SECONDS ? asked : "1m";
  const key = keyOf(market);
  const price = h("span", { className: "price" });
  const frames = h(
    "div",
    { className: "segments", role: "group", "aria-label": "Timeframe" },
    ...Object.keys(SECONDS).map((name) =>
      h(
        "a",
        { href: `${linkTo(market)}?tf=${name}`, "aria-current": name === timeframe ? "true" : null },
        name,
      ),
    ),
  );
  const facts = h(
    "p",
    { className: "facts muted" },
    `${market.contract} · step ${plain(market.price_step)} · size ${plain(market.size_step)}`,
    ` · fee ${percentOf(market.fee)} · newest `,
    h("span", { id: "newest" }),
    ", ",
    h("span", { "data-age-of": key }),
    " old",
  );
  const section = h(
    "section",
    { className: "detail", "data-stales": "" },
    h(
      "div",
      { className: "head" },
      h("a", { className: "back", href: "#/markets" }, "‹ All"),
      h("h2", {}, market.symbol, h("small", {}, ` ${context.markets.venue(market)}`)),
      price,
      frames,
    ),
    facts,
    h("p", { className: "stale-text" }, "This market's data is old: nothing new arrives."),
  );
  view.append(section);
  const newest = /** @type {HTMLElement} */ (section.querySelector("#newest"));
  /** @type {import("../panel.js").Panel | undefined} */
  let panel;
  /** @type {ReturnType<typeof candleTable> | undefined} */
  let table;
  function showPrice() {
    const bar = panel?.feed.bars.forming() ?? panel?.feed.bars.last;
    if (bar) setText(price, group(bar.candle.close));
    table?.show();
    setText(newest, clock(context.markets.items.get(key)?.newest ?? null));
  }
  panel = await candlePanel(section, market, timeframe, context, showPrice);
  table = candleTable(panel.feed);
  section.append(table.element);
  showPrice();
  context.markets.tick();
}

/** @param {string} rate */
function percentOf(rate) {
  return `${plain((100 * Number(rate)).toFixed(4))} %`;
}
