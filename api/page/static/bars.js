/**
 * A window on a market's candles in one timeframe: sorted, without doubles, bounded, and with the bar that is
 * still forming. Pure: what it holds is told to it.
 */

import { sum } from "./format.js";

/** @type {Record<string, number>} */
export const SECONDS = { "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": 86_400 };
const BARS_MAX = 3_000;

/**
 * @typedef {object} Bar
 * @property {number} time close, in s
 * @property {number} open
 * @property {number} high
 * @property {number} low
 * @property {number} close
 * @property {number} volume
 * @property {number} revision
 * @property {boolean} forming
 * @property {any} candle as the API told it: decimal strings
 */

/** A candle of the API or of a socket. @param {any} candle @returns {Bar} */
function barOf(candle) {
  const { open, high, low, close, volume } = candle;
  return {
    time: Date.parse(candle.timestamp) / 1000,
    open: Number(open),
    high: Number(high),
    low: Number(low),
    close: Number(close),
    volume: Number(volume),
    revision: candle.revision ?? 0,
    forming: candle.forming === true,
    candle,
  };
}

/**
 * Bars merged into one that ends at `time`; its candle is made of their decimal strings, exactly.
 * @param {Bar[]} parts in order
 * @param {number} time
 * @returns {Bar}
 */
function merged(parts, time) {
  const [first, last] = [parts[0], parts[parts.length - 1]];
  const highest = parts.reduce((most, part) => (part.high > most.high ? part : most));
  const lowest = parts.reduce((least, part) => (part.low < least.low ? part : least));
  const candle = {
    timestamp: new Date(time * 1000).toISOString(),
    open: first.candle.open,
    high: highest.candle.high,
    low: lowest.candle.low,
    close: last.candle.close,
    volume: sum(parts.map((part) => part.candle.volume)),
    forming: true,
  };
  return barOf(candle);
}

export class Bars {
  /** @type {Bar[]} closed bars, oldest first */
  closed = [];
  /** Whether the newest bars are among them. */
  live = true;
  /** Whether there are older ones than these. */
  older = false;
  /** @type {Map<number, Bar>} 1m bars by close behind the last closed bar */
  #minutes = new Map();

  /** @param {string} timeframe @param {number} [max] */
  constructor(timeframe, max = BARS_MAX) {
    this.timeframe = timeframe;
    this.seconds = SECONDS[timeframe];
    this.max = max;
  }

  get first() {
    return this.closed[0];
  }

  get last() {
    return this.closed[this.closed.length - 1];
  }

  /**
   * Begin anew with a page, newest first.
   * @param {any[]} candles
   * @param {boolean} older whether more precede
   */
  reset(candles, older) {
    this.closed = candles.map(barOf).reverse();
    this.older = older;
    this.live = true;
    this.#minutes.clear();
  }

  /**
   * Put a page of older candles before these, newest first; the newest may have to go.
   * @param {any[]} candles
   * @param {boolean} older whether more precede
   * @returns {number} how many came
   */
  before(candles, older) {
    const bars = candles
      .map(barOf)
      .reverse()
      .filter((bar) => !this.first || bar.time < this.first.time);
    this.closed = [...bars, ...this.closed];
    this.older = older;
    if (this.closed.length > this.max) {
      this.closed.length = this.max;
      this.live = false;
      this.#minutes.clear();
    }
    return bars.length;
  }

  /**
   * Put a page of newer candles behind these, oldest first; the oldest may have to go.
   * @param {any[]} candles
   * @param {boolean} end whether nothing follows
   * @returns {number} how many went
   */
  after(candles, end) {
    for (const candle of candles) this.#put(barOf(candle));
    this.live ||= end;
    return this.#cut();
  }

  /**
   * A closed candle of this timeframe. @param {any} candle
   * @returns {{gone: number, hole: number | null}} how many old bars went; the close behind which bars miss
   */
  add(candle) {
    const bar = barOf(candle);
    const { last } = this;
    if (!this.live) return { gone: 0, hole: null };
    this.#put(bar);
    return { gone: this.#cut(), hole: last && bar.time > last.time + this.seconds ? last.time : null };
  }

  /** A 1m candle, closed or forming: a part of the bar that is forming. @param {any} candle */
  addMinute(candle) {
    const bar = barOf(candle);
    if (!this.live || (this.last && bar.time <= this.last.time)) return;
    const known = this.#minutes.get(bar.time);
    // what is late is no news: a part of a minute that has closed, an older revision
    if (known && !known.forming && (bar.forming || bar.revision < known.revision)) return;
    this.#minutes.set(bar.time, bar);
  }

  /** Whether all minutes of the bar that is forming are known, from its start to the newest. */
  whole() {
    const parts = this.#parts();
    const start = parts.length ? this.#endOf(parts) - this.seconds : 0;
    return parts.every((part, place) => part.time === start + 60 * (place + 1));
  }

  /** The close behind which bars miss; that of the last one where none does. In s. */
  contiguous() {
    for (let i = this.closed.length - 1; i > Math.max(0, this.closed.length - this.max / 2); i--) {
      if (this.closed[i].time > this.closed[i - 1].time + this.seconds) return this.closed[i - 1].time;
    }
    return this.last?.time ?? 0;
  }

  /** The bar that is still open; null where nothing is known of it. @returns {Bar | null} */
  forming() {
    const parts = this.#parts();
    return parts.length ? merged(parts, this.#endOf(parts)) : null;
  }

  /** The close of the bar that a time lies in, within this window. @param {number} time in s */
  at(time) {
    const end = Math.ceil(time / this.seconds) * this.seconds;
    return this.first && end >= this.first.time && end <= this.last.time + this.seconds ? end : null;
  }

  /** The minutes of the bar that is forming, in order. */
  #parts() {
    if (!this.live) return [];
    const known = [...this.#minutes.values()].sort((a, b) => a.time - b.time);
    if (!known.length) return known;
    const start = this.#endOf(known) - this.seconds;
    return known.filter((part) => part.time > start);
  }

  /** The close of the bar that the last of these lies in. @param {Bar[]} parts */
  #endOf(parts) {
    return Math.ceil(parts[parts.length - 1].time / this.seconds) * this.seconds;
  }

  /** @param {Bar} bar */
  #put(bar) {
    let place = this.closed.length;
    while (place > 0 && this.closed[place - 1].time > bar.time) place--;
    const same = this.closed[place - 1];
    if (same?.time !== bar.time) this.closed.splice(place, 0, bar);
    else if (bar.revision >= same.revision) this.closed[place - 1] = bar;
    for (const time of this.#minutes.keys()) if (time <= this.last.time) this.#minutes.delete(time);
  }

  #cut() {
    const gone = Math.max(0, this.closed.length - this.max);
    if (gone) {
      this.closed.splice(0, gone);
      this.older = true;
    }
    return gone;
  }
}
