/** The markets as the server last told them, and how old their data is. */

import { get, now } from "./api.js";
import { setText } from "./dom.js";
import { duration } from "./format.js";

/** Older than this, data looks stale. */
const STALE_MS = 180_000;
const LOOK_MS = 6_000;
/** So long the list may go without an answer before it says so: longer than any pause between requests. */
const LATE_MS = 15_000;

/**
 * A market's clock need not be ours: recorded trades are old, a simulated exchange runs at its own speed. So
 * data that still arrives counts as new, whatever time it bears; else its age is that of the newest candle.
 */
export class Markets {
  /** @type {Map<string, any>} by key `venue:symbol` */
  items = new Map();
  /** @type {Map<string, {newest: string | null, at: number, moved: boolean}>} */
  #seen = new Map();
  #told = performance.now();

  /** @param {AbortSignal} signal */
  async refresh(signal) {
    const { items } = await get("/api/markets", {}, signal);
    this.#told = performance.now();
    this.items = new Map(items.map((/** @type {any} */ item) => [item.market, item]));
    for (const item of items) this.#look(item.market, item.newest);
    this.tick();
  }

  /** A market, asked for where it is not known yet; undefined where there is none. @param {string} market @param {AbortSignal} signal */
  async find(market, signal) {
    if (!this.items.has(market)) await this.refresh(signal);
    return this.items.get(market);
  }

  /** A market's venue, and whether its prices are made up. @param {{venue: string, symbol: string}} of */
  venue(of) {
    return this.items.get(keyOf(of))?.simulated ? `${of.venue}\u00a0(simulated)` : of.venue;
  }

  /** Something of a market arrived. @param {string} market */
  arrived(market) {
    const seen = this.#seen.get(market);
    this.#seen.set(market, { newest: seen?.newest ?? null, at: performance.now(), moved: true });
  }

  /** Age in ms of a market's newest data; null while it is not known yet. @param {string} market */
  age(market) {
    const seen = this.#seen.get(market);
    if (!seen?.newest) return null;
    const watched = performance.now() - seen.at;
    if (seen.moved) return watched;
    const told = Math.max(0, now() - Date.parse(seen.newest));
    return told > STALE_MS && watched < LOOK_MS ? null : Math.max(told, watched);
  }

  /** @param {string} market */
  stale(market) {
    return (this.age(market) ?? 0) > STALE_MS;
  }

  /** How long ago the server last told the markets, in ms, where that is too long; else 0. */
  late() {
    const age = performance.now() - this.#told;
    return age > LATE_MS ? age : 0;
  }

  /** Write the ages into the elements that show them, and mark what is stale around them. */
  tick() {
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (
      document.querySelectorAll("[data-age-of]")
    )) {
      const age = this.age(element.dataset.ageOf ?? "");
      setText(element, age === null ? "…" : duration(age));
      element.closest("[data-stales]")?.classList.toggle("stale", (age ?? 0) > STALE_MS);
    }
  }

  /** @param {string} market @param {string | null} newest */
  #look(market, newest) {
    const seen = this.#seen.get(market);
    if (seen && seen.newest === newest) return;
    const moved = seen !== undefined && seen.newest !== null;
    this.#seen.set(market, { newest, at: performance.now(), moved: moved || seen?.moved === true });
  }
}

/** The key of a market. @param {{venue: string, symbol: string}} of */
export function keyOf({ venue, symbol }) {
  return `${venue}:${symbol}`;
}

/** Where a market is shown. @param {{venue: string, symbol: string}} of */
export function linkTo({ venue, symbol }) {
  return `#/markets/${encodeURIComponent(venue)}/${symbol.split("/").map(encodeURIComponent).join("/")}`;
}
