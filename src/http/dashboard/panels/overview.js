// The daemon at a glance.

import { Chart } from "../chart.js";
import { el, head, reconcile, setAttribute, setText } from "../dom.js";
import { bytes, count, latency, plural, rate, span } from "../format.js";
import { drawing } from "../frame.js";
import { Rates } from "../rates.js";
import { Steps } from "../steps.js";
import { inUse, transportName } from "../transports.js";
import { alertRow } from "./alerts.js";

const ROOMS = 8;
const ALERTS = 6;

const transports = (now) => inUse(now.transports).map(([name, clients]) => `${count(clients)} ${transportName(name)}`).join(" · ");

/** Figures: label, value, what is said beneath, whether it is worth a look. */
const TILES = [
  ["in", (now) => `${rate(now.in)}/s`, (now) => `${plural(now.producers, "producer")} · own ${rate(now.own)}/s`],
  ["sent", (now) => `${rate(now.out)}/s`, () => "events, once per client"],
  ["event age, p99", (now) => latency(now.p99), (now) => `p50 ${latency(now.p50)}`],
  ["clients", (now) => count(now.clients), (now) => [now.blocked > 0 ? `${count(now.blocked)} blocked` : "", transports(now)].filter(Boolean).join(" · ") || "connected", (now) => now.blocked > 0],
  ["rooms", (now) => count(now.rooms), (now) => `${bytes(now.history)} history`],
  ["backlog", (now) => bytes(now.backlog), () => "not passed yet", (now) => now.backlog > 16 * 1024 * 1024],
  ["rejected", (now) => count(now.rejectedTotal), (now) => `lines · ${rate(now.rejected)}/s now`, (now) => now.rejected > 0],
  ["process", (now) => bytes(now.memory), (now) => `${Number.isFinite(now.cpu) ? Math.round(now.cpu) : "–"}% of a core`],
];

/** Charts: their columns of the daemon's last ten minutes, and how they look. */
const CHARTS = [
  [["in", "sent", "own"], { title: "Events per second", height: 160, series: ["in", "sent", "own"], format: rate, top: 10, spans: false }],
  [["age_p50_seconds", "age_p99_seconds"], { title: "Event age when sent", height: 160, series: ["p50", "p99"], format: latency, top: 0.002 }],
  [["cpu_percent"], { title: "Processor, percent of a core", height: 110, series: ["cpu"], format: (value) => `${count(Math.round(value))}%`, top: 10, spans: false }],
  [["memory_bytes"], { title: "Resident memory", height: 110, series: ["memory"], format: bytes, isBinary: true, spans: false }],
];

/** The busiest first; those without traffic of producers by the daemon's own, then by subscribers. */
const byTraffic = (a, b) => (b.in || 0) - (a.in || 0) || (b.ownRate || 0) - (a.ownRate || 0) || b.subscribers - a.subscribers || (a.name < b.name ? -1 : 1);

function roomRow({ name }) {
  return el("tr", {}, el("th", { scope: "row" }, el("a", { href: `#/events?${new URLSearchParams({ room: name })}`, text: name })), el("td", { class: "barcell", "aria-hidden": "true" }, el("span", { class: "bar" }, el("i"))), el("td", { class: "number" }), el("td", { class: "number quiet" }), el("td", { class: "number" }));
}

export function create({ figures, alerts, go, ownIds, announce }) {
  const tiles = el("dl", { class: "tiles" }, ...TILES.map(([label]) => el("div", { class: label === "clients" ? "tile card broad" : "tile card" }, el("dt", { text: label }), el("dd"), el("dd", { class: "quiet" }))));
  const reasons = el("p", { class: "notice", role: "alert", hidden: true });
  const about = el("span", { class: "quiet figures" });
  const rooms = el("tbody");
  const column = (label, more = "number") => el("th", { scope: "col", class: more, text: label });
  const busiest = el("table", { class: "toplist", "aria-label": "Rooms with the most events" }, el("thead", {}, el("tr", {}, column("room", null), el("td"), column("in/s"), column("own/s"), column("subscribers"))), rooms);
  const newest = el("ol", { class: "alerts small", "aria-label": "Newest alerts" });
  const calm = el("p", { class: "quiet", text: "No alerts." });
  const steps = new Steps({ ownIds, announce });
  const rates = new Rates();
  let lastAnswer = 0;
  let charts = [];

  const drawAlerts = drawing(() => {
    reconcile(newest, alerts.list.slice(-ALERTS).reverse(), ({ serial }) => serial, alertRow, () => {});
    calm.hidden = alerts.list.length > 0;
  }, 300);

  const drawFigures = drawing(() => {
    const { now, history, status, answered } = figures;
    if (answered === lastAnswer) return;
    lastAnswer = answered;
    TILES.forEach(([, value, beneath, isWorth = () => false], n) => {
      const [, shown, more] = tiles.children[n].children;
      setText(shown, value(now));
      setText(more, beneath(now));
      setAttribute(more, "title", beneath(now));
      tiles.children[n].classList.toggle("warn", Boolean(isWorth(now)));
    });
    const time = history.map(({ at }) => at);
    charts.forEach(({ chart, names }) => chart.set([time, ...names.map((name) => history.map((row) => row[name]))]));
    setText(about, `version ${status.version} · up ${span(status.uptimeSeconds)}`);
    setText(reasons, status.reasons.join(" · "));
    reasons.hidden = !status.reasons.length;
    steps.look(status);
    drawRooms(rates.take(status.rooms.map((room) => ({ ...room, room: room.name, head: room.published })), answered).sort(byTraffic));
  });

  function drawRooms(timed) {
    const most = Math.max(timed[0]?.in || 0, 1);
    reconcile(rooms, timed.slice(0, ROOMS), ({ name }) => name, roomRow, (row, room) => {
      const [, bar, taken, own, subscribers] = row.children;
      bar.firstChild.firstChild.style.transform = `scaleX(${(room.in || 0) / most})`;
      setText(taken, rate(room.in));
      setText(own, room.ownRate > 0 ? rate(room.ownRate) : "–");
      setText(subscribers, count(room.subscribers));
    });
  }

  const chartBox = el("div", { class: "charts two" });
  const section = (title, panel, more, ...content) => el("section", { class: "card block" }, el("div", { class: "charthead" }, el("h2", { text: title }), el("button", { type: "button", class: "small", text: more, onclick: () => go(panel) })), ...content);
  const ends = [];
  return {
    node: el("div", { class: "panel" }, head("Overview", about), reasons, steps.node, tiles, chartBox, el("div", { class: "charts two" }, section("Busiest rooms", "rooms", "All rooms", busiest), section("Newest alerts", "alerts", "All alerts", calm, newest))),
    open() {
      charts = CHARTS.map(([names, options]) => ({ names, chart: new Chart(options) }));
      chartBox.replaceChildren(...charts.map(({ chart }) => chart.node));
      lastAnswer = 0;
      ends.push(figures.watch(drawFigures), alerts.watch(drawAlerts));
      drawAlerts();
    },
    close() {
      for (const end of ends.splice(0)) end();
      for (const { chart } of charts) chart.destroy();
      charts = [];
    },
  };
}
