/** Tables whose rows change in place, so that focus and selection stay, and pages of them. */

import { h, problem, setText } from "./dom.js";

/**
 * @template R
 * @typedef {object} Column
 * @property {string} title
 * @property {(cell: HTMLTableCellElement, row: R) => void} show writes a row into a cell, new or old
 * @property {string} [kind] class of its cells: "number", "wide" (not on a phone), …
 */

/**
 * A column of text.
 * @template R
 * @param {string} title
 * @param {(row: R) => string} text
 * @param {string} [kind]
 * @returns {Column<R>}
 */
export function textColumn(title, text, kind = "") {
  return { title, kind, show: (cell, row) => setText(cell, text(row)) };
}

/** @template R */
export class Table {
  /** @type {Map<string | number, {element: HTMLTableRowElement, row: R}>} */
  #rows = new Map();
  #columns;
  #body = h("tbody");
  #empty;

  /**
   * @param {string} caption
   * @param {Column<R>[]} columns
   * @param {string} empty what stands there instead of no rows
   * @param {(element: HTMLTableRowElement, row: R) => void} [each]
   */
  constructor(caption, columns, empty, each) {
    this.#columns = columns;
    this.#empty = h("p", { className: "empty", hidden: true }, empty);
    this.each = each;
    const heads = columns.map((column) =>
      h("th", { scope: "col", className: column.kind ?? "" }, column.title),
    );
    const table = h(
      "table",
      {},
      h("caption", { className: "hidden" }, caption),
      h("thead", {}, h("tr", {}, ...heads)),
      this.#body,
    );
    this.element = h("div", { className: "rows" }, table, this.#empty);
  }

  /** Show these rows, known again by their key. @param {R[]} rows @param {(row: R) => string | number} key */
  render(rows, key) {
    const keys = new Set(rows.map(key));
    for (const [known, { element }] of this.#rows) {
      if (keys.has(known)) continue;
      element.remove();
      this.#rows.delete(known);
    }
    rows.forEach((row, place) => {
      const found = this.#rows.get(key(row)) ?? this.#made(key(row), row);
      found.row = row;
      this.#show(found);
      if (this.#body.children[place] !== found.element)
        this.#body.insertBefore(found.element, this.#body.children[place] ?? null);
    });
    this.#empty.hidden = rows.length > 0;
  }

  /** Change one row that is shown. @param {string | number} key @param {Partial<R>} change */
  patch(key, change) {
    const found = this.#rows.get(key);
    if (!found) return;
    found.row = { ...found.row, ...change };
    this.#show(found);
  }

  /** @param {string | number} key @param {R} row */
  #made(key, row) {
    const cells = this.#columns.map((column) =>
      h("td", { className: column.kind ?? "", "data-title": column.title }),
    );
    const found = { element: h("tr", { "data-key": key }, ...cells), row };
    this.#rows.set(key, found);
    return found;
  }

  /** @param {{element: HTMLTableRowElement, row: R}} found */
  #show({ element, row }) {
    this.#columns.forEach((column, place) => column.show(element.cells[place], row));
    this.each?.(element, row);
  }
}

/** @template R @typedef {{items: R[], next: string | null}} PageOf */

/** A table read page by page. @template R */
export class Pages {
  /** @type {(string | null)[]} cursors of the pages up to this one */
  #cursors = [null];
  /** @type {string | null} */
  #next = null;
  /** Requests are numbered: an answer that is older than what is shown is no news. */
  #asked = 0;
  #shows = 0;
  #table;
  #fetch;
  #key;
  #size;
  #shown = h("span", { className: "muted", "aria-live": "polite" });
  #back = h("button", { type: "button", onclick: () => this.#turn(-1) }, "Previous");
  #forth = h("button", { type: "button", onclick: () => this.#turn(1) }, "Next");
  #failed = h("div");

  /**
   * @param {Table<R>} table
   * @param {number} size rows a page
   * @param {(row: R) => string | number} key
   * @param {(query: {limit: number, cursor: string | null}) => Promise<PageOf<R>>} fetch
   */
  constructor(table, size, key, fetch) {
    this.#table = table;
    this.#size = size;
    this.#key = key;
    this.#fetch = fetch;
    this.element = h(
      "div",
      {},
      this.#failed,
      table.element,
      h("div", { className: "pager" }, this.#back, this.#forth, this.#shown),
    );
  }

  /** Read the page that is shown once more. */
  async refresh() {
    const cursors = this.#cursors;
    const number = ++this.#asked;
    const late = () => cursors !== this.#cursors || number <= this.#shows;
    try {
      const page = await this.#fetch({ limit: this.#size, cursor: cursors[cursors.length - 1] });
      if (late()) return;
      this.#shows = number;
      this.#failed.replaceChildren();
      this.#next = page.next;
      this.#table.render(page.items, this.#key);
      this.#tell(page.items.length);
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "AbortError" && !late())
        this.#failed.replaceChildren(problem(error));
    }
  }

  /** @param {number} count */
  #tell(count) {
    const first = (this.#cursors.length - 1) * this.#size;
    this.#back.disabled = this.#cursors.length === 1;
    this.#forth.disabled = this.#next === null;
    setText(this.#shown, count ? `${first + 1}–${first + count}` : "");
    /** @type {HTMLElement} */ (this.#back.parentElement).hidden =
      this.#back.disabled && this.#forth.disabled;
  }

  /** @param {number} step */
  #turn(step) {
    if (step > 0 ? this.#next === null : this.#cursors.length === 1) return;
    this.#cursors = step > 0 ? [...this.#cursors, this.#next] : this.#cursors.slice(0, -1);
    this.#next = null; // known when the page has come
    this.refresh();
  }
}
