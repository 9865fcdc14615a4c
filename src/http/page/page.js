// A client of broadcastd.v1 and a page around it. It keeps positions, so that a reconnect resumes where it left off.
"use strict";

const ROWS = 500;
const LISTED = 200; // rooms; others are subscribed to by name
const LOOPBACK = /^(localhost|.+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;
// Words of `severity` and `status` that have a colour and a sign; others have the plain one.
const TONES = {
  info: ["info", "active", "busy", "running", "started", "created", "updated"],
  good: ["completed", "success", "succeeded", "ok", "healthy", "done", "passed"],
  warn: ["warning", "warn", "degraded", "cancelled"],
  bad: ["error", "critical", "failed", "fatal", "unhealthy"],
};
const TONE_OF = new Map(Object.entries(TONES).flatMap(([tone, words]) => words.map((word) => [word, tone])));

const byId = (id) => document.getElementById(id);
const rooms = new Map(); // name -> {position, epoch, events, gaps, row, count}
const found = new WeakMap(); // row -> what the filter looks at
const narrow = matchMedia("(max-width: 760px)");
let declared = [];
let isFirst = true; // look at what the daemon has
let hasOpened = false;
let waiting = []; // rows of the next frame, the oldest first
let isDrawing = false;
let socket = null;
let retry = 0;
let paused = false;
let seen = 0;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, label, click) {
  const made = element("button", "", text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", click);
  return made;
}

function state(text, className) {
  byId("state").textContent = text;
  byId("state").className = "state " + (className || "");
}

function notice(text) {
  byId("notice").textContent = text || "";
  byId("notice").hidden = !text;
  if (text) byId("side").open = true;
}

function connect() {
  // Relative, as every address here: a proxy may have the page below a path.
  const address = new URL("ws", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address, "broadcastd.v1");
  let after = null;
  socket.onopen = () => {
    retry = 0;
    state("Connected", "live");
    const wanted = [...rooms].map(([room, it]) => (it.position ? { room, from: { after: it.position } } : { room, from: { last: 20 } }));
    if (wanted.length) send({ type: "subscribe", rooms: wanted });
    // After a reconnect rooms and addresses may be others.
    if (hasOpened) look();
    hasOpened = true;
  };
  socket.onmessage = (message) => {
    const it = JSON.parse(message.data);
    if (it.type === "closing") after = it.retry_after;
    receive(it);
  };
  socket.onclose = () => {
    const wait = after || Math.min(15000, 500 * 2 ** retry++) * (0.5 + Math.random() / 2);
    state(`Disconnected, retrying in ${Math.ceil(wait / 1000)} s`, "down");
    setTimeout(connect, wait);
  };
}

function send(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function receive(message) {
  const room = rooms.get(message.room);
  switch (message.type) {
    case "subscribed":
      for (const answer of message.rooms) {
        if (answer.error) {
          leave(answer.room, false);
          notice(`${answer.room}: ${answer.error.message}${answer.error.hint ? ` (${answer.error.hint})` : ""}`);
        } else if (rooms.has(answer.room)) {
          const it = rooms.get(answer.room);
          it.epoch = answer.epoch;
          // Before a snapshot's last page there is none.
          it.position = answer.offset === undefined ? null : `${answer.epoch}:${answer.offset}`;
        }
      }
      return;
    case "event":
      if (room) show(room, message.room, message.offset, message.data);
      break;
    case "batch":
      if (room) message.data.forEach((data, index) => {
        const offset = message.offsets ? message.offsets[index] : message.offset - message.data.length + 1 + index;
        show(room, message.room, offset, data);
      });
      break;
    case "snapshot":
      if (room) message.data.forEach((data) => show(room, message.room, "", data));
      break;
    case "gap":
      if (!room) return;
      if (message.epoch) room.epoch = message.epoch;
      room.gaps += 1;
      push({ room: message.room, offset: message.offset ?? message.last, type: "gap", tag: ["bad", message.reason],
        text: `${message.missed === null ? "Some" : message.missed} events are missing` });
      break;
    case "error":
      notice(`${message.message}${message.hint ? ` (${message.hint})` : ""}`);
      return;
  }
  if (room && message.offset !== undefined) {
    room.position = `${room.epoch}:${message.offset}`;
    count(room);
  }
}

function count(room) {
  room.count.textContent = room.gaps ? `${room.events} (${room.gaps} gaps)` : String(room.events);
}

function show(room, name, offset, data) {
  room.events += 1;
  seen += 1;
  push({ room: name, offset, type: data.type, data });
}

function push(row) {
  waiting.push(row);
  if (waiting.length > 2 * ROWS) waiting = waiting.slice(-ROWS);
  schedule();
}

// Rows are made once a frame, and only those that stay.
function schedule() {
  if (paused || isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (paused) return;
    const body = byId("events");
    body.prepend(...waiting.splice(0).slice(-ROWS).reverse().map(rowOf));
    for (const old of [...body.rows].slice(ROWS)) old.remove();
    judge();
  });
}

function rowOf({ room, offset, type, data, tag, text }) {
  const tr = element("tr");
  const time = new Date(typeof data?.timestamp === "number" ? data.timestamp : NaN);
  const hasTime = !Number.isNaN(time.getTime());
  const cell = element("td", "time", hasTime ? time.toLocaleTimeString() : "");
  if (hasTime) cell.title = time.toISOString();
  tr.append(cell, element("td", "room name", room), element("td", "number", offset), element("td", "type", type));
  tr.append(element("td", "event"));
  tr.lastChild.append(data ? eventOf(data, hasTime) : plain(tag, text));
  found.set(tr, `${tr.textContent} ${data ? JSON.stringify(data) : ""}`.toLowerCase());
  tr.hidden = !matches(tr);
  return tr;
}

function tagOf([tone, word]) {
  return element("span", `tag ${tone}`, word);
}

function plain(tag, text) {
  const line = element("div", "json");
  line.append(tagOf(tag), element("span", "", text));
  return line;
}

function fieldsOf(fields) {
  const list = Object.entries(fields);
  if (!list.length) return [element("span", "quiet", "no other fields")];
  return list.flatMap(([name, value], n) => [element("span", "quiet", `${n ? ", " : ""}${JSON.stringify(name)}:`), JSON.stringify(value)]);
}

// An event without what its row shows already; whole when it is opened.
function eventOf(data, hasTime) {
  const rest = { ...data };
  delete rest.type;
  if (hasTime) delete rest.timestamp;
  const line = element("div", "json");
  const field = ["severity", "status"].find((name) => typeof data[name] === "string" && data[name].length <= 24);
  if (field) {
    line.append(tagOf([TONE_OF.get(data[field].toLowerCase()) ?? "mute", data[field]]));
    delete rest[field];
  }
  const text = element("span");
  text.append(...fieldsOf(rest));
  line.append(text);
  line.tabIndex = 0;
  line.setAttribute("role", "button");
  line.setAttribute("aria-expanded", "false");
  line.title = "Show the whole event";
  const toggle = () => {
    const open = line.getAttribute("aria-expanded") === "false";
    line.setAttribute("aria-expanded", String(open));
    text.replaceChildren(...(open ? [JSON.stringify(data, null, 2)] : fieldsOf(rest)));
  };
  line.addEventListener("click", () => getSelection().isCollapsed && toggle());
  line.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle();
  });
  return line;
}

