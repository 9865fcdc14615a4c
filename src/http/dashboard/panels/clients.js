// Clients: how far behind each is, who does not read, and ending one.

import { getJson, poll, remove } from "../api.js";
import { confirm } from "../confirm.js";
import { el, head, reconcile, setText } from "../dom.js";
import { bytes, count, plural, span } from "../format.js";
import { drawing } from "../frame.js";
import { Table } from "../table.js";
import { inUse, transportName } from "../transports.js";

const PAUSE = 2000;
const MOST = 1000;

export function create({ figures, ownIds, announce }) {
  let clients = [];
  const filter = el("input", { type: "search", placeholder: "filter by id, transport, address, room", "aria-label": "Filter clients by id, transport, address or room", oninput: () => draw() });
  const onlyBlocked = el("input", { type: "checkbox", onchange: () => draw() });
  let transport = null;
  const chips = el("div", { class: "chips", role: "group", "aria-label": "Filter by transport" });
  const summary = el("span", { class: "quiet figures" });
  const notice = el("p", { class: "notice", role: "alert", hidden: true });
  const table = new Table({
    label: "Clients",
    key: (client) => client.id,
    sort: { id: "lag", down: true },
    columns: [
      { id: "id", label: "client", class: "main", value: (client) => client.id.padStart(16, "0"), cell: idCell },
      { id: "transport", label: "transport", value: (client) => client.transport, text: (client) => transportName(client.transport) },
      { id: "address", label: "address", value: (client) => client.address ?? "", text: (client) => client.address ?? "unix" },
      { id: "state", label: "state", value: (client) => Number(client.blocked) * 1e12 + client.lag_events, cell: stateCell },
      { id: "lag", label: "events behind", number: true, value: (client) => client.lag_events + Number(client.blocked) / 2, cell: (cell, client) => {
        setText(cell, count(client.lag_events));
        cell.classList.toggle("warn", client.lag_events > 0);
      } },
      { id: "unsent", label: "unsent", number: true, value: (client) => client.unsent_bytes, text: (client) => bytes(client.unsent_bytes) },
      { id: "age", label: "connected", number: true, value: (client) => client.age_seconds, text: (client) => span(client.age_seconds) },
      { id: "rooms", label: "rooms", class: "roomlist", value: (client) => client.subscriptions, cell: roomsCell },
      { id: "end", label: "", class: "endcell", cell: endCell },
    ],
  });

  function idCell(cell, client) {
    const isOwn = ownIds().includes(client.id);
    if (cell.firstChild && cell.isOwn === isOwn) return;
    cell.isOwn = isOwn;
    cell.replaceChildren(el("code", { text: client.id }), ...(isOwn ? [el("span", { class: "pill plain", text: "this page" })] : []));
  }

  function stateCell(cell, client) {
    const [text, kind] = client.blocked ? ["blocked", "bad"] : client.lag_events > 0 ? ["behind", "warning"] : ["live", "good"];
    if (!cell.firstChild) cell.append(el("span"));
    setText(cell.firstChild, text);
    cell.firstChild.className = `pill ${kind}`;
  }

  function roomsCell(cell, client) {
    const shown = client.rooms.slice(0, 4).join(", ");
    setText(cell, client.subscriptions > 4 ? `${shown} and ${client.subscriptions - 4} more` : shown || "none");
    cell.title = client.rooms.slice(0, 50).join("\n");
  }

  function endCell(cell, client) {
    if (!cell.firstChild) cell.append(el("button", { type: "button", class: "small danger", text: "End", onclick: () => end(cell.client) }));
    cell.client = client;
    cell.firstChild.setAttribute("aria-label", `End client ${client.id}`);
  }

  async function end(client) {
    const who = `${client.id} (${client.address ?? "unix"}, ${plural(client.subscriptions, "room")}, connected for ${span(client.age_seconds)})`;
    const text = `Its connection is closed with code 4000. A client that follows the protocol comes back and goes on where it was.${ownIds().includes(client.id) ? " This one is the dashboard's own." : ""}`;
    if (!(await confirm({ title: `End client ${who}?`, text, action: "End it" }))) return;
    try {
      await remove(`api/v1/clients/${encodeURIComponent(client.id)}`);
      announce(`client ${client.id} is ended`);
      notice.hidden = true;
    } catch (error) {
      notice.textContent = `client ${client.id}: ${error.message}`;
      notice.hidden = false;
    }
    polled?.now();
  }

  /** Clients by transport, of all that are connected. */
  function drawChips() {
    const { clients: all = 0, transports = {} } = figures.now ?? {};
    const used = inUse(transports);
    if (transport !== null && !transports[transport]) transport = null;
    reconcile(chips, [[null, all], ...used], ([name]) => name, ([name]) => el("button", { type: "button", class: "chip", onclick: () => {
      transport = name;
      draw();
    } }, el("span", { text: name === null ? "all" : transportName(name) }), el("b")), (chip, [name, number]) => {
      setText(chip.lastChild, count(number));
      chip.setAttribute("aria-pressed", String(transport === name));
    });
  }

  const draw = drawing(() => {
    const wanted = filter.value.toLowerCase();
    const has = (client) => [client.id, client.address ?? "unix", transportName(client.transport), ...client.rooms].some((text) => text.toLowerCase().includes(wanted));
    drawChips();
    table.show(clients.filter((client) => (transport === null || client.transport === transport) && (!onlyBlocked.checked || client.blocked) && has(client)));
    const blocked = clients.filter((client) => client.blocked).length;
    setText(summary, `${clients.length === MOST ? "the first " : ""}${plural(clients.length, "client")} · ${count(blocked)} blocked · ${count(clients.filter((client) => client.lag_events > 0).length)} behind`);
  });

  let polled = null;
  return {
    node: el("div", { class: "panel" }, head("Clients", summary, el("span", { class: "grow" }), el("label", { class: "check" }, onlyBlocked, "blocked only"), filter), notice, chips, table.node),
    open() {
      polled = poll((signal) => getJson(`api/v1/clients?limit=${MOST}`, signal), PAUSE, (answer) => {
        clients = answer.clients;
        draw();
      }, (error) => {
        notice.textContent = `the clients cannot be read: ${error.message}`;
        notice.hidden = false;
      });
    },
    close: () => polled.end(),
    focus: () => filter.focus(),
  };
}
