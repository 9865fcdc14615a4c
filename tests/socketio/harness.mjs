// What these tests stand on besides the JavaScript client's harness: the official clients of Socket.IO, old and new, over
// every way that they know, and a log of what came.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createServer, connect as dial } from "node:net";
import { Daemon, DEADLINE_MS, until } from "../../client/test/harness.mjs";

export { DEADLINE_MS, Daemon, Proxy, Pump, undisturbed, until, upTo } from "../../client/test/harness.mjs";

const require = createRequire(import.meta.url);
const load = (name) => ({ io: require(name).io, version: require(`${name}/package.json`).version });

/** The newest client, and the first minor version of 4, which knows no recovery. */
export const NEWEST = load("socket.io-client");
export const OLDEST = load("socket.io-client-4.0");
export const CLIENTS = [NEWEST, OLDEST];

/** What a client may be told to use; the first is what it does by itself. */
export const WAYS = {
  "polling, then websocket": { options: {}, ends: "websocket" },
  "websocket only": { options: { transports: ["websocket"] }, ends: "websocket" },
  "polling only": { options: { transports: ["polling"] }, ends: "polling" },
};

export const CONFIG = `
[server]
watch = false
[sources.alerts]
enabled = false
[sources.system]
every = "off"
[room_defaults]
history = { events = 200000, bytes = "256MiB" }
[rooms.all]
types = ["*"]
[rooms.agent_states]
types = ["agent_state"]
[rooms.performance_metrics]
types = ["performance_metric"]
buffer = { events = 3, flush_interval = "10m" }
[rooms.workflow_executions]
types = ["workflow_execution"]
[rooms.memory_timeline]
types = ["memory_timeline"]
[rooms.system_alerts]
types = ["system_alert"]
[rooms.short]
types = ["short"]
history = { events = 3 }
[rooms."agent:{agentId}"]
types = ["*"]
`;

/** One event of each of the service's types. */
export const EVENTS = {
  agent_state: {
    type: "agent_state",
    agentId: "42",
    status: "busy",
    currentTask: "é — „quoted“",
    resourceUsage: { cpu: 12.5, memory: 40, activeConnections: 3 },
    timestamp: 1,
  },
  workflow_execution: {
    type: "workflow_execution", workflowId: "w", executionId: "e", stage: "s", status: "running", timestamp: 2,
  },
  memory_timeline: {
    type: "memory_timeline", memoryId: "m", action: "created", importance: 0.5, tags: ["a"], timestamp: 3,
  },
  system_alert: { type: "system_alert", severity: "info", component: "db", message: "up", timestamp: 4 },
};

export const metric = (n, more = {}) => ({
  type: "performance_metric", metricName: "cpu", value: n, unit: "percent", category: "system", timestamp: n, ...more,
});

/** Everything that is to be ended after a test, the last one first. */
const open = [];
export const ending = (end) => open.push(end);
export async function endAll() {
  for (const end of open.splice(0).reverse()) await end();
}

export async function daemon(config = CONFIG, more = {}) {
  const started = await Daemon.start(config, more);
  started.admin = started.listen.admin[0];
  ending(() => started.end());
  return started;
}

/** A client of Socket.IO, and all that it was told. */
export class Client {
  /** Events in the order in which they came: `[name, …arguments]`. */
  log = [];
  /** What its connection went through: `connect`, `disconnect: REASON`, `connect_error: MESSAGE`. */
  life = [];

  constructor(addr, { library = NEWEST, namespace = "", ...options } = {}) {
    this.socket = library.io(`http://${addr}${namespace}`, { forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50, timeout: DEADLINE_MS, ...options });
    this.socket.onAny((...event) => this.log.push(event));
    this.socket.on("connect", () => this.life.push("connect"));
    this.socket.on("disconnect", (reason) => this.life.push(`disconnect: ${reason}`));
    this.socket.on("connect_error", (error) => {
      this.life.push(`connect_error: ${error.message}`);
      this.error = error;
    });
    ending(() => this.end());
  }

  static async to(addr, options) {
    const client = new Client(addr, options);
    await until(`a connection; it went through ${client.life}`, () => client.life.includes("connect"));
    await client.had("connection_established");
    return client;
  }

  /** What it is connected over now. */
  get way() {
    return this.socket.io.engine?.transport?.name;
  }

  /** The arguments of all events of a name. */
  all(name) {
    return this.log.filter(([other]) => other === name).map(([, ...args]) => args);
  }

  /** The first argument of the event of this name that comes after those that were asked for before. */
  async had(name) {
    this.asked ??= new Map();
    const index = this.asked.get(name) ?? 0;
    this.asked.set(name, index + 1);
    const [first] = await until(`${name} number ${index + 1} among ${JSON.stringify(this.log).slice(0, 1000)}; ${this.life}`,
      () => this.all(name)[index]);
    return first;
  }

  async subscribe(request) {
    this.socket.emit("subscribe", request);
    return this.had("subscription_confirmed");
  }

  /** Emits, and gives what the daemon acknowledged. */
  ask(name, ...args) {
    return new Promise((resolve) => this.socket.emit(name, ...args, resolve));
  }

  /** The numbers of the events `tick`. */
  get numbers() {
    return this.all("tick").map(([event]) => event.n);
  }

  end() {
    this.socket.disconnect();
    this.socket.io.engine?.close();
  }
}

/** A TCP proxy whose connections stand still for a while and go on: a network that is slow, not broken. */
export class Still {
  #pairs = new Set();
  #held = false;

  static async to(target) {
    const still = new Still();
    const [host, port] = target.split(":");
    still.server = createServer((client) => {
      const server = dial(Number(port), host);
      const pair = [client, server];
      still.#pairs.add(pair);
      const over = () => {
        still.#pairs.delete(pair);
        for (const socket of pair) socket.destroy();
      };
      for (const socket of pair) socket.on("error", over).on("close", over);
      client.pipe(server);
      server.pipe(client);
      if (still.#held) server.unpipe(client);
    });
    await new Promise((resolve) => still.server.listen(0, "127.0.0.1", resolve));
    still.addr = `127.0.0.1:${still.server.address().port}`;
    ending(() => still.end());
    return still;
  }

  /** Nothing more from the daemon comes through. */
  hold() {
    this.#held = true;
    for (const [client, server] of this.#pairs) server.unpipe(client);
  }

  release() {
    this.#held = false;
    for (const [client, server] of this.#pairs) server.pipe(client);
  }

  end() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

/** Asserts that a list holds 1, 2, 3 … up to `last`, each once and in order. */
export function assertWhole(numbers, last, who) {
  const wrong = numbers.findIndex((n, index) => n !== index + 1);
  assert.ok(wrong < 0, `${who}: ${numbers.slice(Math.max(0, wrong - 3), wrong + 4)} at ${wrong + 1}`);
  assert.equal(numbers.length, last, who);
}
