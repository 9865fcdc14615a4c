// The daemon at a glance.

import { getJson, poll } from "../api.js";
import { Chart } from "../chart.js";
import { el, head, reconcile, setText } from "../dom.js";
import { bytes, count, latency, rate, span } from "../format.js";
import { drawing } from "../frame.js";
import { alertRow } from "./alerts.js";

const PAUSE = 2000;
const ROOMS = 8;
const ALERTS = 6;

/** Figures: label, value, what is said beneath, whether it is worth a look. */
const TILES = [
  ["in", (now) => rate(now.in), () => "events/s"],
  ["sent", (now) => rate(now.out), () => "deliveries/s"],
  ["event age", (now) => latency(now.p99), (now) => `p99 · p50 ${latency(now.p50)}`],
  ["clients", (now) => count(now.clients), (now) => `${count(now.blocked)} blocked`, (now) => now.blocked > 0],
  ["producers", (now) => count(now.producers), () => "connected"],
  ["rooms", (now) => count(now.rooms), (now) => `${bytes(now.history)} history`],
  ["backlog", (now) => bytes(now.backlog), () => "not passed yet", (now) => now.backlog > 16 * 1024 * 1024],
  ["rejected", (now) => count(now.rejectedTotal), (now) => `lines · ${rate(now.rejected)}/s now`, (now) => now.rejected > 0],
  ["process", (now) => bytes(now.memory), (now) => `${Number.isFinite(now.cpu) ? Math.round(now.cpu) : "–"}% of a core`],
];

export function create({ figures, alerts, go }) {
  const tiles = el("dl", { class: "tiles" }, ...TILES.map(([label]) => el("div", { class: "tile card" }, el("dt", { text: label }), el("dd"), el("dd", { class: "quiet" }))));
  const reasons = el("p", { class: "notice", role: "alert", hidden: true });
  const about = el("span", { class: "quiet figures" });
  const rooms = el("ol", { class: "toplist", "aria-label": "Rooms with the most events" });
  const newest = el("ol", { class: "alerts small", "aria-label": "Newest alerts" });
  const calm = el("p", { class: "quiet", text: "No alerts." });
  let charts = [];

  const drawAlerts = drawing(() => {
    reconcile(newest, alerts.list.slice(-ALERTS).reverse(), ({ serial }) => serial, alertRow, () => {});
    calm.hidden = alerts.list.length > 0;
  }, 300);

  const drawFigures = drawing(() => {
    const { now, history } = figures;
    if (!now) return;
    TILES.forEach(([, value, beneath, isWorth = () => false], n) => {
      const [, shown, more] = tiles.children[n].children;
      setText(shown, value(now));
      setText(more, beneath(now));
      tiles.children[n].classList.toggle("warn", Boolean(isWorth(now)));
    });
    const time = history.map(({ at }) => at / 1000);
    const column = (name) => history.map((look) => (Number.isFinite(look[name]) ? look[name] : null));
    charts.forEach(({ chart, names }) => chart.set([time, ...names.map(column)]));
  });

  const before = new Map();
  function drawRooms({ rooms: list }, at) {
    const timed = list.map((room) => {
      const known = before.get(room.name);
      before.set(room.name, { at, published: room.published });
      return { ...room, speed: known && room.published >= known.published ? ((room.published - known.published) * 1000) / (at - known.at) : 0 };
    });
    for (const name of before.keys()) if (before.get(name).at !== at) before.delete(name);
    timed.sort((a, b) => b.speed - a.speed || b.subscribers - a.subscribers || (a.name < b.name ? -1 : 1));
    const most = Math.max(timed[0]?.speed ?? 0, 1);
    reconcile(rooms, timed.slice(0, ROOMS), ({ name }) => name, ({ name }) => el("li", {}, el("a", { href: `#/events?${new URLSearchParams({ room: name })}`, text: name }), el("span", { class: "bar", "aria-hidden": "true" }, el("i")), el("span", { class: "number" })), (item, room) => {
      item.children[1].firstChild.style.transform = `scaleX(${room.speed / most})`;
      setText(item.children[2], `${rate(room.speed)}/s · ${count(room.subscribers)}`);
      item.children[2].title = `${room.subscribers} subscriptions`;
    });
  }

  const chartBox = el("div", { class: "charts two" });
  const section = (title, panel, ...content) => el("section", { class: "card block" }, el("div", { class: "charthead" }, el("h2", { text: title }), el("button", { type: "button", class: "small", text: "All", "aria-label": `All: ${title}`, onclick: () => go(panel) })), ...content);
  const ends = [];
  return {
    node: el("div", { class: "panel" }, head("Overview", about), reasons, tiles, chartBox, el("div", { class: "charts two" }, section("Busiest rooms", "rooms", rooms), section("Newest alerts", "alerts", calm, newest))),
    open() {
      charts = [
        { names: ["in", "out"], chart: new Chart({ title: "Events per second", height: 160, series: ["in", "sent"], format: rate, top: 10 }) },
        { names: ["p50", "p99"], chart: new Chart({ title: "Event age when sent", height: 160, series: ["p50", "p99"], format: latency, top: 0.002 }) },
        { names: ["cpu"], chart: new Chart({ title: "Processor, percent of a core", height: 96, series: ["cpu"], format: (value) => `${count(Math.round(value))}%`, top: 10 }) },
        { names: ["memory"], chart: new Chart({ title: "Resident memory", height: 96, series: ["memory"], format: bytes, isBinary: true }) },
      ];
      chartBox.replaceChildren(...charts.map(({ chart }) => chart.node));
      const status = poll((signal) => getJson("api/v1/websocket/status", signal), PAUSE, (told) => {
        drawRooms(told, Date.now());
        setText(about, `version ${told.version} · up ${span(told.uptimeSeconds)}`);
        setText(reasons, told.reasons.join(" · "));
        reasons.hidden = !told.reasons.length;
      });
      ends.push(figures.watch(drawFigures), alerts.watch(drawAlerts), status.end);
      drawAlerts();
    },
    close() {
      for (const end of ends.splice(0)) end();
      for (const { chart } of charts) chart.destroy();
      charts = [];
    },
  };
}
