// Events as they come, of any room, with a condition; one of them as JSON.

import { el, head, select, setText } from "../dom.js";
import { Feed } from "../feed.js";
import { count, fineClock, line, rate, timeOf } from "../format.js";
import { drawing, ticking } from "../frame.js";
import { getJson } from "../api.js";
import { copyButton, jsonView } from "../json.js";
import { VirtualList } from "../virtual.js";

/** An event in a line: what is told beside it already is left out. */
function brief(text) {
  if (text.length > 20_000) return line(text, 400);
  const { type: _type, timestamp: _timestamp, ...fields } = JSON.parse(text);
  return line(Object.entries(fields).map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value)?.replaceAll('"', "") : value}`).join(" · "), 400);
}

/** What is kept: so many events, and so many characters of them. */
const EVENTS = 2000;
const CHARS = 16_000_000;
const NARROW = matchMedia("(max-width: 720px)");

export function create({ onFeed, announce }) {
  /** @type {{ room: string, offset: number | null, seq: number | null, at: number, type: string, text: string, source: string }[]} */
  let kept = [];
  let oldest = 0;
  let chars = 0;
  let arrived = 0;
  let skipped = 0;
  let perSecond = 0;
  let isPaused = false;
  let behind = [];
  let feed = null;
  let stop = () => {};
  let wanted = { room: "", where: "", every: "250ms", from: "100" };

  const known = el("datalist", { id: "known-rooms" });
  const room = el("input", { id: "event-room", list: "known-rooms", placeholder: "agent:42", required: true, spellcheck: "false", autocomplete: "off" });
  const where = el("input", { id: "event-where", placeholder: 'status == "error" && has(agentId)', spellcheck: "false", autocomplete: "off" });
  const every = select("Pace", [["250ms", "paced"], ["", "every event"], ["1s", "once a second"], ["5s", "every 5 s"]], wanted.every, () => apply());
  every.title = "How often they are sent. Paced: four times a second, all of them; of a room with a key the newest of each key.";
  const from = select("Begin", [["100", "last 100"], ["now", "from now on"], ["start", "all history"]], wanted.from, () => apply());
  const notice = el("p", { class: "notice", role: "alert", hidden: true });
  const pauseButton = el("button", { type: "button", "aria-pressed": "false", text: "Pause", onclick: () => pause(!isPaused) });
  const jsonButton = el("button", { type: "button", "aria-pressed": "false", text: "JSON", onclick: () => list.select(list.selected === null && kept.length ? list.last() : null) });
  const figures = el("span", { class: "quiet figures" });
  const detail = el("aside", { class: "detail", "aria-label": "The chosen event", hidden: true });
  const nothing = el("div", { class: "empty" }, el("p", { text: "Nothing has come yet." }));

  const list = new VirtualList({
    label: "Events, the newest first",
    rowHeight: () => (NARROW.matches ? 46 : 26),
    first: () => oldest,
    last: () => oldest + kept.length - 1,
    make: () => el("div", { class: "event" }, el("span", { class: "time" }), el("span", { class: "offset" }), el("span", { class: "type" }), el("span", { class: "text" })),
    fill: (row, serial) => {
      const it = kept[serial - oldest];
      if (row.shown === it) return;
      row.shown = it;
      row.className = `event vrow ${it.source}`;
      const [time, offset, type, text] = row.children;
      time.textContent = fineClock(it.at);
      offset.textContent = it.offset ?? "";
      type.textContent = line(it.type, 40);
      text.textContent = brief(it.text);
    },
    open: (serial) => show(serial === null ? null : kept[serial - oldest]),
  });
  list.node.id = "event-list";

  const draw = drawing(() => {
    nothing.hidden = kept.length > 0;
    list.draw();
  }, 100);

  function keep(it) {
    kept.push(it);
    chars += it.text.length;
  }

  function trim() {
    let gone = Math.max(0, kept.length - EVENTS);
    let left = chars;
    for (let n = 0; n < gone; n += 1) left -= kept[n].text.length;
    while (left > CHARS && gone < kept.length - 1) left -= kept[gone++].text.length;
    if (!gone) return;
    kept = kept.slice(gone);
    oldest += gone;
    chars = left;
    if (list.selected !== null && list.selected < oldest) list.selected = null;
  }

  function take(name, events, meta) {
    arrived += events.length;
    skipped += meta.skipped ?? 0;
    // Of what would be pushed out at once nothing is written down.
    const into = isPaused ? behind : [];
    for (let n = Math.max(0, events.length - EVENTS); n < events.length; n += 1) {
      const event = events[n];
      into.push({ room: name, offset: meta.offsets?.[n] ?? null, seq: meta.seqs?.[n] ?? null, at: timeOf(event), type: String(event?.type ?? ""), text: JSON.stringify(event), source: meta.source });
    }
    if (isPaused) {
      if (behind.length > EVENTS) behind = behind.slice(-EVENTS);
      setText(pauseButton, behind.length >= EVENTS ? `Go on (${EVENTS}+)` : `Go on (${behind.length})`);
      return;
    }
    into.forEach(keep);
    trim();
    draw();
  }

  function gap(name, told) {
    keep({ room: name, offset: told.offset, seq: null, at: Date.now(), type: "gap", text: JSON.stringify(told), source: "gap" });
    trim();
    draw();
  }

  function pause(on) {
    isPaused = on;
    pauseButton.setAttribute("aria-pressed", String(on));
    setText(pauseButton, on ? "Go on" : "Pause");
    announce(on ? "paused" : "going on");
    if (on) return;
    behind.forEach(keep);
    behind = [];
    trim();
    draw();
  }

  function show(it) {
    jsonButton.setAttribute("aria-pressed", String(Boolean(it)));
    detail.hidden = !it;
    if (!it) return detail.replaceChildren();
    const close = () => {
      list.select(null);
      list.node.focus();
    };
    const facts = [it.room, it.offset === null ? it.source : `offset ${it.offset}`, it.seq === null ? null : `seq ${it.seq}`, fineClock(it.at), it.source === "live" ? null : it.source];
    detail.replaceChildren(
      el("div", { class: "detailhead" }, el("h2", { text: line(it.type, 60) }), copyButton(() => it.text), el("button", { type: "button", class: "small", text: "Close", onclick: close })),
      el("p", { class: "quiet", text: [...new Set(facts.filter(Boolean))].join(" · ") }),
      jsonView(JSON.parse(it.text)));
    detail.onkeydown = (event) => event.key === "Escape" && close();
  }

  function clear() {
    oldest += kept.length;
    [kept, behind, chars] = [[], [], 0];
    show(null);
    list.reset();
    draw();
  }

  function say(error) {
    notice.textContent = error ? `${error.message}${error.hint ? ` (${error.hint})` : ""}` : "";
    notice.hidden = !error;
    where.setAttribute("aria-invalid", String(error?.code === "bad_where"));
    room.setAttribute("aria-invalid", String(error?.code === "unknown_room"));
  }

  function apply() {
    wanted = { room: room.value.trim(), where: where.value.trim(), every: every.value, from: from.value };
    const query = new URLSearchParams({ room: wanted.room, ...(wanted.where ? { where: wanted.where } : {}) });
    history.replaceState(null, "", `#/events?${query}`);
    subscribe();
  }

  function subscribe() {
    stop();
    stop = () => {};
    say(null);
    clear();
    const { room: name, where: condition, every: pace, from: begin } = wanted;
    if (!name || !feed) return;
    stop = feed.open(name, { where: condition, every: pace || undefined, from: begin === "100" ? { last: 100 } : begin }, {
      events: (events, meta) => take(name, events, meta),
      gap: (told) => gap(name, told),
      refused: say,
    });
  }

  const form = el("form", { class: "filters", onsubmit: (event) => {
    event.preventDefault();
    apply();
  } },
  el("label", { class: "field" }, el("span", { text: "room" }), room), el("label", { class: "field wide" }, el("span", { text: "where" }), where),
  el("button", { type: "submit", text: "Subscribe" }), every, from);
  const tools = el("div", { class: "tools" }, pauseButton, el("button", { type: "button", text: "Clear", onclick: clear }), jsonButton);
  const node = el("div", { class: "panel events" }, head("Events", figures, el("span", { class: "grow" }), tools), form, known, notice, el("div", { class: "split" }, el("div", { class: "listbox" }, list.node, list.jump, nothing), detail));

  async function suggest() {
    const { rooms } = await getJson("api/v1/rooms?limit=500").catch(() => ({ rooms: [] }));
    const { rooms: templates } = await getJson("page.json").catch(() => ({ rooms: [] }));
    const names = [...new Set([...templates.filter((name) => !name.includes("{")), ...rooms.map((it) => it.room)])];
    known.replaceChildren(...names.map((value) => el("option", { value })));
    return names;
  }

  const ends = [];
  return {
    node,
    async open(query) {
      feed = new Feed(() => onFeed());
      onFeed(feed);
      let last = arrived;
      let lastSkipped = skipped;
      ends.push(ticking(() => {
        perSecond = arrived - last;
        const left = skipped - lastSkipped;
        [last, lastSkipped] = [arrived, skipped];
        setText(figures, `${rate(perSecond)} events/s${left ? ` · ${rate(left)}/s left out` : ""} · ${count(kept.length)} kept`);
      }, 1000));
      const names = suggest();
      if (query.get("room") !== null) [room.value, where.value] = [query.get("room"), query.get("where") ?? ""];
      if (!room.value) {
        const [first = ""] = await names;
        // Somebody names a room meanwhile.
        if (room.value || document.activeElement === room) return;
        room.value = first;
      }
      if (feed) apply();
    },
    close() {
      stop();
      stop = () => {};
      feed?.close();
      feed = null;
      onFeed(null);
      for (const end of ends.splice(0)) end();
    },
    focus: () => where.focus(),
    pause: () => pause(!isPaused),
  };
}
