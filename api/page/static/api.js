/** The API: requests, its errors, its clock. */

const TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 45_000;
/** So long the pause after a slow answer may become. */
const PAUSE_MAX_MS = 10_000;
/** Between two runs, where more is asked for than can be answered. */
const AGAIN_MS = 250;

/** Tells of "expired": the session is no longer valid. */
export const session = new EventTarget();

let offsetMs = 0;

/** The server's clock, in ms. */
export function now() {
  return Date.now() + offsetMs;
}

/** Whoever hears the server's time sets the clock. @param {string | null} time */
export function setClock(time) {
  const at = Date.parse(time ?? "");
  if (Number.isFinite(at)) offsetMs = at - Date.now();
}

/** What the API answers when it refuses. */
export class ApiError extends Error {
  /** @param {number} status @param {{code?: string, message?: string, hint?: string}} body */
  constructor(status, body) {
    super(body.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body.code ?? "unknown";
    this.hint = body.hint ?? "";
  }

  /** Whether it may be over when it is asked again. */
  get passing() {
    return this.status === 0 || this.status >= 500;
  }
}

/** A path with symbols in it, each part escaped, slashes as they are. @param {...(string | number)} parts */
export function path(...parts) {
  return "/" + parts.map((part) => String(part).split("/").map(encodeURIComponent).join("/")).join("/");
}

/**
 * @param {string} url
 * @param {Record<string, string | number | null | undefined>} [query]
 * @param {AbortSignal} [signal] ends it early
 */
export async function get(url, query = {}, signal) {
  return request(withQuery(url, query), { method: "GET" }, TIMEOUT_MS, signal);
}

/** A command: `key` makes a repeat harmless. @param {string} url @param {object} body @param {string} key */
export async function command(url, body, key) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
  const options = { method: "POST", headers, body: JSON.stringify(body) };
  return request(withQuery(url, { wait: "applied" }), options, COMMAND_TIMEOUT_MS);
}

/** @param {string} token */
export async function login(token) {
  const headers = { "Content-Type": "application/json" };
  await request("/auth/login", { method: "POST", headers, body: JSON.stringify({ token }) }, TIMEOUT_MS);
}

export async function logout() {
  await request("/auth/logout", { method: "POST" }, TIMEOUT_MS);
}

/** A key that nobody used before. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/** @param {string} url @param {Record<string, string | number | null | undefined>} query */
function withQuery(url, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  if (!given.length) return url;
  return `${url}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/**
 * @param {string} url
 * @param {RequestInit} options
 * @param {number} timeoutMs
 * @param {AbortSignal} [signal]
 */
async function request(url, options, timeoutMs, signal) {
  const ends = AbortSignal.timeout(timeoutMs);
  let answer;
  let text;
  try {
    answer = await fetch(url, { ...options, signal: signal ? AbortSignal.any([signal, ends]) : ends });
    text = await answer.text();
  } catch (error) {
    signal?.throwIfAborted();
    throw new ApiError(0, {
      code: "unreachable",
      message: "The server does not answer.",
      hint: "Is it running? This page tries again.",
    });
  }
  setClock(answer.headers.get("Date"));
  if (answer.ok) return text ? JSON.parse(text) : null;
  if (answer.status === 401 && url !== "/auth/login") session.dispatchEvent(new Event("expired"));
  throw new ApiError(answer.status, refusal(text));
}

/** What a refusal says, where the API itself said it. @param {string} text */
function refusal(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/**
 * Run now and again, while the page is looked at; a slow answer makes the pauses longer, a failure does not.
 * What is asked for while it runs is run once more: what is on the way may be older.
 * @param {() => Promise<void>} run
 * @param {number} everyMs
 * @param {AbortSignal} signal ends it
 * @returns {() => void} runs it at once
 */
export function poll(run, everyMs, signal) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let running = false;
  let again = false;
  async function turn() {
    again = running;
    if (running || signal.aborted) return;
    clearTimeout(timer);
    running = true;
    const began = performance.now();
    let pauseMs = everyMs;
    try {
      if (!document.hidden) await run();
      pauseMs = Math.max(everyMs, Math.min(PAUSE_MAX_MS, 10 * (performance.now() - began)));
    } catch (error) {
      if (!(error instanceof ApiError) && !signal.aborted) throw error;
    } finally {
      running = false;
      if (!signal.aborted) timer = setTimeout(turn, again ? Math.min(pauseMs, AGAIN_MS) : pauseMs);
    }
  }
  signal.addEventListener("abort", () => clearTimeout(timer));
  document.addEventListener("visibilitychange", turn, { signal });
  turn();
  return turn;
}
