// A table that is sorted by its heads and whose rows are kept. On a telephone each row is a card (panels.css).

import { el, reconcile, setAttribute, setText } from "./dom.js";

/** Rows that are shown; the rest is counted, and found with the filter. */
const MOST = 200;

/**
 * A column: `id`, `label`, `value(item)` to sort by, and what is shown: `text(item)`, or `cell(td, item)` which fills it itself.
 * `number` columns are set right and begin with the greatest.
 */
export class Table {
  constructor({ label, columns, key, sort, open }) {
    Object.assign(this, { columns, key, sort, open, items: [] });
    this.heads = columns.map((column) => {
      const button = el("button", { type: "button", class: "sort", text: column.label, onclick: () => this.sortBy(column) });
      return el("th", { scope: "col", class: [column.number && "number", column.class].filter(Boolean).join(" ") || null }, column.value ? button : column.label);
    });
    this.body = el("tbody");
    this.more = el("p", { class: "quiet more" });
    this.node = el("div", { class: "tablebox" }, el("table", { "aria-label": label, class: "data" }, el("thead", {}, el("tr", {}, ...this.heads)), this.body), this.more);
    this.#mark();
  }

  sortBy(column) {
    const turned = this.sort.id === column.id;
    this.sort = { id: column.id, down: turned ? !this.sort.down : Boolean(column.number) };
    this.#mark();
    this.show(this.items);
  }

  #mark() {
    this.columns.forEach((column, n) => {
      const isIt = column.id === this.sort.id;
      setAttribute(this.heads[n], "aria-sort", isIt ? (this.sort.down ? "descending" : "ascending") : null);
    });
  }

  show(items) {
    this.items = items;
    const { value } = this.columns.find(({ id }) => id === this.sort.id);
    const order = this.sort.down ? -1 : 1;
    const sorted = [...items].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return (x < y ? -1 : x > y ? 1 : String(this.key(a)) < String(this.key(b)) ? -order : order) * order;
    });
    reconcile(this.body, sorted.slice(0, MOST), this.key, () => this.#row(), (row, item) => this.#fill(row, item));
    const left = sorted.length - MOST;
    setText(this.more, left > 0 ? `${left} more: narrow them down with the filter` : "");
  }

  #row() {
    const cells = this.columns.map((column) => el("td", { class: [column.number && "number", column.class].filter(Boolean).join(" ") || null, "data-label": column.label }));
    const row = el("tr", {}, ...cells);
    if (this.open) {
      row.className = "opens";
      row.addEventListener("click", (event) => event.target.closest("button, a, input") || getSelection().toString() || this.open(row.item));
    }
    return row;
  }

  #fill(row, item) {
    row.item = item;
    this.columns.forEach((column, n) => (column.cell ? column.cell(row.cells[n], item) : setText(row.cells[n], column.text(item))));
  }
}
