// Alerts: of producers, and what the daemon says of itself.

import { post } from "../api.js";
import { el, empty, head, reconcile, setText } from "../dom.js";
import { count, line, moment, name, plural } from "../format.js";
import { drawing } from "../frame.js";
import { jsonToggle } from "../json.js";

const SHOWN = 200;
const SEVERITIES = ["critical", "error", "warning", "info"];
export const KINDS = { critical: "bad solid", error: "bad", warning: "warning", info: "plain" };

export function alertRow({ at, event }) {
  const { button, box } = jsonToggle(() => event);
  return el("li", { class: "alert" },
    el("time", { text: moment(at) }), el("span", { class: `pill ${KINDS[event?.severity] ?? "plain"}`, text: name(event?.severity) }),
    el("div", { class: "alertbody" }, el("p", {}, el("b", { text: name(event?.component) }), " ", el("span", { text: line(event?.message, 400) })), button, box));
}

export function create({ alerts, announce }) {
  const off = new Set();
  const filter = el("input", { type: "search", placeholder: "filter by component or message", "aria-label": "Filter alerts", oninput: () => draw() });
  const chips = el("div", { class: "chips", role: "group", "aria-label": "Severities shown" });
  const list = el("ol", { class: "alerts", "aria-label": "Alerts, the newest first" });
  const figures = el("span", { class: "quiet figures" });
  const notice = el("p", { class: "notice", role: "alert", hidden: true });
  const none = empty("No alert: nothing to worry about.");
  for (const severity of SEVERITIES) {
    const chip = el("button", { type: "button", class: "chip toggle", "aria-pressed": "true", onclick: () => {
      if (!off.delete(severity)) off.add(severity);
      chip.setAttribute("aria-pressed", String(!off.has(severity)));
      draw();
    } }, el("span", { text: severity }), el("b"));
    chips.append(chip);
  }

  async function test() {
    try {
      const { receivers, hint } = await post("api/v1/websocket/broadcast/test");
      notice.textContent = hint ?? "";
      notice.hidden = !hint;
      announce(`a test alert is published to ${receivers} subscriptions`);
    } catch (error) {
      notice.textContent = error.message;
      notice.hidden = false;
    }
  }

  const draw = drawing(() => {
    const wanted = filter.value.toLowerCase();
    const shown = alerts.list.filter(({ event }) => !off.has(event?.severity) && `${line(event?.component)} ${line(event?.message, 2000)}`.toLowerCase().includes(wanted));
    reconcile(list, shown.slice(-SHOWN).reverse(), ({ serial }) => serial, alertRow, () => {});
    SEVERITIES.forEach((severity, n) => setText(chips.children[n].lastChild, count(alerts.list.filter(({ event }) => event?.severity === severity).length)));
    none.hidden = alerts.list.length > 0;
    setText(figures, `${plural(alerts.list.length, "alert")}${shown.length > SHOWN ? ` · the newest ${SHOWN} are listed` : ""}`);
    if (alerts.read < alerts.serial) alerts.markRead();
  }, 300);

  let end = () => {};
  return {
    node: el("div", { class: "panel" }, head("Alerts", alerts.source.picker, figures, el("span", { class: "grow" }), el("button", { type: "button", text: "Send a test", onclick: test }), filter), alerts.source.notice, notice, chips, none, list),
    open() {
      end = alerts.watch(draw);
      draw();
    },
    close: () => end(),
    focus: () => filter.focus(),
  };
}
