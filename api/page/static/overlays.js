/** What a bot did, on and below its candles: indicators, signals, fills, equity and drawdown. */

import { ApiError, get, path } from "./api.js";
import { isoOf, money, secondsOf } from "./format.js";
import { markersOf, linesOfFill, linesOfSignal } from "./markers.js";

const LIMIT = 3_000;
/** Rows that arrived late are looked for so many candles back. */
const AGAIN = 3;
/** Indicators are asked for at least so often. */
const VALUES_MS = 30_000;

/**
 * What was told of the bars that are shown.
 * @typedef {object} Known
 * @property {Map<number, any>} values of indicators, by close in s
 * @property {Map<string, any>} signals by cause
 * @property {Map<string, any>} fills by cause
 * @property {Map<number, any>} marks by close in s
 */

export class Overlays {
  #bot;
  #panel;
  #signal;
  /** @type {Map<string, {set: Function, last: Function, color: string}>} lines by name of their value */
  #lines = new Map();
  /** @type {Known} */
  #known = { values: new Map(), signals: new Map(), fills: new Map(), marks: new Map() };
  /** @type {[number, number] | null} what was asked for already, in s */
  #covered = null;
  #valuesNext = 0;
  #valuesFrom = Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  #running = false;
  #wanted = false;

  /** @param {any} bot @param {import("./panel.js").Panel} panel @param {AbortSignal} signal */
  constructor(bot, panel, signal) {
    this.#bot = bot;
    this.#panel = panel;
    this.#signal = signal;
  }

