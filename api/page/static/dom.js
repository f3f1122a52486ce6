/** The document: elements are made here, and text is only ever set as text. */

/** @typedef {string | Node | null | undefined | false} Child */

/**
 * An element. `on…` properties become listeners, `data-…`, `aria-…` and the like attributes.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * Set the text where it changed, so that nothing is laid out for nothing.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set the class where it changed. @param {Element} element @param {string} name */
export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

/** @param {string} id */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** A short word at the edge, gone after some seconds. @param {string} text @param {boolean} [bad] */
export function toast(text, bad = false) {
  const note = h("p", { className: bad ? "toast bad" : "toast" }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), bad ? 12_000 : 6_000);
}

/** An error where the data would be. @param {unknown} error */
export function problem(error) {
  const told = /** @type {{message?: string, hint?: string}} */ (error);
  return h(
    "div",
    { className: "problem", role: "alert" },
    h("p", {}, told.message ?? String(error)),
    told.hint ? h("p", { className: "muted" }, told.hint) : null,
  );
}

/** What is not there, and the way back. @param {string} text @param {string} href @param {string} list */
export function missing(text, href, list) {
  return h("p", { className: "problem", role: "alert" }, `${text} `, h("a", { href }, list));
}
