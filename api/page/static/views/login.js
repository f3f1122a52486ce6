/** Who has a token gets a session: the token itself is kept nowhere. */

import { login } from "../api.js";
import { h, problem } from "../dom.js";

const INVALID = {
  message: "This token is not valid.",
  hint: "Copy it whole from the file named below, or ask whoever runs the server to make you one.",
};

/** @param {HTMLElement} main @param {() => Promise<void>} entered takes its place */
export function show(main, entered) {
  const token = h("input", {
    id: "token",
    type: "password",
    required: true,
    autocomplete: "current-password",
    spellcheck: false,
  });
  const failed = h("div");
  const go = h("button", { type: "submit", className: "primary" }, "Log in");
  const form = h(
    "form",
    { className: "login" },
    h("h1", {}, "Log in"),
    h("label", { className: "field" }, "Token", token),
    failed,
    go,
    h(
      "p",
      { className: "muted" },
      "The first token is in the file ",
      h("code", {}, "token"),
      " of the server's home folder (",
      h("code", {}, "TCPD_HOME"),
      ", by default ",
      h("code", {}, "~/.tcpdashboard"),
      "); the server prints its path when it starts. ",
      h("code", {}, "tcpdashboard tokens create"),
      " makes others.",
    ),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    failed.replaceChildren();
    try {
      await login(token.value.trim());
      token.value = "";
      await entered();
    } catch (error) {
      const refused = /** @type {any} */ (error).status === 401;
      failed.replaceChildren(problem(refused ? INVALID : error));
    }
    go.disabled = false;
  });
  main.replaceChildren(form);
  token.focus();
}
