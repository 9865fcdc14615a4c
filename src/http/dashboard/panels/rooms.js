// Rooms: how fast events come and go, who is subscribed, what is kept.

import { getJson, poll } from "../api.js";
import { spark } from "../chart.js";
import { el, head, setText } from "../dom.js";
import { bytes, count, plural, rate } from "../format.js";
import { drawing } from "../frame.js";
import { Rates } from "../rates.js";
import { Table } from "../table.js";

const PAUSE = 2000;
/** Rooms of one look. */
const MOST = 1000;

export function create({ go }) {
  const rates = new Rates();
  let rooms = [];
  let polled = null;
  /** More rooms than one look has: then the filter is the beginning of a name, and the daemon's. */
  let isMany = false;
  const filter = el("input", { type: "search", placeholder: "filter by name", "aria-label": "Filter rooms by name", oninput: () => {
    if (isMany) polled.now();
    draw();
  } });
  const figures = el("span", { class: "quiet figures" });
  const notice = el("p", { class: "notice", role: "alert", hidden: true });
  const table = new Table({
    label: "Rooms",
    key: (room) => room.room,
    sort: { id: "in", down: true },
    open: (room) => go("events", { room: room.room }),
    columns: [
      { id: "room", label: "room", class: "main", value: (room) => room.room, cell: nameCell },
      { id: "line", label: "last 2 min", class: "sparkcell", cell: sparkCell },
      { id: "in", label: "in/s", number: true, value: (room) => room.in || 0, text: (room) => rate(room.in) },
      { id: "own", label: "own/s", number: true, value: (room) => room.ownRate || 0, cell: (cell, room) => {
        setText(cell, rate(room.ownRate));
        cell.classList.toggle("quiet", !(room.ownRate > 0));
        cell.title = "Published by the daemon itself";
      } },
      { id: "out", label: "sent/s", number: true, value: (room) => room.out || 0, text: (room) => rate(room.out) },
      { id: "subscribers", label: "subscribers", number: true, value: (room) => room.subscribers, text: (room) => count(room.subscribers) },
      { id: "history", label: "history", number: true, value: (room) => room.history.bytes, text: (room) => `${count(room.history.events)} · ${bytes(room.history.bytes)}` },
      { id: "buffered", label: "buffered", number: true, value: (room) => room.buffered, text: (room) => count(room.buffered) },
      { id: "gaps", label: "gaps", number: true, value: (room) => room.gaps, cell: (cell, room) => {
        setText(cell, count(room.gaps));
        cell.classList.toggle("warn", room.gaps > 0);
      } },
    ],
  });

  function nameCell(cell, room) {
    if (cell.firstChild?.textContent === room.room) return;
    const link = el("a", { href: `#/events?${new URLSearchParams({ room: room.room })}`, text: room.room });
    cell.replaceChildren(link, ...(room.made_by === room.room ? [] : [el("span", { class: "quiet by", text: room.made_by })]));
  }

  function sparkCell(cell, room) {
    if (!cell.firstChild) cell.append(el("canvas", { class: "spark", "aria-hidden": "true" }));
    cell.firstChild.values = room.line;
  }

  const draw = drawing(() => {
    const wanted = filter.value.toLowerCase();
    const shown = rooms.filter(({ room }) => (isMany ? room.startsWith(filter.value) : room.toLowerCase().includes(wanted)));
    table.show(shown);
    for (const canvas of table.node.querySelectorAll("canvas")) spark(canvas, canvas.values);
    const sum = (of) => rooms.reduce((total, room) => total + (of(room) || 0), 0);
    const interests = sum(({ active }) => !active);
    setText(figures, `${isMany ? "more than are shown: the filter takes the beginning of a name · " : ""}${plural(rooms.length - interests, "active room")}${interests ? ` · ${count(interests)} only subscribed to` : ""} · ${rate(sum((room) => room.in))} in/s · ${rate(sum((room) => room.ownRate))} own/s · ${count(sum((room) => room.subscribers))} subscribed`);
  });

  return {
    node: el("div", { class: "panel" }, head("Rooms", figures, el("span", { class: "grow" }), filter), notice, table.node),
    open() {
      const look = async (signal) => {
        const prefix = isMany ? filter.value : "";
        return { prefix, ...(await getJson(`api/v1/rooms?${new URLSearchParams({ limit: MOST, prefix })}`, signal)) };
      };
      polled = poll(look, PAUSE, (answer) => {
        rooms = rates.take(answer.rooms, Date.now());
        if (!answer.prefix) isMany = answer.next !== null;
        notice.hidden = true;
        draw();
      }, (error) => {
        notice.textContent = `the rooms cannot be read: ${error.message}`;
        notice.hidden = false;
      });
    },
    close: () => polled.end(),
    focus: () => filter.focus(),
  };
}
