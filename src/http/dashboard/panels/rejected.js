// Lines that were refused: where, why, and what would be right.

import { getJson, poll } from "../api.js";
import { el, empty, head, reconcile, setText } from "../dom.js";
import { ago, count, moment, plural } from "../format.js";
import { markCount } from "../seen.js";

const PAUSE = 2000;

/** The excerpt, with the character that is complained of marked. */
export function excerptOf({ excerpt, mark }) {
  const letters = Array.from(excerpt);
  const at = Math.min(mark, letters.length);
  return [letters.slice(0, at).join(""), el("mark", { text: letters[at] ?? "␤" }), letters.slice(at + 1).join("")];
}

export function create({ figures: daemon }) {
  let answer = { total: 0, rejected: [] };
  const filter = el("input", { type: "search", placeholder: "filter by code, listener, message", "aria-label": "Filter refused lines", oninput: () => draw() });
  const figures = el("span", { class: "quiet figures" });
  const notice = el("p", { class: "notice", role: "alert", hidden: true });
  const list = el("ol", { class: "refusals", "aria-label": "Refused lines, the newest first" });
  const none = empty("No line was refused since the start.");

  function make() {
    return el("li", { class: "refusal card" },
      el("div", { class: "refusalhead" }, el("span", { class: "pill bad" }), el("code", { class: "place" }), el("span", { class: "quiet from" }), el("span", { class: "grow" }), el("b", { class: "times" }), el("time", { class: "quiet" })),
      el("p", { class: "why" }), el("pre", { class: "excerpt", tabindex: "0", "aria-label": "The line" }), el("p", { class: "hint" }));
  }

  function update(item, it) {
    const [top, why, excerpt, hint] = item.children;
    setText(top.children[0], it.code);
    setText(top.children[1], `line ${it.line}, column ${it.column}`);
    setText(top.children[2], it.producer === it.listener ? it.listener : `${it.listener} · from ${it.producer}`);
    setText(top.children[4], it.count > 1 ? `${count(it.count)} ×` : "");
    setText(top.children[5], it.count > 1 ? `${moment(it.first)} – ${ago(it.last)}` : ago(it.last));
    why.replaceChildren(...(it.path && !it.message.includes(it.path) ? [el("code", { text: it.path }), " "] : []), it.message);
    const shown = `${it.mark} ${it.excerpt}`;
    if (excerpt.shown !== shown) {
      excerpt.shown = shown;
      excerpt.replaceChildren(...excerptOf(it));
    }
    excerpt.hidden = !it.excerpt;
    setText(hint, it.hint ?? "");
  }

  function draw() {
    const wanted = filter.value.toLowerCase();
    const shown = answer.rejected.filter((it) => [it.code, it.listener, it.producer, it.path ?? "", it.message].some((text) => text.toLowerCase().includes(wanted)));
    reconcile(list, shown, (it) => JSON.stringify([it.listener, it.code, it.path, it.message]), make, update);
    none.hidden = answer.rejected.length > 0;
    setText(figures, `${plural(answer.total, "line")} refused since the start${answer.rejected.length ? `, for ${plural(answer.rejected.length, "reason")}` : ""}`);
  }

  let polled = null;
  return {
    node: el("div", { class: "panel" }, head("Rejected lines", figures, el("span", { class: "grow" }), filter), notice, none, list),
    open() {
      polled = poll((signal) => getJson("api/v1/rejected", signal), PAUSE, (told) => {
        answer = told;
        if (daemon.started !== null) markCount("rejected", daemon.started, told.total);
        notice.hidden = true;
        draw();
      }, (error) => {
        notice.textContent = `refused lines cannot be read: ${error.message}`;
        notice.hidden = false;
      });
    },
    close: () => polled.end(),
    focus: () => filter.focus(),
  };
}
