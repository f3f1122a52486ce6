/** Commands to bots: each asks before it acts, says what went wrong, and repeats with the same key. */

import { command, newKey, path } from "./api.js";
import { h, problem, toast } from "./dom.js";

/**
 * @typedef {object} Act
 * @property {string} verb as the API has it
 * @property {string} label
 * @property {string} done
 * @property {(bot: any) => string} text
 * @property {object} [body]
 * @property {boolean} [reason] asks for one
 */

/** @type {Record<string, Act>} */
export const ACTS = {
  start: {
    verb: "start",
    label: "Start",
    done: "started",
    text: () => "It trades from its next candle on, with today's code of its strategy.",
  },
  stop: {
    verb: "stop",
    label: "Stop",
    done: "stopped",
    text: (bot) => `What is pending is cancelled; its position of ${bot.position} is kept.`,
  },
  flatten: {
    verb: "stop",
    label: "Stop and flatten",
    done: "stopped",
    body: { flatten: true },
    text: (bot) =>
      `What is pending is cancelled, and its position of ${bot.position} is closed at the next trade.`,
  },
  halt: {
    verb: "halt",
    label: "Halt",
    done: "halted",
    reason: true,
    text: () => "It trades no more until somebody starts it again; the reason stands in the journal.",
  },
};

/**
 * Ask, and do it.
 * @param {string} name of `ACTS`
 * @param {any} bot
 * @param {AbortSignal} signal withdraws the question; what was given already goes on
 * @returns {Promise<boolean>} whether it was done
 */
export function ask(name, bot, signal) {
  const act = ACTS[name];
  const key = newKey();
  const reason = h("input", { id: "reason", maxLength: 500, value: "halted from the page", required: true });
  const failed = h("div");
  const go = h("button", { type: "submit", className: name === "start" ? "primary" : "danger" }, act.label);
  const form = h(
    "form",
    {},
    h("h2", { id: "asked" }, `${act.label} bot ${bot.bot_id}?`),
    h("p", { className: "muted" }, `${bot.strategy} on ${bot.venue} ${bot.symbol}, ${bot.timeframe}`),
    h("p", {}, act.text(bot)),
    act.reason ? h("label", { className: "field" }, "Reason", reason) : null,
    failed,
    h(
      "div",
      { className: "buttons" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      go,
    ),
  );
  const dialog = h("dialog", { "aria-labelledby": "asked" }, form);
  return new Promise((answered) => {
    let done = false;
    dialog.addEventListener("close", () => {
      dialog.remove();
      answered(done);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      go.disabled = true;
      failed.replaceChildren();
      try {
        const body = act.reason ? { reason: reason.value } : (act.body ?? {});
        const given = await command(path("api", "bots", bot.bot_id, act.verb), body, key);
        done = true;
        const where = given.positions.join(", ");
        toast(
          given.applied
            ? `Bot ${bot.bot_id} is ${act.done}.`
            : `Recorded at ${where}; it has not taken effect yet.`,
        );
        dialog.close();
      } catch (error) {
        failed.replaceChildren(problem(error));
        go.disabled = false;
        if (!dialog.open) toast(`${act.label} bot ${bot.bot_id}: ${/** @type {Error} */ (error).message}`, true);
      }
    });
    signal.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}
