// JSON as a tree that opens and closes, built of text alone.

import { el } from "./dom.js";

/** Members that are shown at once; an event may have a million. */
const MOST = 500;
const LEVELS_OPEN = 3;

function leaf(value) {
  const kind = value === null ? "null" : typeof value;
  const text = JSON.stringify(value) ?? String(value);
  return el("span", { class: `json-${kind}`, text: text.length > 20_000 ? `${text.slice(0, 20_000)}… (${text.length} characters)` : text });
}

function tree(value, level, budget) {
  if (value === null || typeof value !== "object") return leaf(value);
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  const [open, close] = isList ? "[]" : "{}";
  if (!entries.length) return el("span", { class: "json-mark", text: open + close });
  const summary = el("summary", {}, el("span", { class: "json-mark", text: open }), el("span", { class: "json-size", text: ` ${entries.length} ${isList ? "items" : "fields"} ` }), el("span", { class: "json-mark json-close", text: close }));
  const body = el("div", { class: "json-body" });
  for (const [key, member] of entries) {
    if (budget.left <= 0) {
      body.append(el("div", { class: "quiet", text: "… and more: copy it to see it whole" }));
      break;
    }
    budget.left -= 1;
    body.append(el("div", { class: "json-row" }, isList ? null : el("span", { class: "json-key", text: JSON.stringify(key) }), isList ? null : el("span", { class: "json-mark", text: ": " }), tree(member, level + 1, budget)));
  }
  return el("details", { open: level < LEVELS_OPEN }, summary, body, el("span", { class: "json-mark", text: close }));
}

/** A value as a tree. */
export function jsonView(value) {
  return el("div", { class: "json" }, tree(value, 0, { left: MOST }));
}

/** A button, and the box where it shows a value as a tree, or hides it. `value` is asked each time. */
export function jsonToggle(value) {
  const box = el("div", { class: "jsonbox", hidden: true });
  const button = el("button", { type: "button", class: "jsonbutton", "aria-expanded": "false", "aria-label": "JSON", text: "{ }", onclick: () => {
    box.hidden = !box.hidden;
    button.setAttribute("aria-expanded", String(!box.hidden));
    box.replaceChildren(...(box.hidden ? [] : [jsonView(value())]));
  } });
  return { button, box };
}

/** A button that copies a text; it says so for a moment, and `announce` says it to those who do not see it. */
export function copyButton(text, label = "Copy", announce = () => {}) {
  const button = el("button", {
    type: "button",
    class: "small copy",
    text: "Copy",
    "aria-label": label,
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text());
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed";
      }
      announce(button.textContent);
      setTimeout(() => (button.textContent = "Copy"), 1500);
    },
  });
  return button;
}
