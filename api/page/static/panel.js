/** A market's candles with their legend: the chart that the views of markets and of bots share. */

import { CandleFeed } from "./candles.js";
import { drawChart } from "./chart.js";
import { h, problem, setText } from "./dom.js";
import { group, isoOf, places, plain } from "./format.js";
import { keyOf } from "./markets.js";

const BARS_SHOWN = 160;
/** Pages are asked for when fewer bars than this are left on that side. */
const AHEAD = 80;

/**
 * @typedef {object} Panel
 * @property {HTMLElement} element
 * @property {import("./chart.js").Chart} chart
 * @property {CandleFeed} feed
 * @property {HTMLElement} legend where others may add their entries
 * @property {(listener: (time: number | null, id: string | null, point: any) => void) => void} onPoint
 */

/**
 * @param {HTMLElement} place
 * @param {any} market
 * @param {string} timeframe
 * @param {import("./app.js").Context} context
 * @param {(all: boolean) => void} [drawn] after bars were drawn: all of them, or the last
 * @returns {Promise<Panel>}
 */
export async function candlePanel(place, market, timeframe, context, drawn = () => {}) {
  const { signal } = context;
  const now = h(
    "button",
    {
      type: "button",
      className: "now",
      hidden: true,
      onclick: () => feed.now().then(() => signal.aborted || chart.showNewest(BARS_SHOWN)),
    },
    "Newest ⇥",
  );
  const values = h("p", { className: "ohlc" });
  const legend = h("div", { className: "legend" }, values);
  const box = h("div", {
    className: "chart",
    tabIndex: 0,
    role: "img",
    "aria-label": `Candles of ${market.symbol}, ${timeframe}. Arrow keys move through time.`,
  });
  const failed = h("div", { className: "failed" });
  const element = h("div", { className: "panel", "data-stales": "" }, box, legend, now, failed);
  place.append(element);
  const chart = await drawChart(box, places(market.price_step), signal);
  /** @type {number | null} */
  let pointed = null;
  let told = 0;
  const show = () => {
    const bar = barAt(feed.bars, pointed);
    setText(values, bar ? valuesOf(bar) : "");
    values.classList.toggle("fall", Boolean(bar && bar.close < bar.open));
  };
  const drawing = {
    all: (/** @type {number} */ shift) => {
      const forming = feed.bars.forming();
      chart.setBars(forming ? [...feed.bars.closed, forming] : feed.bars.closed, shift);
      now.hidden = feed.bars.live;
      show();
      drawn(true);
    },
    last: (/** @type {any} */ bar) => {
      context.markets.arrived(keyOf(market));
      // a closed bar may come behind the one that is forming already
      if (!chart.setLast(bar)) return drawing.all(0);
      show();
      drawn(false);
    },
    failed: (/** @type {unknown} */ error) => {
      failed.replaceChildren(problem(error));
      clearTimeout(told);
      told = window.setTimeout(() => failed.replaceChildren(), 10_000);
    },
  };
  const feed = new CandleFeed(market, timeframe, drawing, context);
  chart.onRange((from, to) => {
    if (from < AHEAD) feed.older();
    if (to > feed.bars.closed.length - AHEAD) feed.newer();
  });
  chart.onPoint((time) => {
    pointed = time;
    show();
  });
  await feed.load();
  chart.showNewest(Math.min(BARS_SHOWN, Math.max(30, Math.round(box.clientWidth / 7))));
  return {
    element,
    chart,
    feed,
    legend,
    onPoint: (listener) => chart.onPoint(listener),
  };
}

/** @param {import("./bars.js").Bars} bars @param {number | null} time */
function barAt(bars, time) {
  const forming = bars.forming();
  if (time === null || time === forming?.time) return forming ?? bars.last;
  return bars.closed.find((bar) => bar.time === time) ?? bars.last;
}

/** @param {import("./bars.js").Bar} bar */
function valuesOf(bar) {
  const price = (/** @type {"open" | "high" | "low" | "close"} */ name) => group(bar.candle[name]);
  const change = bar.open
    ? ((100 * (bar.close - bar.open)) / bar.open)
        .toFixed(2)
        .replace(/^-(?!0\.00)/, "−")
        .replace("-", "")
    : "0.00";
  const volume = plain(bar.candle.volume);
  const at = isoOf(bar.time);
  return [
    `${at.slice(5, 10)} ${at.slice(11, 16)}`,
    `O ${price("open")}`,
    `H ${price("high")}`,
    `L ${price("low")}`,
    `C ${price("close")}`,
    `${change} %`,
    `Vol ${volume}`,
    bar.forming ? "forming" : "",
  ]
    .map((part) => part.replaceAll(" ", "\u00a0"))
    .join("  ");
}