function matches(tr) {
  return found.get(tr).includes(byId("filter").value.trim().toLowerCase());
}

// Says what there is to see: rows, none that the filter lets through, or how to send the first event.
function judge() {
  const rows = [...byId("events").rows];
  const isEmpty = rows.length === 0;
  const isUnmatched = !isEmpty && rows.every((tr) => tr.hidden);
  byId("events").parentElement.hidden = isEmpty || isUnmatched;
  byId("empty").hidden = !isEmpty;
  byId("unmatched").hidden = !isUnmatched;
  const text = isUnmatched ? `No event of ${rows.length} matches “${byId("filter").value.trim()}”.` : "";
  const said = byId("unmatched").firstElementChild;
  if (said.textContent !== text) said.textContent = text;
}

function filter() {
  for (const tr of byId("events").rows) tr.hidden = !matches(tr);
  judge();
}

function join(name) {
  if (!name || rooms.has(name)) return;
  notice("");
  const li = element("li");
  const counter = element("span", "quiet", "0");
  li.append(element("span", "name", name), counter, button("Leave", `Leave ${name}`, () => leave(name, true)));
  byId("rooms").append(li);
  rooms.set(name, { position: null, epoch: "", events: 0, gaps: 0, row: li, count: counter });
  send({ type: "subscribe", rooms: [{ room: name, from: { last: 20 } }] });
  remember();
}

