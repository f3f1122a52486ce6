/** The shell: session, routes, and how live all of it is. */

import * as api from "./api.js";
import { byId, h, missing, problem, setClass, setText, toast } from "./dom.js";
import { duration } from "./format.js";
import { Markets } from "./markets.js";
import { SILENCE_MS, Stream } from "./stream.js";
import { show as bot } from "./views/bot.js";
import { show as bots } from "./views/bots.js";
import { show as login } from "./views/login.js";
import { show as markets } from "./views/markets.js";
import { show as portfolio } from "./views/portfolio.js";
import { show as sources } from "./views/sources.js";
import { show as system } from "./views/system.js";

const SCOPES = ["read", "trade", "admin"];
const MARKETS_MS = 2_000;
const RECENT_MAX = 100;
const RETRY_MS = 2_000;
/** So long a lost connection may take before the page says so. */
const PATIENCE_MS = 3_000;

/**
 * @callback View
 * @param {HTMLElement} main
 * @param {Context} context
 * @param {string[]} parts of the route behind its name
 * @param {URLSearchParams} query
 * @returns {void | Promise<void>}
 */
/** @type {Map<string, [string, View]>} */
const VIEWS = new Map([
  ["markets", ["Markets", markets]],
  ["bots", ["Bots", (main, context, parts, query) => (parts.length ? bot : bots)(main, context, parts, query)]],
  ["portfolio", ["Portfolio", portfolio]],
  ["sources", ["Sources", sources]],
  ["system", ["System", system]],
]);

/**
 * What a view gets.
 * @typedef {object} Context
 * @property {AbortSignal} signal ends with the view
 * @property {Markets} markets
 * @property {EventTarget} events "system" for each message of the system's socket, "again" for its snapshots
 * @property {any[]} recent messages of the system's socket, the newest first
 * @property {(scope: string) => boolean} may
 * @property {(path: string, reader: object, signal: AbortSignal) => Stream} stream
 */

/** @type {Set<Stream>} */
const streams = new Set();
let known = new Markets();
const events = new EventTarget();
/** @type {any[]} what the system's socket told, the newest first */
const recent = [];
/** @type {{name: string, scope: string} | null} */
let me = null;
let sessionEnd = new AbortController();
let viewEnd = new AbortController();

/** @type {View} */
function nowhere(main) {
  main.append(missing("There is no such page.", "#/markets", "All markets"));
}

/** @param {string} path @param {object} reader @param {AbortSignal} signal */
function stream(path, reader, signal) {
  const refused = () => api.get("/auth/me", {}, signal).catch(() => {});
  signal.throwIfAborted();
  const made = new Stream(path, /** @type {any} */ ({ refused, ...reader }), signal);
  streams.add(made);
  signal.addEventListener("abort", () => streams.delete(made));
  return made;
}

async function begin() {
  try {
    me = await api.get("/auth/me");
  } catch (error) {
    if (/** @type {any} */ (error).status === 401) return;
    byId("main").replaceChildren(problem(error));
    setTimeout(begin, RETRY_MS);
    return;
  }
  known = new Markets();
  sessionEnd = new AbortController();
  const { signal } = sessionEnd;
  const happened = (/** @type {any} */ message) => {
    recent.unshift(message);
    recent.length = Math.min(recent.length, RECENT_MAX);
    events.dispatchEvent(new CustomEvent("system", { detail: message }));
  };
  stream(
    "/ws/system",
    {
      snapshot: (/** @type {any[]} */ messages) => {
        recent.splice(0, recent.length, ...messages.sort((a, b) => b.seq - a.seq));
        events.dispatchEvent(new Event("again"));
      },
      message: happened,
      beat: (/** @type {any} */ frame) => api.setClock(frame.timestamp),
    },
    signal,
  );
  api.poll(() => known.refresh(signal), MARKETS_MS, signal);
  setText(byId("who"), `${me?.name} (${me?.scope})`);
  inside(true);
  route();
}

/** The session is over, or never was. */
function end() {
  if (document.querySelector("main > .login")) return;
  me = null;
  sessionEnd.abort();
  viewEnd.abort();
  inside(false);
  document.title = "Log in · TCPDashboard";
  login(byId("main"), begin);
}

/** @param {boolean} yes */
function inside(yes) {
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll("header nav, header .session")
  ))
    part.hidden = !yes;
}

/** A part of the address; as it stands where it is malformed. @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function route() {
  if (!me || (location.hash && !location.hash.startsWith("#/"))) return;
  viewEnd.abort();
  viewEnd = new AbortController();
  const { signal } = viewEnd;
  const [path, query] = location.hash.slice(2).split("?");
  const [name, ...parts] = path.split("/").map(decoded);
  const [title, view] = VIEWS.get(name || "markets") ?? ["Not found", nowhere];
  document.title = `${[title, ...parts].join(" ")} · TCPDashboard`;
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("href") === `#/${title.toLowerCase()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  // each view has a place of its own: one that is late writes where nobody looks
  const place = h("div", { className: "view" });
  byId("main").replaceChildren(place);
  const context = {
    signal,
    markets: known,
    events,
    recent,
    stream,
    may: (/** @type {string} */ scope) => SCOPES.indexOf(me?.scope ?? "") >= SCOPES.indexOf(scope),
  };
  try {
    if (!known.items.size) await known.refresh(signal);
    await view(place, context, parts.filter(Boolean), new URLSearchParams(query));
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(problem(error));
    if (error instanceof api.ApiError && error.passing)
      setTimeout(() => signal.aborted || route(), RETRY_MS);
  }
}

/** Each second: how live this is, and the ages of the data. */
function tick() {
  known.tick();
  const open = [...streams].filter((one) => one.state !== "ended");
  const silent = Math.max(0, ...open.map((one) => performance.now() - one.heard));
  const waiting = open.filter((one) => one.state === "waiting");
  const lost = silent > SILENCE_MS || (waiting.length > 0 && silent > PATIENCE_MS);
  const live = open.length > 0 && open.every((one) => one.state === "live");
  setClass(byId("connection"), `connection ${lost ? "lost" : live ? "live" : ""}`);
  setText(byId("connection"), lost ? "not live" : live ? "live" : "connecting");
  document.body.classList.toggle("silent", lost && me !== null);
  byId("banner").hidden = !lost || me === null;
  if (lost) {
    const next = Math.max(0, ...waiting.map((one) => one.retryAt - performance.now()));
    setText(
      byId("banner"),
      `Not live: nothing was heard from the server for ${duration(silent)}. ` +
        (next > 500 ? `Trying again in ${duration(next + 999)}.` : "Trying again."),
    );
  }
}

api.session.addEventListener("expired", end);
addEventListener("hashchange", route);
byId("logout").addEventListener("click", () =>
  // where the server does not answer, the session goes on
  api.logout().then(end, (error) => me && toast(error.message, true)),
);
/** @type {HTMLElement} */ (document.querySelector(".skip")).addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
setInterval(tick, 1_000);
begin();
