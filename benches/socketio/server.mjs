// The process under load: broadcastd or the official server, on a core of its own, and what the kernel says of it.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const repository = join(import.meta.dirname, "..", "..");
const START_MS = 60_000;
const STOP_MS = 30_000;
const COLLECT_MS = 120_000;

/** Waits for a promise; when it takes longer, fails with what did not happen. */
export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The release build, where cargo puts it. */
export const DAEMON = join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "release", "broadcastd");

// What is not under test is out of the way. History, limits and recovery are the defaults.
const CONFIG = `
[server]
listen = ["127.0.0.1:0"]
watch = false
drain_timeout = "2s"
[admin]
listen = ["127.0.0.1:0"]
[ingest]
listen = ["127.0.0.1:0"]
[sources.alerts]
enabled = false
[sources.system]
every = "off"
[rooms.agent_states]
types = ["agent_state"]
`;

/** What runs can be compared: the name, and how it is started. */
export const SERVERS = {
  broadcastd: async (folder, { daemon }) => {
    const config = join(folder, "broadcast.toml");
    await writeFile(config, CONFIG);
    return [daemon, "serve", "--config", config];
  },
  official: async () => official(),
  "official-recovery": async () => official("--recovery"),
};

const official = (...more) => [process.execPath, "--expose-gc", join(import.meta.dirname, "official.mjs"), ...more];

/** A running server. */
export class Server {
  #collected = [];
  #said = "";

  static async start(name, options) {
    const server = new Server();
    server.folder = await mkdtemp(join(tmpdir(), "broadcastd-compare-"));
    try {
      await server.#run(await SERVERS[name](server.folder, options), options.core);
    } catch (error) {
      await server.stop();
      throw new Error(`${name}: ${error.message}\n${server.#said.slice(-2000)}`);
    }
    return server;
  }

  async #run(command, core) {
    if (command[0] !== process.execPath && !existsSync(command[0])) {
      throw new Error(`no daemon at ${command[0]}: cargo build --release, or --daemon PATH`);
    }
    const pinned = core === undefined ? command : ["taskset", "-c", String(core), ...command];
    this.child = spawn(pinned[0], pinned.slice(1), {
      cwd: this.folder,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, XDG_RUNTIME_DIR: this.folder, XDG_STATE_HOME: this.folder },
    });
    this.child.stderr.setEncoding("utf8").on("data", (text) => (this.#said = (this.#said + text).slice(-4000)));
    const ready = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("exit", (code, signal) => reject(new Error(`ended with ${code ?? signal} before it was ready`)));
      createInterface({ input: this.child.stdout }).on("line", (line) => {
        const [word, what, addr] = line.split(" ");
        if (word === "listening") this[what] = addr;
        if (word === "ready") resolve();
        if (word === "collected") this.#collected.shift()?.();
      });
    });
    await within(START_MS, ready, "not ready");
    if (!this.clients || !this.ingest) throw new Error("it is ready, and did not say where it listens");
  }

  get #proc() {
    return `/proc/${this.child.pid}`;
  }

  /** Nanoseconds of a processor that all its threads have had, in user and kernel. */
  cpu() {
    let sum = 0;
    for (const thread of readdirSync(`${this.#proc}/task`)) {
      sum += Number(readFileSync(`${this.#proc}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    }
    return sum;
  }

  /** Bytes of resident memory; of a server on Node after it has collected its garbage. */
  async resident() {
    if (this.child.spawnargs.includes("--expose-gc")) {
      const collected = new Promise((resolve) => this.#collected.push(resolve));
      this.child.kill("SIGUSR2");
      await within(COLLECT_MS, collected, "its garbage is not collected");
    }
    const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`${this.#proc}/status`, "utf8"));
    return Number(kib) * 1024;
  }

  async stop() {
    const child = this.child;
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(late);
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}
