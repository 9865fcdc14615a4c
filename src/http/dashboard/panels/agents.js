// Agents: the newest state of each, as a board.

import { el, empty, head, reconcile, setText } from "../dom.js";
import { ago, count, line, name, plural, timeOf } from "../format.js";
import { drawing, ticking } from "../frame.js";
import { SAMPLES } from "../samples.js";
import { Source } from "../source.js";

/** Agents that are remembered; the one that was silent longest gives way. */
const MOST = 1000;
const SHOWN = 300;
/** Silent for so long: perhaps gone. */
const STALE_MS = 60_000;
const KINDS = { idle: "plain", busy: "good", active: "good", error: "bad", offline: "off" };

export function create({ feed }) {
  const agents = new Map();
  let status = null;
  let room = "";
  const filter = el("input", { type: "search", placeholder: "filter by id or task", "aria-label": "Filter agents by id or task", oninput: () => draw() });
  const chips = el("div", { class: "chips", role: "group", "aria-label": "Filter by status" });
  const board = el("div", { class: "board", role: "list", "aria-label": "Agents" });
  const figures = el("span", { class: "quiet figures" });
  const none = empty("No agent has told its state yet.", SAMPLES.agent_state);

  function take(events, meta) {
    for (const event of events) {
      const id = event?.agentId;
      if (id === undefined) continue;
      agents.delete(id);
      agents.set(id, { id: String(id), at: meta.source === "live" ? Date.now() : timeOf(event), state: event });
    }
    while (agents.size > MOST) agents.delete(agents.keys().next().value);
    draw();
  }

  const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

  function meter(label) {
    return el("div", { class: "meter" }, el("span", { text: label }), el("div", { class: "bar", "aria-hidden": "true" }, el("i")), el("span", { class: "value" }));
  }

  function setMeter(node, value) {
    const share = value === null ? 0 : Math.min(1, Math.max(0, value / 100));
    const fill = node.children[1].firstChild;
    fill.style.transform = `scaleX(${share})`;
    fill.className = share > 0.9 ? "bad" : share > 0.75 ? "warning" : "";
    setText(node.children[2], value === null ? "–" : `${Math.round(value)}%`);
  }

  function make() {
    return el("article", { class: "agent card", role: "listitem" },
      el("div", { class: "agenthead" }, el("a", { class: "id" }), el("span", { class: "pill" })),
      el("p", { class: "task" }), meter("cpu"), meter("mem"), el("p", { class: "quiet foot" }, el("span"), el("span")));
  }

  function update(card, { id, at, state }) {
    const [top, task, cpu, memory, foot] = card.children;
    const usage = state.resourceUsage ?? {};
    setText(top.firstChild, line(id, 60));
    top.firstChild.href = `#/events?${new URLSearchParams({ room, where: `agentId == ${JSON.stringify(state.agentId)}` })}`;
    setText(top.lastChild, name(state.status, "unknown"));
    top.lastChild.className = `pill ${KINDS[String(state.status).toLowerCase()] ?? "plain"}`;
    setText(task, line(state.currentTask, 140) || "no task");
    task.classList.toggle("quiet", !state.currentTask);
    setMeter(cpu, number(usage.cpu));
    setMeter(memory, number(usage.memory));
    const connections = number(usage.activeConnections);
    setText(foot.firstChild, connections === null ? "" : plural(connections, "connection"));
    setText(foot.lastChild, ago(at));
    card.classList.toggle("stale", Date.now() - at > STALE_MS);
  }

  function drawChips(all) {
    const counts = new Map();
    for (const { state } of all) counts.set(name(state.status, "unknown"), (counts.get(name(state.status, "unknown")) ?? 0) + 1);
    const list = [[null, all.length], ...[...counts].sort((a, b) => b[1] - a[1]).slice(0, 8)];
    reconcile(chips, list, ([key]) => key, ([key]) => el("button", { type: "button", class: "chip", onclick: () => {
      status = key;
      draw();
    } }, el("span", { text: key ?? "all" }), el("b")), (chip, [key, number]) => {
      setText(chip.lastChild, count(number));
      chip.setAttribute("aria-pressed", String(status === key));
    });
  }

  const draw = drawing(() => {
    const all = [...agents.values()];
    const wanted = filter.value.toLowerCase();
    const shown = all.filter(({ id, state }) => (status === null || name(state.status, "unknown") === status) && (id.toLowerCase().includes(wanted) || line(state.currentTask).toLowerCase().includes(wanted)));
    shown.sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
    drawChips(all);
    reconcile(board, shown.slice(0, SHOWN), ({ id }) => id, make, update);
    none.hidden = all.length > 0;
    setText(figures, `${plural(all.length, "agent")}${all.length >= MOST ? " at most" : ""}${shown.length > SHOWN ? ` · the first ${SHOWN} are shown` : ""}`);
  }, 400);

  const source = new Source({ feed, type: "agent_state", preferred: ["agent_states"], wish: { snapshot: true, every: "500ms", from: "start" }, ears: {
    begin: (from) => {
      room = from;
      agents.clear();
      draw();
    },
    events: take,
  } });
  let end = () => {};
  return {
    node: el("div", { class: "panel" }, head("Agents", source.picker, figures, el("span", { class: "grow" }), filter), source.notice, chips, none, board),
    open() {
      source.open();
      end = ticking(draw, 1000);
    },
    close() {
      source.close();
      end();
    },
    focus: () => filter.focus(),
  };
}