function leave(name, tell) {
  const room = rooms.get(name);
  if (!room) return;
  room.row.remove();
  rooms.delete(name);
  if (tell) send({ type: "unsubscribe", rooms: [name] });
  remember();
}

// The rooms are in the address, so that it can be shared and survives a reload.
function remember() {
  const query = [...rooms.keys()].map((name) => `room=${encodeURIComponent(name)}`).join("&");
  history.replaceState(null, "", query ? `#${query}` : location.pathname);
  byId("shown").textContent = [...rooms.keys()].join(", ") || "none subscribed";
  suggest();
}

function suggest() {
  const listed = declared.slice(0, LISTED).map((name) => {
    const li = element("li");
    li.append(element("span", "name", name));
    if (rooms.has(name)) li.append(element("span", "tag", "subscribed"));
    else li.append(button(name.includes("{") ? "Choose" : "Subscribe", `Subscribe to ${name}`, () => choose(name)));
    return li;
  });
  byId("suggestions").replaceChildren(...listed);
  byId("more").hidden = declared.length <= LISTED;
  byId("more").textContent = `${declared.length - LISTED} more: subscribe by name.`;
}

function choose(name) {
  if (!name.includes("{")) return join(name);
  byId("room").value = name.slice(0, name.indexOf("{"));
  byId("room").focus();
}

// Where the dashboard is, if whoever sees this page can reach it: at the same host, or on the same machine.
function dashboardOf(addresses) {
  for (const address of addresses) {
    const url = new URL(`http://${address}/`);
    if (["0.0.0.0", "[::]"].includes(url.hostname)) url.hostname = location.hostname;
    if (url.hostname === location.hostname || LOOPBACK.test(location.hostname)) return url.href;
  }
  return null;
}

async function look() {
  const answer = await fetch("page.json").catch(() => null);
  if (!answer) return;
  const known = await answer.json();
  if (!answer.ok) return notice(`${known.detail} (${known.hint})`);
  declared = known.rooms;
  byId("known").replaceChildren(...declared.slice(0, LISTED).map((value) => Object.assign(element("option"), { value })));
  const dashboard = dashboardOf(known.dashboard);
  for (const link of document.querySelectorAll("a.dashboard")) {
    if (dashboard) link.href = dashboard;
    link.hidden = !dashboard;
  }
  byId("operate").hidden = !dashboard;
  byId("send").hidden = !known.send;
  byId("unknown").hidden = Boolean(known.send);
  if (known.send) {
    byId("command").textContent = known.send.command;
    byId("target").textContent = known.send.room;
    const place = LOOPBACK.test(location.hostname) ? "in a terminal" : "on the machine of the daemon";
    byId("where").textContent = `Send the first one: run this ${place}.`;
  }
  if (!rooms.size && isFirst) join(declared.find((name) => !name.includes("{")) ?? known.send?.room);
  isFirst = false;
  suggest();
}

// Pages of plain HTTP have no clipboard but for loopback names; browsers still copy what is selected.
async function copy() {
  const code = byId("command");
  let isDone = await navigator.clipboard?.writeText(code.textContent).then(() => true, () => false);
  if (!isDone) {
    getSelection().selectAllChildren(code);
    isDone = document.execCommand("copy");
  }
  byId("copy").textContent = isDone ? "Copied" : "Press Ctrl+C";
  setTimeout(() => (byId("copy").textContent = "Copy"), 2000);
}

byId("join").addEventListener("submit", (event) => {
  event.preventDefault();
  join(byId("room").value.trim());
  byId("room").value = "";
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").textContent = paused ? "Resume" : "Pause";
  byId("pause").setAttribute("aria-pressed", String(paused));
  if (waiting.length) schedule();
});
byId("clear").addEventListener("click", () => {
  waiting = [];
  byId("events").replaceChildren();
  judge();
});
byId("filter").addEventListener("input", filter);
byId("unfilter").addEventListener("click", () => {
  byId("filter").value = "";
  filter();
  byId("filter").focus();
});
byId("copy").addEventListener("click", copy);
const fold = () => (byId("side").open = !narrow.matches);
narrow.addEventListener("change", fold);
fold();
setInterval(() => {
  byId("rate").textContent = seen ? `${seen} events/s` : "";
  seen = 0;
}, 1000);
for (const part of new URLSearchParams(location.hash.slice(1)).getAll("room")) join(part);
connect();
look();
