/**
 * One socket of the server, resumed for as long as it is wanted. Nothing else knows the protocol.
 *
 * The first frame is a snapshot with the channel's `seq`; each counted message has the next one. Whoever
 * knows a `seq` resumes with `?since=`, and gets what came after it without gap or repeat. A hole, or 15 s
 * without even a heartbeat, is a reason to connect again.
 */

export const SILENCE_MS = 15_000;
const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 15_000;
const CLOSED = { badSince: 4400, unauthorised: 4401, unknown: 4404 };

/** Where a reader stands in a channel. */
export class Sequence {
  /** @type {number | null} The last `seq` that was taken; null before the first snapshot. */
  seq = null;

  /**
   * What to do with a frame: "snapshot", "message" and "beat" are to be used, "repeat" is known already,
   * "hole" means that something before it is missing, and nothing was taken.
   * @param {{type: string, seq: number, forming?: boolean, first?: number}} frame
   */
  take(frame) {
    if (frame.type === "snapshot") {
      this.seq = frame.seq;
      return "snapshot";
    }
    if (this.seq === null) return "hole";
    if (frame.type === "heartbeat") return frame.seq > this.seq ? "hole" : "beat";
    if (frame.forming || (frame.type === "gap" && frame.first === undefined)) return "message";
    if (frame.seq <= this.seq) return "repeat";
    const first = frame.type === "gap" ? Number(frame.first) : frame.seq;
    if (first > this.seq + 1) return "hole";
    this.seq = frame.seq;
    return "message";
  }
}

/**
 * Pause before the n-th attempt: doubling, half of it by chance.
 * @param {number} attempt
 * @param {number} chance 0 … 1
 */
export function backoffMs(attempt, chance) {
  return Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempt) * (0.5 + chance / 2);
}

/**
 * @typedef {object} Reader
 * @property {(messages: any[]) => void} snapshot a new beginning: what came before it may be missing
 * @property {(message: any) => void} message
 * @property {(frame: {time: string}) => void} [beat]
 * @property {() => void} refused the handshake failed or the session ended
 */

export class Stream {
  #path;
  #reader;
  #sequence = new Sequence();
  #attempt = 0;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setInterval>} */
  #watch;
  #began = 0;
  /** When anything was heard, in ms of `performance.now()`. */
  heard = performance.now();
  /** @type {"connecting" | "live" | "waiting" | "ended"} */
  state = "connecting";
  /** When it connects again, in ms of `performance.now()`. */
  retryAt = 0;

  /** @param {string} path @param {Reader} reader @param {AbortSignal} signal */
  constructor(path, reader, signal) {
    this.#path = path;
    this.#reader = reader;
    this.#watch = setInterval(() => this.#listen(), 1_000);
    signal.addEventListener("abort", () => this.#end());
    addEventListener("online", () => this.#now(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#now(), { signal });
    this.#connect();
  }

  #connect() {
    const { seq } = this.#sequence;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(
      `${scheme}//${location.host}${this.#path}${seq === null ? "" : `?since=${seq}`}`,
    );
    let opened = false;
    this.#socket = socket;
    this.state = "connecting";
    this.#began = performance.now();
    socket.onopen = () => (opened = true);
    socket.onmessage = (event) => socket === this.#socket && this.#take(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.#socket && this.#closed(event, opened);
  }

  /** @param {any} frame */
  #take(frame) {
    this.heard = performance.now();
    const kind = this.#sequence.take(frame);
    if (kind === "hole") return this.#later();
    this.state = "live";
    this.#attempt = 0;
    if (kind === "snapshot") this.#reader.snapshot(frame.messages);
    else if (kind === "message") this.#reader.message(frame);
    else if (kind === "beat") this.#reader.beat?.(frame);
  }

  /** @param {CloseEvent} event @param {boolean} opened */
  #closed(event, opened) {
    if (event.code === CLOSED.unknown) return this.#end();
    if (event.code === CLOSED.badSince) this.#sequence.seq = null;
    if (event.code === CLOSED.unauthorised || !opened) this.#reader.refused();
    this.#later();
  }

  #later() {
    this.#again(backoffMs(this.#attempt++, Math.random()));
  }

  /** @param {number} pauseMs */
  #again(pauseMs) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.state = "waiting";
    this.retryAt = performance.now() + pauseMs;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), pauseMs);
  }

  #now() {
    if (this.state === "waiting") this.#again(0);
  }

  #listen() {
    const heard = Math.max(this.heard, this.#began);
    if (this.#socket && performance.now() - heard > SILENCE_MS) this.#later();
  }

  #end() {
    clearInterval(this.#watch);
    clearTimeout(this.#retry);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.state = "ended";
  }
}
