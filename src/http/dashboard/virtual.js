// A long list of which only what is in sight has elements. The newest is first; who has scrolled away stays where they read.

import { el, setAttribute } from "./dom.js";

/** Rows above and below what is in sight. */
const MARGIN = 6;

export class VirtualList {
  /**
   * Items are known by serial numbers that rise; `first()` and `last()` are the oldest's and the newest's (last < first: none).
   * @param {{ label: string, rowHeight: () => number, first: () => number, last: () => number, make: () => HTMLElement, fill: (row: HTMLElement, serial: number) => void, open: (serial: number | null) => void }} options
   */
  constructor({ label, rowHeight, first, last, make, fill, open }) {
    Object.assign(this, { rowHeight, first, last, make, fill, open });
    this.selected = null;
    this.seenLast = -1;
    this.rows = [];
    this.space = el("div", { class: "vspace" });
    this.node = el("div", { class: "vlist", role: "listbox", tabindex: "0", "aria-label": label, onscroll: () => this.draw(), onkeydown: (event) => this.#key(event) }, this.space);
    /** Back to the newest; seen by those who have left it. */
    this.jump = el("button", { type: "button", class: "jump small", text: "↑ newest", hidden: true, onclick: () => this.home() });
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  /** Draws what is in sight. Cheap: a few dozen rows, whatever the list's length. */
  draw() {
    const height = this.rowHeight();
    const [first, last] = [this.first(), this.last()];
    const length = Math.max(0, last - first + 1);
    const grown = this.seenLast >= 0 ? last - this.seenLast : 0;
    this.seenLast = last;
    this.space.style.height = `${length * height}px`;
    // Who reads one, or has scrolled away, is not carried off.
    if (grown > 0 && (this.node.scrollTop > 0 || this.selected !== null)) this.node.scrollTop += grown * height;
    this.jump.hidden = this.node.scrollTop < height;
    const from = Math.max(0, Math.floor(this.node.scrollTop / height) - MARGIN);
    const to = Math.min(length, Math.ceil((this.node.scrollTop + this.node.clientHeight) / height) + MARGIN);
    while (this.rows.length < to - from) {
      const row = this.make();
      row.setAttribute("role", "option");
      row.classList.add("vrow");
      row.addEventListener("click", () => this.select(row.serial));
      this.space.append(row);
      this.rows.push(row);
    }
    while (this.rows.length > Math.max(0, to - from)) this.rows.pop().remove();
    let active = null;
    this.rows.forEach((row, n) => {
      const index = from + n;
      row.serial = last - index;
      row.style.transform = `translateY(${index * height}px)`;
      const isIt = row.serial === this.selected;
      setAttribute(row, "aria-selected", String(isIt));
      setAttribute(row, "aria-posinset", index + 1);
      setAttribute(row, "aria-setsize", length);
      row.id = `${this.node.id}-${row.serial % 4096}`;
      if (isIt) active = row.id;
      this.fill(row, row.serial);
    });
    setAttribute(this.node, "aria-activedescendant", active);
  }

  /** Chooses an item; null: none. */
  select(serial) {
    this.selected = serial;
    if (serial !== null) {
      const height = this.rowHeight();
      const top = (this.last() - serial) * height;
      if (top < this.node.scrollTop) this.node.scrollTop = top;
      else if (top + height > this.node.scrollTop + this.node.clientHeight) this.node.scrollTop = top + height - this.node.clientHeight;
    }
    this.draw();
    this.open(serial);
  }

  #key(event) {
    const [first, last] = [this.first(), this.last()];
    if (last < first) return;
    const page = Math.max(1, Math.floor(this.node.clientHeight / this.rowHeight()) - 1);
    const steps = { ArrowDown: -1, ArrowUp: 1, PageDown: -page, PageUp: page, Home: Infinity, End: -Infinity };
    if (event.key === "Escape" && this.selected !== null) this.select(null);
    else if (event.key === "Enter" && this.selected === null) this.select(last);
    else if (event.key in steps) {
      const at = this.selected === null ? (steps[event.key] < 0 && event.key !== "End" ? last + 1 : last) : this.selected;
      this.select(Math.min(last, Math.max(first, at + steps[event.key])));
    } else return;
    event.preventDefault();
  }

  home() {
    this.select(null);
    this.node.scrollTop = 0;
    this.draw();
    this.node.focus();
  }

  /** Begins anew. */
  reset() {
    this.selected = null;
    this.seenLast = -1;
    this.node.scrollTop = 0;
    this.draw();
  }
}
