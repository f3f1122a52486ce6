/** One bot: its candles with all it did, its figures, its lists, and the commands to it. */

import { get, path, poll } from "../api.js";
import { ACTS, ask } from "../ask.js";
import { h, missing, setClass, setText } from "../dom.js";
import { clock, money, parameters, percent, places, plain, sign, signedMoney } from "../format.js";
import { keyOf } from "../markets.js";
import { Overlays } from "../overlays.js";
import { candlePanel } from "../panel.js";
import { LISTS, listOf } from "./bot_lists.js";

const REFRESH_MS = 2_000;
const SETTLE_MS = 300;

/** @type {import("../app.js").View} */
export async function show(main, context, [id]) {
  const url = path("api", "bots", id);
  let bot = await found(url, context.signal);
  if (!bot) {
    main.append(missing(`There is no bot ${id}.`, "#/bots", "All bots"));
    return;
  }
  const market = await context.markets.find(keyOf(bot), context.signal);
  const head = headOf(bot, context, () => refresh());
  const chart = h("section", { className: "detail", "aria-label": "Chart" });
  const lists = h("section", { className: "lists", "aria-label": "What it did" });
  main.append(head.element, chart, lists);
  const refresh = poll(
    async () => {
      bot = await get(url, {}, context.signal);
      head.show(bot);
    },
    REFRESH_MS,
    context.signal,
  );
  const list = tabs(lists, bot, context);
  let later = 0;
  /** @type {Overlays | undefined} */
  let overlays;
  /** @type {(() => void) | undefined} */
  let said;
  const changed = () => {
    later ||= window.setTimeout(() => {
      later = 0;
      refresh();
      list.refresh();
      overlays?.refresh();
    }, SETTLE_MS);
  };
  context.signal.addEventListener("abort", () => clearTimeout(later));
  const reader = { snapshot: changed, message: changed };
  context.stream(path("ws", "bot", id, "status"), reader, context.signal);
  context.stream(path("ws", "portfolio", id), reader, context.signal);
  const panel = await candlePanel(chart, market, bot.timeframe, context, (all) =>
    all ? overlays?.refresh() : said?.(),
  );
  const made = new Overlays(bot, panel, context.signal);
  const strategies = await get("/api/strategies", {}, context.signal);
  const strategy = strategies.items.find((/** @type {any} */ item) => item.strategy === bot.strategy);
  const panes = await made.begin(strategy?.indicators ?? [], places(market.price_step));
  overlays = made;
  panel.element.style.setProperty("--panes", String(panes.length));
  said = legend(panel, made, panes, context.signal);
  tips(panel, made);
}

/**
 * The bot; null where there is none of that number, or it is no number.
 * @param {string} url
 * @param {AbortSignal} signal
 */
async function found(url, signal) {
  try {
    return await get(url, {}, signal);
  } catch (error) {
    if (![404, 422].includes(/** @type {any} */ (error).status)) throw error;
    return null;
  }
}

/** @param {any} first @param {import("../app.js").Context} context @param {() => void} refresh */
function headOf(first, context, refresh) {
  let bot = first;
  const badge = h("span");
  const state = h("span", { className: "muted" });
  const buttons = Object.entries(ACTS).map(([name, act]) =>
    h(
      "button",
      { type: "button", "data-act": name, onclick: async () => (await ask(name, bot, context.signal)) && refresh() },
      act.label,
    ),
  );
  const holds = h("p", { className: "held", hidden: true });
  const figures = h("dl", { className: "tiles" });
  const element = h(
    "div",
    { "data-stales": "" },
    h(
      "div",
      { className: "head" },
      h("a", { className: "back", href: "#/bots" }, "‹ All"),
      h("h1", {}, `Bot ${bot.bot_id} ${bot.name} `.replace("  ", " "), h("small", {}, bot.strategy)),
      badge,
      h(
        "a",
        { href: `#/markets/${path(bot.venue, bot.symbol).slice(1)}?tf=${bot.timeframe}` },
        `${bot.symbol} ${context.markets.venue(bot)}`,
      ),
      h("span", {}, bot.timeframe),
      h("div", { className: "buttons" }, ...buttons),
    ),
    state,
    holds,
    figures,
    h("p", { className: "stale-text" }, "This bot's market is old: nothing new arrives."),
  );
  const show = (/** @type {any} */ now) => {
    bot = now;
    setClass(badge, `badge ${bot.status}`);
    setText(badge, bot.status);
    const why = whyItHolds(bot, context.markets.items.get(keyOf(bot)));
    setText(holds, why);
    holds.hidden = !why;
    setText(state, `${bot.message}, by ${bot.who}, ${clock(bot.timestamp)}`);
    for (const button of buttons) {
      const running = bot.status === "running";
      const fits = {
        start: !running,
        stop: running,
        flatten: running || sign(bot.position) !== 0,
        halt: bot.status !== "halted",
      };
      button.disabled = !context.may("trade") || !fits[/** @type {keyof typeof fits} */ (button.dataset.act)];
      button.title = context.may("trade") ? "" : "This needs a token of scope trade.";
    }
    showFigures(figures, bot);
  };
  show(bot);
  return { element, show };
}

/** Why a bot opens nothing now, "" where it may. @param {any} bot @param {any} market */
function whyItHolds(bot, market) {
  if (bot.status !== "running" || bot.on_stale === "ignore" || !market || market.feed === "live") return "";
  const reason = market.feed_reason && `: ${market.feed_reason}`;
  return `It opens nothing: the feed of ${market.feed_source} is ${market.feed.replace("_", " ")}${reason}`;
}

