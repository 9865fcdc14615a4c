// Reloads of the configuration: what each changed, what was wrong with those that were refused, and reloading now.

import { getJson, poll, post, Refused } from "../api.js";
import { confirm } from "../confirm.js";
import { el, empty, head, reconcile } from "../dom.js";
import { moment } from "../format.js";

const PAUSE = 5000;
const CAUSES = { file: "the file changed", signal: "SIGHUP", api: "asked over the API" };

function diff({ rooms_added: added = [], rooms_removed: removed = [], changes = [] }) {
  const row = (sign, kind, text) => el("div", { class: `diffline ${kind}` }, el("span", { "aria-hidden": "true", text: sign }), el("code", { text }));
  const change = ({ key, old, new: now }) => el("div", { class: "change" }, el("code", { class: "key", text: key }), old === null ? null : row("−", "gone", old), now === null ? null : row("+", "new", now));
  return el("div", { class: "diff" }, ...added.map((room) => row("+", "new", `[rooms.${room}]`)), ...removed.map((room) => row("−", "gone", `[rooms.${room}]`)), ...changes.map(change));
}

function problems(list = []) {
  return el("ul", { class: "problems" }, ...list.map(({ message, place, hint }) => el("li", {}, place ? el("code", { class: "place", text: place }) : null, el("span", { text: ` ${message}` }), hint ? el("p", { class: "hint", text: hint }) : null)));
}

function reloadCard(it) {
  const isRefused = it.outcome === "refused";
  return el("li", { class: "reload card" },
    el("div", { class: "refusalhead" }, el("span", { class: `pill ${isRefused ? "bad" : it.outcome === "applied" ? "good" : "accent"}`, text: it.outcome.replace("_", " ") }),
      el("span", { text: it.summary || (isRefused ? "the one before stays in force" : "nothing is different") }), el("span", { class: "grow" }),
      el("span", { class: "quiet", text: [CAUSES[it.cause], it.took_ms === undefined ? null : `${it.took_ms} ms`, it.at ? moment(it.at) : null].filter(Boolean).join(" · ") })),
    isRefused ? problems(it.problems) : diff(it));
}

export function create({ announce }) {
  const list = el("ol", { class: "reloads", "aria-label": "Reloads, the newest first" });
  const none = empty("The configuration has not changed since the start.");
  const result = el("div", { class: "result", role: "status" });
  const notice = el("p", { class: "notice", role: "alert", hidden: true });

  async function reload(isDry) {
    if (!isDry && !(await confirm({ title: "Reload the configuration?", text: "The file is read and checked as a whole, and put in force at once if nothing is wrong. A look before says what would change.", action: "Reload" }))) return;
    notice.hidden = true;
    try {
      const told = await post(`api/v1/config/reload${isDry ? "?dry_run=true" : ""}`);
      result.replaceChildren(isDry ? reloadCard(told) : "");
      announce(isDry ? "looked at what would change" : "reloaded");
    } catch (error) {
      if (error instanceof Refused && error.more.outcome === "refused") result.replaceChildren(reloadCard(error.more));
      else {
        notice.textContent = error.message;
        notice.hidden = false;
      }
    }
    polled?.now();
  }

  let polled = null;
  return {
    node: el("div", { class: "panel" }, head("Reloads", el("span", { class: "grow" }), el("button", { type: "button", text: "What would change?", onclick: () => reload(true) }), el("button", { type: "button", text: "Reload", onclick: () => reload(false) })), notice, result, none, list),
    open() {
      polled = poll((signal) => getJson("api/v1/config/reloads", signal), PAUSE, ({ reloads }) => {
        reconcile(list, reloads, (it) => `${it.at} ${it.outcome} ${it.summary ?? ""}`, reloadCard, () => {});
        none.hidden = reloads.length > 0;
      }, (error) => {
        notice.textContent = `the reloads cannot be read: ${error.message}`;
        notice.hidden = false;
      });
    },
    close: () => polled.end(),
  };
}
