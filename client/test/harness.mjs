// What every test stands on: the real daemon on port 0, a proxy that can fail in the ways networks do, waits with deadlines.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const repository = join(import.meta.dirname, "..", "..");
const built = ["release", "debug"].map((profile) => join(repository, "target", profile, "broadcastd")).find(existsSync);
export const binary = process.env.BROADCASTD ?? built;

/** Ends a test that hangs. Far above what anything takes on a busy machine, so that no test fails for being slow. */
export const DEADLINE_MS = 120_000;

/** An address of this process alone, so that nobody takes a daemon's port while it restarts. */
export const HOST = `127.${64 + ((process.pid >> 16) & 63)}.${(process.pid >> 8) & 255}.${1 + (process.pid & 127)}`;

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
key = "agentId"
[rooms.performance_metrics]
types = ["performance_metric"]
[rooms.workflow_executions]
types = ["workflow_execution"]
[rooms.memory_timeline]
types = ["memory_timeline"]
[rooms.system_alerts]
types = ["system_alert"]
[rooms.paced]
types = ["paced"]
[rooms.short]
types = ["short"]
history = { events = 3 }
[rooms.batched]
types = ["batched"]
buffer = { events = 3, flush_interval = "10m" }
[rooms."agent:{agentId}"]
types = ["*"]
[rooms."workflow:{workflowId}"]
types = ["*"]
`;

/** Waits until `look` gives something true, which is looked at whenever `poke` is called and now and then. */
export async function until(what, look) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Tries again what a machine that stalls can spoil. A fault of ours spoils every attempt. */
export async function undisturbed(attempt) {
  for (const end = Date.now() + DEADLINE_MS; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw error;
      console.log(`# the machine may have stalled, once more: ${error.message}`);
    }
  }
}

/** The daemon, in a folder of its own. */
export class Daemon {
  static async start(config = CONFIG, more = {}) {
    assert.ok(binary, "build the daemon first, or name it in BROADCASTD");
    const daemon = new Daemon();
    daemon.folder = await mkdtemp(join(tmpdir(), "broadcastd-client-"));
    daemon.listen = { server: [`${HOST}:0`], admin: [`${HOST}:0`], ingest: [`${HOST}:0`], ...more };
    await daemon.configure(config);
    await daemon.run();
    return daemon;
  }

  async configure(config) {
    await writeFile(join(this.folder, "broadcast.toml"), config);
  }

  /** Starts it; later, where it listened before. */
  async run() {
    const sets = Object.entries(this.listen).flatMap(([section, to]) => ["--set", `${section}.listen=${JSON.stringify(to)}`]);
    this.child = spawn(binary, ["--config", join(this.folder, "broadcast.toml"), ...sets], {
      cwd: this.folder,
      stdio: ["ignore", "pipe", process.env.DAEMON_LOG ? "inherit" : "ignore"],
      env: { ...process.env, XDG_RUNTIME_DIR: this.folder, XDG_STATE_HOME: this.folder },
    });
    const found = { clients: [], admin: [], ingest: [] };
    for await (const line of createInterface({ input: this.child.stdout })) {
      const [word, name, addr] = line.split(" ");
      if (word === "ready") break;
      found[name].push(addr);
    }
    assert.ok(found.clients.length, "the daemon ended before it was ready");
    this.listen = { server: found.clients, admin: found.admin, ingest: found.ingest };
    this.clients = found.clients[0];
    this.ingest = found.ingest[0];
    this.url = `ws://${this.clients}/ws`;
  }

  /** Ends the process, by `SIGKILL` or as an operator would. */
  async kill(signal = "SIGKILL") {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill(signal);
    await ended;
  }

  async end() {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  async publish(...events) {
    const body = events.map((event) => JSON.stringify(event)).join("\n");
    const answer = await fetch(`http://${this.ingest}/events`, { method: "POST", body });
    const { accepted, errors } = await answer.json();
    assert.equal(accepted, events.length, JSON.stringify(errors));
  }
}

/** A TCP proxy to `to` (HOST:PORT) that can stop forwarding, and reset. */
export class Proxy {
  #pairs = new Set();
  #held = [];
  #stopped = false;
  /** Connections that it has taken and reset. */
  accepted = 0;
  resets = 0;
  /** Called for each connection: after how many bytes to the client it is reset; none if it gives nothing. */
  budget = () => undefined;

  static async to(target) {
    const proxy = new Proxy();
    proxy.target = target;
    proxy.server = createServer((socket) => proxy.#take(socket));
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.addr = `127.0.0.1:${proxy.server.address().port}`;
    proxy.url = `ws://${proxy.addr}/ws`;
    return proxy;
  }

  #take(client) {
    this.accepted += 1;
    if (this.#stopped) return void this.#held.push(client.on("error", () => {}).pause());
    const [host, port] = this.target.split(":");
    const server = connect(Number(port), host);
    const pair = [client, server];
    this.#pairs.add(pair);
    const over = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of pair) socket.on("error", over).on("close", over);
    let left = this.budget();
    client.on("data", (data) => server.write(data));
    server.on("data", (data) => {
      if (left === undefined || (left -= data.length) > 0) return client.write(data);
      // The beginning of what does not fit goes out, so that frames are cut; then both sides are told nothing but RST.
      client.write(data.subarray(0, data.length + left), () => {
        this.resets += 1;
        client.resetAndDestroy();
        over();
      });
      server.pause();
    });
  }

  /** Forwards nothing any more; connections stay as they are, and new ones are taken and not answered. */
  cut() {
    this.#stopped = true;
    for (const pair of this.#pairs) for (const socket of pair) socket.removeAllListeners("data").pause();
  }

  /** New connections are forwarded again; the old ones stay dead. */
  heal() {
    this.#stopped = false;
    for (const socket of this.#held.splice(0)) socket.destroy();
  }

  reset() {
    for (const [client] of this.#pairs) {
      this.resets += 1;
      client.resetAndDestroy();
    }
  }

  end() {
    this.heal();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

/** Publishes `{type, n}` with n rising from 1, a few at a time, until it is stopped. */
export class Pump {
  last = 0;
  #on = true;
  constructor(daemon, fields = { type: "tick" }, size = 5) {
    this.done = (async () => {
      while (this.#on) {
        const events = Array.from({ length: size }, (_, n) => ({ ...fields, n: this.last + 1 + n }));
        await daemon.publish(...events);
        this.last += size;
      }
    })();
  }
  stop() {
    this.#on = false;
    return this.done;
  }
}

export const upTo = (n) => Array.from({ length: n }, (_, index) => index + 1);
