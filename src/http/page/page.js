// A whole client of broadcastd.v1 and a page around it. Positions are kept, so that a reconnect goes on where it was.
"use strict";

const ROWS = 500;
const byId = (id) => document.getElementById(id);
const rooms = new Map(); // name -> {position, events, gaps, row, count}
let socket = null;
let retry = 0;
let paused = false;
let seen = 0;
const waiting = []; // what comes with the next frame, the newest last: [cells, className]

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function state(text, className) {
  byId("state").textContent = text;
  byId("state").className = "state " + (className || "");
}

function notice(text) {
  byId("notice").textContent = text || "";
  byId("notice").hidden = !text;
}

function connect() {
  // Relative, as every address here: a proxy may have the page below a path.
  const address = new URL("ws", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address, "broadcastd.v1");
  let after = null;
  socket.onopen = () => {
    retry = 0;
    state("connected", "live");
    const wanted = [...rooms].map(([room, it]) => (it.position ? { room, from: { after: it.position } } : { room, from: { last: 20 } }));
    if (wanted.length) send({ type: "subscribe", rooms: wanted });
  };
  socket.onmessage = (message) => {
    const it = JSON.parse(message.data);
    if (it.type === "closing") after = it.retry_after;
    receive(it);
  };
  socket.onclose = () => {
    const wait = after || Math.min(15000, 500 * 2 ** retry++) * (0.5 + Math.random() / 2);
    state(`disconnected, again in ${Math.ceil(wait / 1000)} s`, "down");
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
      if (room) show(room, message.room, message.offset, message.data, message.replay);
      break;
    case "batch":
      if (room) message.data.forEach((data, index) => {
        const offset = message.offsets ? message.offsets[index] : message.offset - message.data.length + 1 + index;
        show(room, message.room, offset, data, message.replay);
      });
      break;
    case "snapshot":
      if (room) message.data.forEach((data) => show(room, message.room, "", data, true));
      break;
    case "gap":
      if (!room) return;
      if (message.epoch) room.epoch = message.epoch;
      room.gaps += 1;
      row(["", message.room, message.offset ?? message.last, "gap", `${message.missed === null ? "some" : message.missed} events are missing: ${message.reason}`], "gap");
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

function show(room, name, offset, data, replay) {
  room.events += 1;
  seen += 1;
  const time = data.timestamp ? new Date(data.timestamp).toLocaleTimeString() : "";
  row([time, name, offset, data.type, data], replay ? "replay" : "");
}

// Rows are drawn once a frame, and only those that stay: the table is laid out once, however many events come.
function row(cells, className) {
  if (paused) return;
  if (!waiting.length) requestAnimationFrame(draw);
  waiting.push([cells, className]);
  if (waiting.length > ROWS) waiting.shift();
}

function draw() {
  byId("empty").hidden = true;
  const body = byId("events");
  body.prepend(...waiting.splice(0).reverse().map(([cells, className]) => rowOf(cells, className)));
  for (const old of [...body.rows].slice(ROWS)) old.remove();
}

function rowOf(cells, className) {
  const tr = element("tr", className);
  cells.forEach((cell, index) => {
    const td = element("td", ["", "", "number", "", "event"][index]);
    td.textContent = typeof cell === "object" ? JSON.stringify(cell) : cell;
    if (typeof cell === "object") {
      td.title = "show it whole";
      td.addEventListener("click", () => {
        const open = td.classList.toggle("open");
        td.textContent = JSON.stringify(cell, null, open ? 2 : 0);
      });
    }
    tr.append(td);
  });
  tr.hidden = !matches(tr);
  return tr;
}

function matches(tr) {
  return tr.textContent.toLowerCase().includes(byId("filter").value.toLowerCase());
}

function join(name) {
  if (!name || rooms.has(name)) return;
  notice("");
  const li = element("li");
  const counter = element("span", "quiet", "0");
  const button = element("button", "", "leave");
  button.type = "button";
  button.addEventListener("click", () => leave(name, true));
  li.append(element("span", "name", name), counter, button);
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
}

async function suggest() {
  const answer = await fetch("page.json");
  const known = await answer.json();
  if (!answer.ok) return notice(`${known.detail} (${known.hint})`);
  for (const name of known.rooms) {
    const option = element("option");
    option.value = name;
    byId("known").append(option);
    const li = element("li");
    const button = element("button", "", "+");
    button.type = "button";
    button.setAttribute("aria-label", `subscribe to ${name}`);
    button.addEventListener("click", () => {
      if (!name.includes("{")) return join(name);
      byId("room").value = name.slice(0, name.indexOf("{"));
      byId("room").focus();
    });
    li.append(button, element("span", "name", name));
    byId("suggestions").append(li);
  }
  if (!rooms.size) known.rooms.filter((name) => !name.includes("{")).slice(0, 1).forEach(join);
}

byId("join").addEventListener("submit", (event) => {
  event.preventDefault();
  join(byId("room").value.trim());
  byId("room").value = "";
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").textContent = paused ? "go on" : "pause";
});
byId("clear").addEventListener("click", () => {
  waiting.length = 0;
  byId("events").replaceChildren();
});
byId("filter").addEventListener("input", () => {
  for (const tr of byId("events").rows) tr.hidden = !matches(tr);
});
setInterval(() => {
  byId("rate").textContent = seen ? `${seen} events/s` : "";
  seen = 0;
}, 1000);
for (const part of new URLSearchParams(location.hash.slice(1)).getAll("room")) join(part);
connect();
suggest();
