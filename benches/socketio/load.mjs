// The load: clients that speak Socket.IO by hand over plain WebSockets, as little as it takes, one official client beside
// them, a producer, and the count of what came.
import { isDeepStrictEqual } from "node:util";
import { connect as dial } from "node:net";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { within } from "./server.mjs";

const PATH = "/socket.io/?EIO=4&transport=websocket";
export const ROOM = "agent_states";
/** What every event's packet begins with, up to its number. */
const HEAD = Buffer.from('42["agent_state",{"type":"agent_state","n":');
const [ZERO, NINE, PING, COMMA] = Buffer.from("092,");
/** Connections that are being made at once. */
const TOGETHER = 50;
const CONNECT_MS = 120_000;
/** How long the last deliveries may take once everything is written. */
const DELIVER_MS = 120_000;
/** One delivery in so many is compared with the event in full. */
const COMPARED = 997;
const BYTES = 250;

/** An event of 250 bytes, newline included. */
export function event(n) {
  const body = {
    type: "agent_state", n, agentId: `agent-${n % 200}`, status: ["idle", "busy", "error"][n % 3],
    currentTask: "", resourceUsage: { cpu: 12.5, memory: 40.25, activeConnections: 3 }, timestamp: Date.now(),
  };
  body.currentTask = "x".repeat(Math.max(0, BYTES - 1 - JSON.stringify(body).length));
  return body;
}

/** Times in buckets that are 2 % wide, from 1 microsecond to over a minute. */
export class Times {
  #buckets = new Uint32Array(36 * 26);
  count = 0;

  add(ms) {
    const bucket = Math.floor(Math.log2(Math.max(ms * 1000, 1)) * 36);
    this.#buckets[Math.min(bucket, this.#buckets.length - 1)] += 1;
    this.count += 1;
  }

  /** Milliseconds within which this share of them lies. */
  quantile(share) {
    let left = Math.ceil(this.count * share);
    const index = this.#buckets.findIndex((count) => (left -= count) <= 0);
    return 2 ** ((index + 1) / 36) / 1000;
  }
}

/** All clients, and what they have had. */
export class Fleet {
  clients = [];
  /** What was published: the event, when it was written, and how many clients have had it; by number. */
  events = [];
  written = [];
  had = [];
  /** The first number that not all clients have had. */
  complete = 0;
  deliveries = 0;
  wrong = { lost: 0, doubled: 0, differ: 0, other: 0, closed: 0 };
  /** What was wrong first, to be shown. */
  example = undefined;
  times = new Times();
  /** Called whenever one more event is complete. */
  onComplete = () => {};

  constructor(server) {
    this.server = server;
  }

  /** Connects until there are so many, and subscribes them. The first is the official client. */
  async grow(to) {
    const take = async () => {
      while (this.clients.length < to) {
        const client = this.clients.length ? new Client(this) : new Witness(this);
        this.clients.push(client);
        await within(CONNECT_MS, client.ready, `client ${this.clients.length} is not in the room`);
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, take));
  }

  async openProducer() {
    const [host, port] = this.server.ingest.split(":");
    this.producer = dial({ host, port: Number(port), noDelay: true });
    await new Promise((resolve, reject) => this.producer.once("connect", resolve).once("error", reject));
    // A server that takes everything has nothing to answer.
    this.producer.setEncoding("utf8").on("data", (text) => this.note("other", `the producer is told ${text.slice(0, 200)}`));
    this.producer.on("error", (error) => this.note("closed", `the producer's connection: ${error.message}`));
  }

  publish(count) {
    let lines = "";
    for (let n = 0; n < count; n += 1) {
      const next = event(this.events.length);
      this.events.push(next);
      this.had.push(0);
      lines += `${JSON.stringify(next)}\n`;
    }
    const now = performance.now();
    while (this.written.length < this.events.length) this.written.push(now);
    this.producer.write(lines);
  }

  /** A client whose next number was `next` has had event `n`. Gives the number that it has to get next. */
  deliver(n, next) {
    if (n !== next) this.note(n < next ? "doubled" : "lost", `event ${n} came instead of ${next}`, Math.abs(n - next));
    if (n >= this.events.length) {
      this.note("other", `event ${n} was not published`);
      return next;
    }
    this.deliveries += 1;
    this.times.add(performance.now() - this.written[n]);
    this.had[n] += 1;
    if (n === this.complete && this.had[n] >= this.clients.length) {
      while (this.had[this.complete] >= this.clients.length) this.complete += 1;
      this.onComplete();
    }
    return Math.max(n + 1, next);
  }

