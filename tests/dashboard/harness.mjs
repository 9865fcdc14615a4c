// The real daemon on free ports, a real Chromium, producers and clients. Every wait is for a condition, with a deadline.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { DEADLINE_MS, HOST, undisturbed } from "../../client/test/harness.mjs";

export { undisturbed };

export const CONFIG = `
[rooms.agent_states]
types = ["agent_state"]
key = "agentId"
snapshot = true
[rooms.performance_metrics]
types = ["performance_metric"]
key = ["agentId", "metricName"]
[rooms.workflow_executions]
types = ["workflow_execution"]
[rooms.memory_timeline]
types = ["memory_timeline"]
[rooms.system_alerts]
types = ["system_alert"]
[rooms.all]
types = ["*"]
history = { events = 10000 }
[rooms."agent:{agentId}"]
types = ["*"]
`;

export class Daemon {
  static async start(config = CONFIG) {
    const daemon = new Daemon();
    daemon.folder = await mkdtemp(join(tmpdir(), "broadcastd-dashboard-"));
    await daemon.configure(config);
    await daemon.run();
    return daemon;
  }

  configure(text) {
    return writeFile(join(this.folder, "broadcast.toml"), text);
  }

  /** Starts the process; again on the ports that it had. */
  async run() {
    const port = (name) => this[name]?.split(":").at(-1) ?? 0;
    const listen = [["server", "clients"], ["admin", "admin"], ["ingest", "ingest"]].flatMap(([section, name]) => ["--set", `${section}.listen=["${HOST}:${port(name)}"]`]);
    // Clients that a test reads late, or not at all, stay.
    const patient = ["--set", "server.heartbeat=1h", "--set", "limits.client.user_timeout=1h"];
    this.child = spawn(process.env.BROADCASTD, ["--config", join(this.folder, "broadcast.toml"), "--set", 'server.watch=false', ...patient, ...listen],
      { cwd: this.folder, stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, XDG_RUNTIME_DIR: this.folder } });
    for await (const line of createInterface({ input: this.child.stdout })) {
      if (line === "ready") return;
      const [, name, addr] = line.split(" ");
      this[name] = addr;
    }
    throw new Error("the daemon ended before it was ready");
  }

  async stop() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await ended;
  }

  async end() {
    this.child.kill("SIGKILL");
    await rm(this.folder, { recursive: true, force: true });
  }

  get url() {
    return `http://${this.admin}/`;
  }

  /** Posts lines, of which some may be refused. */
  async post(...lines) {
    const body = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");
    return (await fetch(`http://${this.ingest}/events`, { method: "POST", headers: { "content-type": "application/x-ndjson" }, body })).json();
  }

  async publish(...events) {
    const { accepted } = await this.post(...events);
    assert.equal(accepted, events.length);
  }

  async api(path, options) {
    return (await fetch(`http://${this.admin}${path}`, options)).json();
  }

  async reload() {
    return this.api("/api/v1/config/reload", { method: "POST" });
  }
}

/** A WebSocket client that subscribes to a room and then reads nothing more until it is resumed. */
export function deafClient(address, room) {
  const [host, port] = address.split(":");
  const socket = net.connect({ host, port, highWaterMark: 1024 });
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => {});
  socket.write(`GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n`);
  const text = Buffer.from(JSON.stringify({ type: "subscribe", rooms: [room] }));
  assert.ok(text.length < 126);
  const mask = randomBytes(4);
  const subscribed = new Promise((resolve) => {
    let seen = "";
    socket.on("data", (bytes) => {
      seen += bytes.toString("latin1");
      if (!seen.includes("subscribed")) return;
      socket.removeAllListeners("data");
      socket.pause();
      resolve();
    });
  });
  socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length]), mask, text.map((byte, n) => byte ^ mask[n % 4])]));
  return { subscribed, closed, resume: () => socket.resume(), end: () => socket.destroy() };
}

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** A page with the dashboard, connected; `complaints` gathers what the console says. */
export async function dashboard(browser, daemon, { panel = "overview", query = "", ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error.stack)));
  await page.goto(`${daemon.url}#/${panel}${query ? `?${new URLSearchParams(query)}` : ""}`);
  await page.locator("#link.good").waitFor();
  return page;
}

export const open = async (page, panel) => {
  await page.locator(`#nav a[href="#/${panel}"]`).click();
  await page.locator(`#nav a[href="#/${panel}"][aria-current]`).waitFor();
};

/** Waits until a condition holds. */
export async function until(what, condition) {
  const end = Date.now() + DEADLINE_MS;
  let seen;
  while (!(seen = await condition())) {
    if (Date.now() > end) assert.fail(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return seen;
}
