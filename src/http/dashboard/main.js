// The page around the panels: the menu, the head, which panel is open, and what all of them share.

import { Alerts } from "./alerts.js";
import { Refused } from "./api.js";
import { el, setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { bytes, count, moment, rate } from "./format.js";
import { listenToKeys, shortcut, showHelp } from "./keys.js";
import * as agents from "./panels/agents.js";
import * as alertsPanel from "./panels/alerts.js";
import * as clients from "./panels/clients.js";
import * as events from "./panels/events.js";
import * as memory from "./panels/memory.js";
import * as metrics from "./panels/metrics.js";
import * as overview from "./panels/overview.js";
import * as rejected from "./panels/rejected.js";
import * as reloads from "./panels/reloads.js";
import * as rooms from "./panels/rooms.js";
import * as workflows from "./panels/workflows.js";
import { countSeen, lastSeen, markCount, markSeen } from "./seen.js";
import { switchTheme, theme } from "./theme.js";

/** Panels: their names in the address, titles, and keys. */
const PANELS = [
  ["overview", "Overview", "1", overview],
  ["events", "Events", "2", events],
  ["rooms", "Rooms", "3", rooms],
  ["clients", "Clients", "4", clients],
  ["agents", "Agents", "5", agents],
  ["metrics", "Metrics", "6", metrics],
  ["workflows", "Workflows", "7", workflows],
  ["memory", "Memory", "8", memory],
  ["alerts", "Alerts", "9", alertsPanel],
  ["rejected", "Rejected", "0", rejected],
  ["reloads", "Reloads", "-", reloads],
];
const HEALTH = { healthy: "good", degraded: "warning", unhealthy: "bad" };

const byId = (id) => document.getElementById(id);
const view = byId("view");
const announce = (text) => setText(byId("announce"), text);

const feed = new Feed((state) => showLink(state));
const figures = new Figures();
const alerts = new Alerts(feed);
let eventFeed = null;

function go(name, query = {}) {
  const search = new URLSearchParams(query).toString();
  location.hash = `#/${name}${search ? `?${search}` : ""}`;
}

const shared = { feed, figures, alerts, announce, go, ownIds: () => [feed.id, eventFeed?.id].filter(Boolean), onFeed: (made) => made === undefined || (eventFeed = made) };
const made = new Map();
let open = null;

function show() {
  const [, name, search] = /^#\/([a-z]+)(?:\?(.*))?$/.exec(location.hash) ?? [];
  const [id, title, , module] = PANELS.find(([known]) => known === name) ?? PANELS[0];
  open?.panel.close();
  if (!made.has(id)) made.set(id, module.create(shared));
  open = { id, panel: made.get(id) };
  view.replaceChildren(open.panel.node);
  view.scrollTop = 0;
  open.panel.open(new URLSearchParams(search ?? ""));
  document.title = id === "overview" ? "broadcastd" : `${title} · broadcastd`;
  for (const link of byId("nav").querySelectorAll("a")) {
    if (link.hash === `#/${id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  toggleMenu(false);
  showBadges();
}

function toggleMenu(isOpen) {
  document.body.classList.toggle("menu", isOpen);
  byId("menu").setAttribute("aria-expanded", String(isOpen));
}

function showLink({ state, reason, hint, retryIn }) {
  const [text, kind] = state === "open" ? ["live", "good"] : state === "waiting" ? [`no connection${retryIn ? `, again in ${Math.ceil(retryIn / 1000)} s` : ""}`, "bad"] : ["connecting", "warning"];
  const link = byId("link");
  setText(link, text);
  link.className = `link ${kind}`;
  link.title = [reason, hint].filter(Boolean).join(": ");
}

function showTicker(now) {
  const shown = [["in", `${rate(now.in)}/s`], ["own", `${rate(now.own)}/s`], ["sent", `${rate(now.out)}/s`], ["clients", count(now.clients)], ["blocked", count(now.blocked)], ["backlog", bytes(now.backlog)]];
  const ticker = byId("ticker");
  if (!ticker.firstChild) for (const [label] of shown) ticker.append(el("div", { class: label }, el("dt", { text: label }), el("dd")));
  shown.forEach(([, value], n) => setText(ticker.children[n].lastChild, value));
  ticker.querySelector(".blocked").classList.toggle("warn", now.blocked > 0);
  ticker.querySelector(".own").title = "Published by the daemon itself: alerts, and metrics of the machine";
}

/** Badges count what is new since the panel was looked at. */
function showBadges() {
  badge("alerts", alerts.unread(), true);
  if (figures.started !== null) {
    const { started, now: { rejectedTotal: total } } = figures;
    if (open.id === "rejected") markCount("rejected", started, total);
    badge("rejected", total - countSeen("rejected", started), true);
  }
  if (open.id === "reloads") markSeen("reloads", Date.now());
  const { count: reloads, isGrave } = alerts.reloadsSince(lastSeen("reloads", 0));
  badge("reloads", reloads, isGrave);
}

function badge(id, number, isGrave) {
  const node = byId(`badge-${id}`);
  setText(node, number > 0 ? count(number) : "");
  node.classList.toggle("grave", isGrave);
  setAttribute(node.parentNode, "aria-label", number > 0 ? `${node.parentNode.firstChild.textContent}: ${count(number)} new` : null);
}

/** Says since when the daemon does not answer, and dims what is from before. */
function showTrouble() {
  const { trouble } = figures;
  const bar = byId("gone");
  if (!trouble && !bar.hidden) announce("The daemon answers again.");
  document.body.classList.toggle("gone", trouble !== null);
  bar.hidden = trouble === null;
  if (!trouble) return;
  const what = trouble.error instanceof Refused ? `The daemon refuses to answer (${trouble.error.message})` : "The daemon does not answer";
  setText(bar, `${what}. You see the state of ${moment(trouble.since)}. Retrying every 2 s.`);
}

function showHealth() {
  const { trouble, status } = figures;
  const pill = byId("health");
  setText(pill, trouble ? "no answer" : status.status);
  pill.className = `pill ${trouble ? "bad" : (HEALTH[status.status] ?? "plain")}`;
  pill.title = trouble ? "" : status.reasons.join("\n");
}

function build() {
  const list = byId("nav").firstElementChild;
  for (const [id, title, key] of PANELS) {
    list.append(el("li", {}, el("a", { href: `#/${id}` }, el("span", { text: title }), el("span", { class: "badge", id: `badge-${id}` }), el("kbd", { text: key, "aria-hidden": "true" }))));
    shortcut(key, title, () => go(id));
  }
  shortcut("/", "to the filter of the panel", () => open.panel.focus?.());
  shortcut("p", "pauses the events, or goes on", () => (open.id === "events" ? open.panel.pause() : false));
  shortcut("t", "switches the colours", () => nextTheme());
  shortcut("?", "shows this", () => showHelp());
  byId("menu").addEventListener("click", () => toggleMenu(!document.body.classList.contains("menu")));
  byId("nav").addEventListener("click", (event) => event.target.closest("a") && toggleMenu(false));
  byId("theme").addEventListener("click", nextTheme);
  byId("help").addEventListener("click", showHelp);
  document.addEventListener("keydown", (event) => event.key === "Escape" && toggleMenu(false));
  nameTheme();
}

function nameTheme() {
  const label = { auto: "Colours as the system has them", light: "Light colours", dark: "Dark colours" }[theme()];
  byId("theme").setAttribute("aria-label", `${label}; switch`);
  byId("theme").title = label;
  return label;
}

function nextTheme() {
  switchTheme();
  announce(nameTheme());
}

build();
listenToKeys();
addEventListener("hashchange", show);
show();
figures.start();
figures.watch(() => {
  showTrouble();
  showHealth();
  if (figures.now) showTicker(figures.now);
  showBadges();
});
alerts.watch(showBadges);