  /**
   * Make the panes.
   * @param {{name: string, values: string[], pane: string | null}[]} indicators
   * @param {number} digits of prices
   */
  async begin(indicators, digits) {
    const { chart } = this.#panel;
    await this.refresh();
    this.#signal.throwIfAborted();
    const panes = [];
    for (const { name, values, pane } of indicators) {
      const over =
        pane === "price" || (pane === null && values.every((value) => this.#looksLikePrice(value)));
      const place = over ? null : chart.pane(0.34);
      for (const value of values) {
        const line = !place
          ? chart.line(digits)
          : value.endsWith(".histogram")
            ? place.bars(2)
            : place.line(2);
        this.#lines.set(value, { ...line, color: line.name });
      }
      if (place) panes.push({ place, names: values, label: name });
    }
    const equity = chart.pane(0.34);
    this.#lines.set("equity", { ...equity.area(2, "--line-1"), color: "--line-1" });
    const drawdown = chart.pane(0.26);
    this.#lines.set("drawdown %", { ...drawdown.area(2, "--down"), color: "--down" });
    panes.push(
      { place: equity, names: ["equity"], label: "equity" },
      { place: drawdown, names: ["drawdown %"], label: "drawdown" },
    );
    for (const { place } of panes) place.ready();
    this.draw();
    return panes;
  }

  /** The colour of a value's line. @param {string} name */
  color(name) {
    return this.#lines.get(name)?.color ?? "";
  }

  get names() {
    return [...this.#lines.keys()];
  }

  /** A value at a bar, for the legend. @param {string} name @param {number | null} time null: the newest */
  valueAt(name, time) {
    const mark = name === "equity" && at(this.#known.marks, time);
    if (mark) return money(mark.equity, this.#bot.currency);
    if (name === "drawdown %") return at(this.#drawdowns, time)?.toFixed(2).replace("-", "−") ?? "";
    const value = at(this.#known.values, time)?.[name];
    return typeof value === "number" ? value.toPrecision(7).replace(/\.?0+$/, "") : "";
  }

  /** A marker's text, line by line. @param {string} id */
  lines(id) {
    const cause = id.slice(2);
    return id.startsWith("s")
      ? linesOfSignal(this.#known.signals.get(cause))
      : linesOfFill(this.#known.fills.get(cause));
  }

  /** Ask for what the window shows and is not known yet; calls that come meanwhile become one more. */
  async refresh() {
    this.#wanted = true;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#wanted && !this.#signal.aborted) {
        this.#wanted = false;
        await this.#ask();
        this.draw();
      }
    } catch (error) {
      // what could not be had now is asked for again with the next candle
      if (!(error instanceof ApiError) && !this.#signal.aborted) throw error;
    } finally {
      this.#running = false;
    }
  }

  async #ask() {
    const { bars } = this.#panel.feed;
    if (!bars.first) return;
    const [from, to] = [bars.first.time - bars.seconds, bars.last.time + bars.seconds];
    const asked = this.#covered && from <= this.#covered[1] && to >= this.#covered[0] ? this.#covered : null;
    if (!asked) this.#forget(from, to, true);
    if (asked && from < asked[0]) await this.#read(from, asked[0]);
    const marked = ([...this.#known.marks.keys()].pop() ?? -Infinity) - AGAIN * bars.seconds;
    await this.#read(asked ? Math.max(from, Math.min(asked[1], marked)) : from, to);
    this.#covered = [from, to];
    this.draw();
    await this.#askValues(from, to);
    this.#forget(from, to, false);
  }

  /** @param {number} from exclusive, s @param {number} to inclusive, s */
  async #read(from, to) {
    const query = { from: isoOf(from), to: isoOf(to), order: "newest", limit: LIMIT };
    const [signals, fills, { items: marks }] = await Promise.all([
      this.#get("signals", query),
      this.#get("fills", query),
      get(this.#url("equity"), query, this.#signal),
    ]);
    for (const row of signals) this.#known.signals.set(row.cause, { ...row, at: secondsOf(row.timestamp) });
    for (const row of fills) this.#known.fills.set(row.cause, { ...row, at: secondsOf(row.timestamp) });
    for (const row of marks) this.#known.marks.set(secondsOf(row.timestamp), row);
    this.#known.marks = sorted(this.#known.marks);
  }

  /**
   * The strategy is run again for its values: what takes long is asked for rarely.
   * @param {number} from
   * @param {number} to
   */
  async #askValues(from, to) {
    if (performance.now() < this.#valuesNext) {
      clearTimeout(this.#later);
      this.#later = setTimeout(
        () => this.#signal.aborted || this.refresh(),
        this.#valuesNext - performance.now(),
      );
      return;
    }
    const began = performance.now();
    const newest = [...this.#known.values.keys()].pop();
    if (newest === undefined || this.#valuesFrom > to) {
      await this.#readValues(from, to);
    } else {
      if (from < this.#valuesFrom) await this.#readValues(from, this.#valuesFrom);
      await this.#readValues(newest, to);
    }
    this.#valuesFrom = from;
    this.#valuesNext = performance.now() + Math.min(VALUES_MS, 8 * (performance.now() - began));
  }

  /** @param {number} from exclusive, s @param {number} to inclusive, s */
  async #readValues(from, to) {
    const query = { from: isoOf(from), to: isoOf(to), order: "newest", limit: LIMIT };
    const rows = await this.#get("indicators", query).catch((error) => {
      if (error.code !== "strategy_failed") throw error;
      return [];
    });
    for (const row of rows) this.#known.values.set(secondsOf(row.timestamp), row.values);
    this.#known.values = sorted(this.#known.values);
  }

  /** @param {string} name @param {Record<string, any>} query */
  async #get(name, query) {
    return (await get(this.#url(name), query, this.#signal)).items;
  }

  /** @param {string} name */
  #url(name) {
    return path("api", "bots", this.#bot.bot_id, name);
  }

  /** Keep what lies in the window only. @param {number} from @param {number} to @param {boolean} all */
  #forget(from, to, all) {
    const { values, marks, signals, fills } = this.#known;
    for (const map of [values, marks])
      for (const time of map.keys()) if (all || time < from || time > to) map.delete(time);
    for (const map of [signals, fills])
      for (const [cause, row] of map) if (all || row.at < from || row.at > to) map.delete(cause);
  }

  /** @type {Map<number, number>} in percent */
  #drawdowns = new Map();

  draw() {
    const { bars } = this.#panel.feed;
    if (!bars.first || !this.#lines.size) return;
    const times = bars.closed.map((bar) => bar.time);
    for (const name of this.#lines.keys()) {
      if (name === "equity" || name === "drawdown %") continue;
      this.#set(
        name,
        times.map((time) => ({ time, value: this.#known.values.get(time)?.[name] ?? undefined })),
      );
    }
    this.#set(
      "equity",
      times.map((time) => ({ time, value: number(this.#known.marks.get(time)?.equity) })),
    );
    this.#drawdowns = this.#fallen(times);
    this.#set(
      "drawdown %",
      times.map((time) => ({ time, value: this.#drawdowns.get(time) })),
    );
    this.#panel.chart.setMarkers(markersOf(this.#known, bars));
  }

  /** Fall from the highest equity so far, in percent. @param {number[]} times */
  #fallen(times) {
    const initial = Number(this.#bot.initial_cash);
    const found = new Map();
    for (const time of times) {
      const mark = this.#known.marks.get(time);
      if (!mark) continue;
      const [equity, peak] = [Number(mark.equity), Math.max(initial, Number(mark.peak))];
      found.set(time, (100 * (equity - peak)) / peak);
    }
    return found;
  }

  /** @param {string} name @param {{time: number, value?: number}[]} points */
  #set(name, points) {
    this.#lines
      .get(name)
      ?.set(points.map((point) => (point.value === undefined ? { time: point.time } : point)));
  }

  /** Whether a value nobody placed lies near the candles. @param {string} name */
  #looksLikePrice(name) {
    const { closed } = this.#panel.feed.bars;
    const low = Math.min(...closed.map((bar) => bar.low)) / 2;
    const high = Math.max(...closed.map((bar) => bar.high)) * 2;
    const found = [...this.#known.values.values()]
      .map((values) => values[name])
      .filter((value) => typeof value === "number");
    return found.length > 0 && found.every((value) => value >= low && value <= high);
  }
}

/** @template T @param {Map<number, T>} known by time @returns {Map<number, T>} */
function sorted(known) {
  return new Map([...known].sort(([a], [b]) => a - b));
}

/**
 * @template T
 * @param {Map<number, T>} known in order of time
 * @param {number | null} time null: the newest
 * @returns {T | undefined}
 */
function at(known, time) {
  return time === null ? [...known.values()].pop() : known.get(time);
}

/** @param {string | undefined} decimal */
function number(decimal) {
  return decimal === undefined ? undefined : Number(decimal);
}