  compare(got) {
    if (!isDeepStrictEqual(got, this.events[got?.n])) this.note("differ", `not what was published: ${JSON.stringify(got)}`);
  }

  note(what, example, count = 1) {
    this.wrong[what] += count;
    this.example ??= example;
  }

  /** Waits until all clients have had everything that was published. */
  async delivered() {
    const all = new Promise((resolve) => {
      this.onComplete = () => this.complete === this.events.length && resolve();
      this.onComplete();
    });
    try {
      await within(DELIVER_MS, all, "not everything was delivered");
    } catch (error) {
      const missing = this.clients.reduce((sum, client) => sum + this.events.length - client.next, 0);
      this.note("lost", `${error.message}: ${missing} deliveries are missing`, missing);
    }
  }

  /** Asks each client's connection something. What comes before the answers is all that can have been sent before. */
  async settle() {
    await within(DELIVER_MS, Promise.all(this.clients.map((client) => client.ask())), "no answers");
  }

  end() {
    this.ended = true;
    this.producer?.destroy();
    for (const client of this.clients) client.end();
  }
}

/** A client by hand. */
class Client {
  next = 0;
  #answers = [];

  constructor(fleet) {
    this.fleet = fleet;
    this.socket = new WebSocket(`ws://${fleet.server.clients}${PATH}`, { perMessageDeflate: false, skipUTF8Validation: true });
    this.ready = new Promise((resolve, reject) => {
      this.socket.once("error", reject);
      this.#answers.push(resolve);
    });
    this.socket.on("error", (error) => fleet.note("closed", error.message));
    this.socket.on("close", (code) => fleet.ended || fleet.note("closed", `a connection, with code ${code}`));
    this.socket.on("message", (data) => this.#take(data));
  }

  #take(data) {
    if (data.length > HEAD.length && HEAD.compare(data, 0, HEAD.length) === 0) {
      let n = 0;
      let at = HEAD.length;
      for (; data[at] >= ZERO && data[at] <= NINE; at += 1) n = n * 10 + data[at] - ZERO;
      if (data[at] !== COMMA) return this.fleet.note("other", data.toString());
      this.next = this.fleet.deliver(n, this.next);
      if (this.fleet.deliveries % COMPARED === 0) this.fleet.compare(JSON.parse(data.toString("utf8", 2))[1]);
    } else if (data.length === 1 && data[0] === PING) {
      this.socket.send("3");
    } else {
      this.#takeOther(data.toString());
    }
  }

  #takeOther(text) {
    if (text.startsWith("0{")) this.socket.send("40");
    else if (text.startsWith("40")) this.socket.send(`420["subscribe",{"rooms":["${ROOM}"]}]`);
    else if (text.startsWith("43")) this.#answers.shift()?.();
    else if (!/^42\["(connection_established|subscription_confirmed|pong)"/.test(text)) this.fleet.note("other", text.slice(0, 200));
  }

  ask() {
    const answered = new Promise((resolve) => this.#answers.push(resolve));
    this.socket.send('420["ping"]');
    return answered;
  }

  end() {
    this.socket.terminate();
  }
}

/** The official client, which shows that what is spoken by hand is what clients of Socket.IO are served. */
class Witness {
  next = 0;

  constructor(fleet) {
    this.socket = io(`http://${fleet.server.clients}`, { transports: ["websocket"], forceNew: true, reconnection: false });
    this.ready = new Promise((resolve, reject) => {
      this.socket.once("connect_error", reject);
      this.socket.once("connect", () => this.socket.emit("subscribe", { rooms: [ROOM] }, resolve));
    });
    this.socket.on("disconnect", (reason) => fleet.ended || fleet.note("closed", `the official client: ${reason}`));
    this.socket.on("agent_state", (event) => {
      this.next = fleet.deliver(event.n, this.next);
      fleet.compare(event);
    });
  }

  ask() {
    return new Promise((resolve) => this.socket.emit("ping", resolve));
  }

  end() {
    this.socket.disconnect();
  }
}
