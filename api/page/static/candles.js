/** The candles of one market and timeframe, kept up to date: pages by request, the newest by the socket. */

import { get, path } from "./api.js";
import { Bars } from "./bars.js";
import { isoOf } from "./format.js";

const PAGE = 600;
const FILL_TRIES = 5;
const FILL_PAUSE_MS = 800;

/**
 * @typedef {object} Drawing
 * @property {(shift: number) => void} all draw all bars; what is looked at moved by so many
 * @property {(bar: import("./bars.js").Bar) => void} last draw the last bar
 * @property {(error: unknown) => void} failed
 */

export class CandleFeed {
  #market;
  #drawing;
  #signal;
  #busy = false;
  #filling = false;
  /** Whether what was missing could not be had. */
  #owed = false;
  /** @type {any[] | null} messages that came before the newest page */
  #early = [];

  /**
   * @param {{venue: string, symbol: string}} market
   * @param {string} timeframe
   * @param {Drawing} drawing
   * @param {{stream: Function, signal: AbortSignal}} context
   */
  constructor(market, timeframe, drawing, context) {
    this.#market = market;
    this.#drawing = drawing;
    this.#signal = context.signal;
    this.bars = new Bars(timeframe);
    context.stream(
      path("ws", "market", market.symbol),
      {
        snapshot: (/** @type {any[]} */ messages) => this.#began(messages),
        message: (/** @type {any} */ message) => this.#take(message),
      },
      context.signal,
    );
  }

  /** The newest page. */
  async load() {
    await this.#held(async () => {
      const page = await this.#page({ order: "newest" });
      const minutes = await this.#minutes(page.items[0]?.timestamp ?? null);
      this.bars.reset(page.items, page.next !== null);
      for (const minute of minutes) this.bars.addMinute(minute);
      return 0;
    });
  }

  /** A page of older bars, where there are any. */
  async older() {
    if (!this.bars.older || !this.bars.first) return;
    await this.#once(async () => {
      for (let attempt = 0; attempt < FILL_TRIES; attempt++) {
        const { time } = this.bars.first;
        const page = await this.#page({ order: "newest", to: isoOf(time) });
        if (time !== this.bars.first.time) continue; // bars that went meanwhile would miss behind this page
        this.#drawing.all(this.bars.before(page.items, page.next !== null));
        return;
      }
    });
  }

  /** A page of newer bars, where the window has left them behind. */
  async newer() {
    if (this.bars.live) return;
    await this.#once(() => this.#held(async () => this.#append(await this.#after(this.bars.last.time))));
  }

  /** Back to the newest bars. */
  async now() {
    if (!this.bars.live) await this.#once(() => this.load());
  }

  /**
   * Reach the newest bars; what the socket tells meanwhile comes behind them.
   * @param {() => Promise<number>} run tells by how many bars what is looked at moved
   */
  async #held(run) {
    this.#early ??= [];
    let shift;
    try {
      shift = await run();
      for (const message of this.#early) this.#put(message);
    } finally {
      this.#early = null;
    }
    this.#drawing.all(shift);
    if (!this.#complete()) this.#fill();
  }

  /** @param {any[]} messages a new beginning: what was missed is asked for */
  #began(messages) {
    for (const message of messages) this.#take(message);
    if (this.#early === null) this.#fill();
  }

  /** @param {any} message */
  #take(message) {
    if (this.#early) this.#early.push(message);
    else this.#put(message);
  }

  /** @param {any} message */
  #put(message) {
    if (message.type === "gap") this.#fill();
    if (message.type !== "candle.v1" || message.venue !== this.#market.venue) return;
    if (message.timeframe === this.bars.timeframe && !message.forming) this.#closed(message);
    else if (message.timeframe === "1m") this.#minute(message);
    else return;
    if (this.#owed && this.#early === null && !message.forming) this.#fill();
    const forming = this.bars.forming();
    if (forming && this.#early === null) this.#drawing.last(forming);
  }

  /** @param {any} message */
  #minute(message) {
    const whole = this.bars.whole();
    this.bars.addMinute(message);
    if (whole && this.#early === null && !this.bars.whole()) this.#fill();
  }

  /** @param {any} message */
  #closed(message) {
    const before = this.bars.last?.time ?? 0;
    const { gone, hole } = this.bars.add(message);
    if (this.#early !== null || !this.bars.live) return;
    if (hole !== null) this.#fill();
    if (gone || this.bars.last.time <= before) this.#drawing.all(-gone);
    else this.#drawing.last(this.bars.last);
  }

  /** Ask for the bars and minutes that miss; the database may be some moments behind the socket. */
  async #fill() {
    if (this.#filling || !this.bars.live) return;
    this.#filling = true;
    this.#owed = false;
    try {
      for (let attempt = 0; attempt < FILL_TRIES && !this.#signal.aborted; attempt++) {
        const from = this.bars.contiguous();
        const page = await this.#after(from);
        if (!this.bars.live) break;
        if (from < (this.bars.first?.time ?? 0)) continue; // the window is another one
        this.#drawing.all(this.#append(page));
        if (this.#complete()) break;
        if (page.next === null)
          await new Promise((later) => setTimeout(later, FILL_PAUSE_MS * (attempt + 1)));
        else if (this.bars.contiguous() > from) attempt = -1;
      }
    } catch (error) {
      if (this.#signal.aborted) return;
      this.#owed = true;
      this.#drawing.failed(error);
    } finally {
      this.#filling = false;
    }
  }

  /** Whether no bar misses among the newest, and no minute of the one that is forming. */
  #complete() {
    return !this.bars.live || (this.bars.contiguous() === (this.bars.last?.time ?? 0) && this.bars.whole());
  }

  /** Put newer bars behind these. @param {any} page @returns {number} by how many bars what is looked at moved */
  #append(page) {
    const gone = this.bars.after(page.items, page.next === null);
    for (const minute of page.minutes) this.bars.addMinute(minute);
    return -gone;
  }

  /** A page of newer bars; where it is the last, with the minutes behind it. @param {number} time in s */
  async #after(time) {
    const page = await this.#page({ order: "oldest", from: isoOf(time) });
    const newest = page.items.at(-1)?.timestamp ?? isoOf(time);
    return { ...page, minutes: page.next === null ? await this.#minutes(newest) : [] };
  }

  /**
   * Closed 1m candles of the bar that is forming: as many of the newest as a bar can have.
   * @param {string | null} from the close of the bar before it
   * @returns {Promise<any[]>}
   */
  async #minutes(from) {
    if (this.bars.timeframe === "1m") return [];
    const query = { timeframe: "1m", order: "newest", from, limit: this.bars.seconds / 60 };
    return (await get(this.#url, query, this.#signal)).items;
  }

  /** @param {Record<string, string>} query */
  #page(query) {
    return get(this.#url, { timeframe: this.bars.timeframe, limit: PAGE, ...query }, this.#signal);
  }

  get #url() {
    return path("api", "candles", this.#market.venue, this.#market.symbol);
  }

  /** One request of the hand's at a time. @param {() => Promise<void>} run */
  async #once(run) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await run();
    } catch (error) {
      if (!this.#signal.aborted) this.#drawing.failed(error);
    } finally {
      this.#busy = false;
    }
  }
}
