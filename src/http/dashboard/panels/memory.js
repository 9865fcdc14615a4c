// Memories as they are made, changed, used and dropped: dots over time by importance, and a list.

import { el, empty, head, reconcile, setText } from "../dom.js";
import { clock, count, line, moment, name, timeOf } from "../format.js";
import { drawing, ticking } from "../frame.js";
import { SAMPLES } from "../samples.js";
import { Source } from "../source.js";
import { colour, onTheme } from "../theme.js";

const MOST = 2000;
const SHOWN = 200;
const WINDOW_MS = 600_000;
/** What the labels of importance take of the width. */
const LABELS = 30;
/** Columns of the list. */
const COLUMNS = ["time", "action", "memory", "content", "tags", "importance", "agent"];
const ACTIONS = { created: ["+", "good"], updated: ["~", "accent"], accessed: ["·", "plain"], deleted: ["−", "bad"] };
const COLOURS = { created: "good", updated: "accent", accessed: "quiet", deleted: "bad" };

export function create({ feed }) {
  let memories = [];
  let serial = 0;
  const off = new Set();
  const filter = el("input", { type: "search", placeholder: "filter by id, tag, content", "aria-label": "Filter memories", oninput: () => draw() });
  const chips = el("div", { class: "chips", role: "group", "aria-label": "Actions shown" });
  const canvas = el("canvas", { class: "dots", role: "img", "aria-label": "Memories of the last ten minutes by importance" });
  const list = el("ol", { class: "timeline", "aria-label": "Memories, the newest first" });
  const figures = el("span", { class: "quiet figures" });
  const none = empty("No memory has been told of yet.", SAMPLES.memory_timeline);

  for (const [action, [glyph, kind]] of Object.entries(ACTIONS)) {
    const chip = el("button", { type: "button", class: "chip toggle", "aria-pressed": "true", onclick: () => {
      if (!off.delete(action)) off.add(action);
      chip.setAttribute("aria-pressed", String(!off.has(action)));
      draw();
    } }, el("span", { class: `glyph ${kind}`, text: glyph, "aria-hidden": "true" }), el("span", { text: action }), el("b"));
    chips.append(chip);
  }

  function take(events, meta) {
    for (const event of events.slice(-MOST)) {
      if (event?.memoryId === undefined) continue;
      serial += 1;
      memories.push({ serial, at: meta.source === "live" ? Date.now() : Math.min(Date.now(), timeOf(event)), event });
    }
    if (memories.length > MOST) memories = memories.slice(-MOST);
    draw();
  }

  // Importance is 0 to 1 in some programs and 0 to 10 or 100 in others: the scale is what is usual.
  function scaleOf(all) {
    const told = all.slice(-200).map(({ event }) => Number(event.importance) || 0).sort((a, b) => a - b);
    const usual = told[told.length >> 1] ?? 0;
    return usual <= 1 ? 1 : usual <= 10 ? 10 : 100;
  }

  function plot(shown, scale) {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "11px system-ui, sans-serif";
    const now = Date.now();
    const [left, right] = [LABELS, 16];
    const x = (at) => left + (width - left - right) * (1 - (now - at) / WINDOW_MS);
    const y = (share) => height - 24 - share * (height - 34);
    context.fillStyle = colour("quiet");
    context.strokeStyle = colour("line");
    for (const share of [0, 0.5, 1]) {
      context.fillText(count(share * scale), 2, y(share) + 4);
      context.beginPath();
      context.moveTo(left, Math.round(y(share)) + 0.5);
      context.lineTo(width - right, Math.round(y(share)) + 0.5);
      context.stroke();
    }
    for (let minute = Math.ceil((now - WINDOW_MS) / 60_000); minute * 60_000 < now; minute += width < 500 ? 4 : 2) {
      const at = x(minute * 60_000);
      context.beginPath();
      context.moveTo(Math.round(at) + 0.5, 4);
      context.lineTo(Math.round(at) + 0.5, height - 18);
      context.stroke();
      context.fillText(clock(minute * 60_000).slice(0, 5), Math.min(Math.max(left - 14, at - 14), width - 32), height - 4);
    }
    context.globalAlpha = 0.75;
    for (const [action, token] of Object.entries(COLOURS)) {
      context.fillStyle = colour(token);
      for (const { at, event } of shown) {
        if (event.action !== action || at < now - WINDOW_MS) continue;
        const share = Math.min(1, Math.max(0, (Number(event.importance) || 0) / scale));
        context.beginPath();
        context.arc(x(at), y(share), 2 + share * 2, 0, 7);
        context.fill();
      }
    }
  }

  function make({ at, event }) {
    const [glyph, kind] = ACTIONS[event.action] ?? ["?", "plain"];
    const tags = Array.isArray(event.tags) ? event.tags.slice(0, 8) : [];
    return el("li", { class: "memory" },
      el("time", { text: moment(at) }), el("span", { class: "action" }, el("span", { class: `glyph ${kind}`, text: glyph, "aria-hidden": "true" }), name(event.action)),
      el("code", { text: name(event.memoryId), title: line(event.memoryId, 300) }), el("p", { class: "content", text: line(event.content, 300) }),
      el("p", { class: "tags" }, ...tags.map((tag) => el("span", { class: "tag", text: name(tag) }))),
      el("span", { class: "weight", title: `importance ${line(event.importance, 20)}` }, el("span", { class: "importance", "aria-hidden": "true" }, el("i")), el("span", { text: typeof event.importance === "number" ? count(event.importance) : "–" })),
      el("span", { class: "agent-of", text: event.agentId === undefined ? "" : name(event.agentId) }));
  }

  const draw = drawing(() => {
    const wanted = filter.value.toLowerCase();
    const has = ({ event }) => !off.has(event.action) && (!wanted || `${line(event.memoryId)} ${line(event.tags)} ${line(event.content, 2000)} ${line(event.agentId)}`.toLowerCase().includes(wanted));
    const shown = memories.filter(has);
    const scale = scaleOf(memories);
    [...chips.children].forEach((chip, n) => setText(chip.lastChild, count(memories.filter(({ event }) => event.action === Object.keys(ACTIONS)[n]).length)));
    plot(shown, scale);
    reconcile(list, shown.slice(-SHOWN).reverse(), (memory) => memory.serial, make, (item, { event }) => {
      item.querySelector(".importance i").style.transform = `scaleX(${Math.min(1, Math.max(0, (Number(event.importance) || 0) / scale))})`;
    });
    none.hidden = memories.length > 0;
    setText(figures, `${memories.length === 1 ? "1 event" : `${count(memories.length)}${memories.length >= MOST ? "+" : ""} events`}${shown.length > SHOWN ? ` · the newest ${SHOWN} are listed` : ""}`);
  }, 400);

  const source = new Source({ feed, type: "memory_timeline", preferred: ["memory_timeline"], wish: { every: "250ms", from: "start" }, ears: {
    begin: () => {
      memories = [];
      draw();
    },
    events: take,
  } });
  onTheme(() => draw());
  let end = () => {};
  return {
    node: el("div", { class: "panel" }, head("Memory", source.picker, figures, el("span", { class: "grow" }), filter), source.notice, chips, el("div", { class: "card dotbox" }, el("h2", { text: "Importance, last ten minutes" }), canvas), none, el("div", { class: "timebox" }, el("div", { class: "memoryhead", "aria-hidden": "true" }, ...COLUMNS.map((text) => el("span", { text }))), list)),
    open() {
      source.open();
      end = ticking(draw, 2000);
    },
    close() {
      source.close();
      end();
    },
    focus: () => filter.focus(),
  };
}