/** @param {HTMLElement} figures @param {any} bot */
function showFigures(figures, bot) {
  const amount = (/** @type {string} */ value) => `${money(value, bot.currency)} ${bot.currency}`;
  const gain = (/** @type {string} */ value) => (sign(value) > 0 ? "gain" : sign(value) < 0 ? "loss" : "");
  const facts = [
    ["Equity", amount(bot.equity), ""],
    ["P&L", `${signedMoney(bot.pnl, bot.currency)}\n${percent(bot.pnl, bot.initial_cash)}`, gain(bot.pnl)],
    ["Position", plain(bot.position), ""],
    ["Realised", signedMoney(bot.realised_pnl, bot.currency), gain(bot.realised_pnl)],
    ["Fees", amount(bot.fees), ""],
    ["Cash", amount(bot.cash), ""],
    ["Marked", clock(bot.marked).replace(" ", "\n"), ""],
    ["Age of data", "", ""],
  ];
  if (!figures.children.length) {
    figures.append(...facts.map(([name]) => h("div", {}, h("dt", {}, name), h("dd"))));
    figures.lastElementChild?.lastElementChild?.setAttribute("data-age-of", keyOf(bot));
  }
  facts.slice(0, -1).forEach(([, value, kind], place) => {
    const shown = /** @type {HTMLElement} */ (figures.children[place].lastElementChild);
    setText(shown, value);
    setClass(shown, kind);
  });
}

/** @param {HTMLElement} place @param {any} bot @param {import("../app.js").Context} context */
function tabs(place, bot, context) {
  const names = [...Object.keys(LISTS), "Parameters"];
  const body = h("div", { role: "tabpanel", id: "list", tabIndex: -1 });
  let shown = { refresh: async () => {} };
  const choose = (/** @type {string} */ name) => {
    for (const button of buttons) button.setAttribute("aria-selected", String(button.textContent === name));
    if (name === "Parameters") {
      shown = { refresh: async () => {} };
      body.replaceChildren(parametersOf(bot));
      return;
    }
    const pages = listOf(name, bot, context);
    shown = pages;
    body.replaceChildren(pages.element);
    pages.refresh();
  };
  const buttons = names.map((name) =>
    h("button", { type: "button", role: "tab", "aria-controls": "list", onclick: () => choose(name) }, name),
  );
  place.append(h("div", { className: "segments", role: "tablist", "aria-label": "Lists" }, ...buttons), body);
  choose(names[0]);
  return { refresh: () => shown.refresh() };
}

/** @param {any} bot */
function parametersOf(bot) {
  const facts = [
    ["Name", bot.name || "none"],
    ["Tags", bot.tags.join(", ") || "none"],
    ["Strategy", bot.strategy],
    ["Parameters", parameters(bot.params) || "none"],
    ["Size", bot.sizing],
    ["Short", bot.short ? "allowed" : "not allowed"],
    ["Initial cash", `${plain(bot.initial_cash)} ${bot.currency}`],
    ["Code", bot.code_hash.slice(0, 16)],
  ];
  return h(
    "dl",
    { className: "facts" },
    ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

/**
 * Values under the pointer, beside each pane.
 * @param {import("../panel.js").Panel} panel
 * @param {Overlays} overlays
 * @param {any[]} panes
 * @param {AbortSignal} signal
 */
function legend(panel, overlays, panes, signal) {
  const below = new Set(panes.flatMap((pane) => pane.names));
  const entry = (/** @type {string} */ name) => {
    const value = h("b");
    const element = h("span", { className: `entry ${overlays.color(name).slice(2)}` }, name, " ", value);
    return { name, value, element };
  };
  const over = overlays.names.filter((name) => !below.has(name)).map(entry);
  panel.legend.append(h("p", {}, ...over.map((one) => one.element)));
  const boxes = panes.map((pane) => {
    const entries = pane.names.map(entry);
    const element = h(
      "p",
      { className: "legend low" },
      ...entries.map((/** @type {any} */ one) => one.element),
    );
    panel.element.append(element);
    return { pane, entries, element };
  });
  /** @type {number | null} */
  let pointed = null;
  const show = (time = pointed) => {
    pointed = time;
    for (const { name, value } of [...over, ...boxes.flatMap((one) => one.entries)])
      setText(value, overlays.valueAt(name, time));
    for (const { pane, element } of boxes) element.style.top = `${pane.place.top() + 4}px`;
  };
  panel.onPoint((time) => show(time));
  const settled = () => requestAnimationFrame(() => signal.aborted || show());
  const resized = new ResizeObserver(settled);
  resized.observe(panel.element);
  signal.addEventListener("abort", () => resized.disconnect());
  settled();
  return () => show();
}

/**
 * The text of the marker under the pointer.
 * @param {import("../panel.js").Panel} panel
 * @param {Overlays} overlays
 */
function tips(panel, overlays) {
  const tip = h("div", { className: "tip", role: "tooltip", hidden: true });
  panel.element.append(tip);
  panel.onPoint((_, id, point) => {
    const lines = id && point ? overlays.lines(String(id)) : [];
    tip.hidden = lines.length === 0;
    if (tip.hidden) return;
    tip.replaceChildren(...lines.map((line) => h("p", {}, line)));
    const room = panel.element.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, Math.min(room, point.x + 14))}px`;
    tip.style.top = `${point.y + 14}px`;
  });
}
