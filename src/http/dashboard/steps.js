// The first steps with a daemon that has nothing yet: send an event, subscribe, connect a client.

import { getJson } from "./api.js";
import { el, setText } from "./dom.js";
import { copyButton } from "./json.js";
import { roomsIn } from "./rooms.js";
import { SAMPLES } from "./samples.js";
import { lastSeen, markSeen } from "./seen.js";

const NAME = "steps";

/** An address that can be connected to from here: what listens everywhere is reached where this page is. */
function reachable(address) {
  const [, host, port] = /^(.*):(\d+)$/.exec(address) ?? [];
  if (port === undefined || address.startsWith("unix:")) return null;
  return `${["0.0.0.0", "[::]"].includes(host) ? location.hostname : host}:${port}`;
}

/** A room that shows an event soon, and an event that it takes: best one that takes anything. */
export function firstEvent(rooms) {
  const fixed = rooms.filter(({ name }) => !name.includes("{"));
  const open = fixed.find(({ takesAny, hasWhere }) => takesAny && !hasWhere);
  if (open) return { room: open.name, event: '{"type":"hello","text":"first event"}' };
  const known = fixed.find(({ types, hasWhere }) => !hasWhere && types.some((type) => type in SAMPLES)) ?? fixed.find(({ types }) => types.some((type) => !type.includes("*")));
  if (!known) return null;
  const type = known.types.find((name) => name in SAMPLES) ?? known.types.find((name) => !name.includes("*"));
  return { room: known.name, event: SAMPLES[type] ?? JSON.stringify({ type }) };
}

const httpAt = (address, path) => `http://${address}${path}`;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function sendCommand(addresses, event) {
  const tcp = addresses.map(reachable).find(Boolean);
  if (tcp) return `curl ${httpAt(tcp, "/events")} \\\n  -d ${quoted(event)}`;
  const unix = addresses.find((address) => address.startsWith("unix:"))?.slice(5);
  return unix ? `curl --unix-socket ${quoted(unix)} \\\n  ${httpAt("localhost", "/events")} -d ${quoted(event)}` : null;
}

/** What each step says: its title, a sentence, what to copy. Null: the configuration does not allow it. */
export function stepsFor({ keys, addresses }) {
  const first = firstEvent(roomsIn(keys));
  const clients = addresses.clients.map(reachable).find(Boolean);
  const room = first && encodeURIComponent(first.room);
  return [
    ["Send an event", "From any program or shell, as JSON.", first && sendCommand(addresses.ingest, first.event)],
    ["Subscribe", "Events show up in the terminal as they come.", first && clients && `curl -N '${httpAt(clients, `/sse?room=${room}&from=start`)}'`],
    ["Connect a client", "In a web page, without installing anything.", first && clients && `import { BroadcastClient }\n  from "${httpAt(clients, "/client.js")}";\nnew BroadcastClient()\n  .subscribe(${JSON.stringify(first.room)}, console.log);`],
  ];
}

export class Steps {
  #done = [false, false, false];
  #isWanted = null;
  #cards = [];
  /** Connections of this page, also those that it had. */
  #own = new Set();

  constructor({ ownIds, announce }) {
    Object.assign(this, { ownIds, announce });
    this.list = el("ol", { class: "steps" });
    this.hide = el("button", { type: "button", class: "small", text: "Hide", "aria-label": "Hide the first steps", onclick: () => this.#end() });
    this.node = el("section", { class: "card first", "aria-labelledby": "first-steps", hidden: true },
      el("div", { class: "firsthead" }, el("h2", { id: "first-steps", text: "First steps" }), el("p", { class: "quiet", text: "Three commands from nothing to live events." }), el("span", { class: "grow" }), this.hide), this.list);
  }

  /** Looks at the status. The steps are shown on a daemon without events, until they are hidden. */
  async look({ events }) {
    if (this.#isWanted === null) {
      this.#isWanted = events.accepted === 0 && !lastSeen(NAME, false);
      if (this.#isWanted) this.#fill();
    }
    for (const id of this.ownIds()) this.#own.add(id);
    if (!this.#isWanted || !this.#own.size) return;
    if (events.accepted > 0) this.#tick(0);
    const { clients } = await getJson("api/v1/clients").catch(() => ({ clients: [] }));
    // A connection of this page that is younger may not have told its name yet.
    for (const { transport } of clients.filter(({ id, age_seconds: age }) => age >= 1 && !this.#own.has(id))) this.#tick(["sse", "lines"].includes(transport) ? 1 : 2);
  }

  async #fill() {
    try {
      const steps = stepsFor(await getJson("api/v1/config"));
      this.#cards = steps.map(([title, says, command], n) => el("li", {},
        el("h3", {}, el("span", { class: "stepmark", "aria-hidden": "true", text: n + 1 }), title, el("span", { class: "hidden" })),
        el("p", { class: "quiet", text: command ? says : "Nothing in broadcast.toml allows this step." }),
        command ? el("div", { class: "command" }, el("pre", { tabindex: "0", "aria-label": title }, el("code", { text: command })), copyButton(() => command, `Copy: ${title}`, this.announce)) : null));
      this.list.replaceChildren(...this.#cards);
      this.#done.forEach((isDone, n) => isDone && this.#show(n));
      this.node.hidden = !this.#isWanted;
    } catch {
      this.#isWanted = null;
    }
  }

  #tick(n) {
    if (this.#done[n]) return;
    this.#done[n] = true;
    this.#show(n);
  }

  #show(n) {
    const card = this.#cards[n];
    if (!card) return;
    card.classList.add("done");
    setText(card.querySelector(".stepmark"), "✓");
    setText(card.querySelector("h3 .hidden"), ": done");
  }

  #end() {
    this.#isWanted = false;
    this.node.hidden = true;
    markSeen(NAME, true);
  }
}
