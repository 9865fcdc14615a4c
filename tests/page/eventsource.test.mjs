// A browser's own EventSource against the real daemon, through a proxy that cuts its connections anywhere.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createPages } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const CONFIG = `
[rooms."agent:{agentId}"]
types = ["*"]
history = { events = 100000 }
`;
const AGENTS = ["1", "2", "3"];
const CUTS = 4;

let folder, browser, daemon, pages, proxy, page;
// Bytes of the answers that are let through before their connection is cut; null: all.
let budgets = [];
let requests = [];

async function start() {
  const listen = ["server", "admin", "ingest"].flatMap((section) => ["--set", `${section}.listen=["127.0.0.1:0"]`]);
  const quiet = ["--set", "sources.alerts.enabled=false", "--set", "sources.system.every=off"];
  const child = spawn(process.env.BROADCASTD, ["--config", join(folder, "broadcast.toml"), ...listen, ...quiet],
    { cwd: folder, stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder } });
  const addrs = {};
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === "ready") return { child, ...addrs };
    const [, name, addr] = line.split(" ");
    addrs[name] = addr;
  }
  throw new Error("the daemon ended before it was ready");
}

// Passes on what a browser sends, and of each answer as much as its budget allows, to the byte.
function through(client) {
  const server = connect(Number(daemon.clients.split(":").at(-1)), "127.0.0.1");
  let left = budgets.length > 0 ? budgets.shift() : Infinity;
  client.on("data", (data) => {
    requests.push(data.toString());
    server.write(data);
  });
  server.on("data", (data) => {
    client.write(data.subarray(0, left));
    left -= data.length;
    if (left <= 0) {
      client.destroySoon();
      server.destroy();
    }
  });
  for (const [one, other] of [[client, server], [server, client]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroySoon());
  }
}

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

let published = 0;
async function publish(count) {
  const lines = [];
  for (let n = published + 1; n <= published + count; n += 1) {
    lines.push(...AGENTS.map((agentId) => JSON.stringify({ type: "t", agentId, n }, null, 1).replaceAll("\n", " ")));
  }
  published += count;
  const answer = await fetch(`http://${daemon.ingest}/events`, { method: "POST", body: lines.join("\n") });
  assert.equal((await answer.json()).accepted, lines.length);
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "broadcastd-eventsource-"));
  await writeFile(join(folder, "broadcast.toml"), CONFIG);
  daemon = await start();
  proxy = createServer(through);
  pages = createPages((_, response) => response.setHeader("content-type", "text/html").end("<title>a page</title>"));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  // A page of another origin than the stream's.
  await page.goto(`http://localhost:${await new Promise((resolve) => pages.listen(0, () => resolve(pages.address().port)))}/`);
});

after(async () => {
  await browser?.close();
  daemon?.child.kill("SIGKILL");
  proxy?.close();
  pages?.close();
  await rm(folder, { recursive: true });
});

test("an EventSource whose connections are cut misses nothing and gets nothing twice", async () => {
  budgets = Array.from({ length: CUTS }, () => 900 + Math.floor(Math.random() * 3000));
  const shown = `budgets ${budgets}`;
  const query = AGENTS.map((agent) => `room=agent%3A${agent}`).join("&");
  const url = `http://127.0.0.1:${await listening(proxy)}/sse?${query}&from=start`;
  await page.evaluate((url) => {
    const seen = (window.seen = { had: {}, wrong: [], opened: 0, ids: [] });
    const take = (room, event) => {
      const had = seen.had[room] ?? 0;
      if (event.n !== had + 1) seen.wrong.push(`${room}: ${event.n} after ${had}`);
      seen.had[room] = event.n;
    };
    const source = (window.source = new EventSource(url));
    source.onopen = () => (seen.opened += 1);
    source.onmessage = ({ data, lastEventId }) => {
      const message = JSON.parse(data);
      if (message.type === "event") take(message.room, message.data);
      else if (message.type === "batch") message.data.forEach((event) => take(message.room, event));
      else if (message.type === "gap") seen.wrong.push(data);
      seen.ids.push(lastEventId);
    };
  }, url);
  // Published all the time, whether the browser is there or not, until it has come back from every cut.
  while (await page.evaluate((wanted) => window.seen.opened < wanted, CUTS + 1)) await publish(3);
  await publish(1);
  await page.waitForFunction(([rooms, last]) => rooms.every((room) => window.seen.had[room] === last),
    [AGENTS.map((agent) => `agent:${agent}`), published]);
  const seen = await page.evaluate(() => window.seen);
  assert.deepEqual(seen.wrong, [], shown);
  const asked = requests.map((request) => /^last-event-id: (.*)\r$/im.exec(request)?.[1]);
  assert.equal(asked.length, CUTS + 1, shown);
  assert.equal(asked[0], undefined);
  // A browser may drop what it has not read when a connection breaks, and then has no position yet.
  const first = asked.findIndex((id) => id !== undefined);
  assert.ok(first > 0, shown);
  for (const id of asked.slice(first)) assert.equal(id?.split(",").length, AGENTS.length, `${asked} with ${shown}`);
});

test("a page of another origin sends credentials and headers of its own, to streams and to the API", async () => {
  const base = `http://127.0.0.1:${daemon.clients.split(":").at(-1)}`;
  const seen = await page.evaluate(async (base) => {
    const source = new EventSource(`${base}/sse?room=agent%3Ax`, { withCredentials: true });
    const opened = await new Promise((resolve) => {
      source.onopen = () => resolve(true);
      source.onerror = () => resolve(false);
    });
    source.close();
    const own = { authorization: "Bearer x", "x-tenant": "t" };
    const status = async (path, headers = own) => {
      const abort = new AbortController();
      const answer = await fetch(base + path, { credentials: "include", headers, signal: abort.signal }).catch((error) => ({ status: `${error}` }));
      abort.abort();
      return answer.status;
    };
    return [opened, await status("/sse?room=agent%3Ax"), await status("/sse?room=none"), await status("/api/v1/health"), await status("/api/v1/none", {})];
  }, base);
  assert.deepEqual(seen, [true, 200, 404, 200, 404]);
});

test("a daemon that stops says so, and an EventSource goes on with the next where it was", async () => {
  await page.evaluate(() => {
    window.closing = new Promise((resolve) => {
      window.source.addEventListener("message", ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "closing") resolve(message);
      });
    });
  });
  const ended = new Promise((resolve) => daemon.child.once("exit", resolve));
  daemon.child.kill("SIGTERM");
  assert.equal((await page.evaluate(() => window.closing)).code, 1001);
  await ended;
  daemon = await start();
  await publish(3);
  await page.waitForFunction(([rooms, last]) => rooms.every((room) => window.seen.had[room] === last),
    [AGENTS.map((agent) => `agent:${agent}`), published]);
  assert.deepEqual(await page.evaluate(() => window.seen.wrong), []);
});

test("after a crash an EventSource is told that every room has begun anew", async () => {
  daemon.child.kill("SIGKILL");
  await page.evaluate(() => {
    window.seen.gaps = [];
    window.source.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "gap") window.seen.gaps.push(message);
    });
  });
  daemon = await start();
  await page.waitForFunction((count) => window.seen.gaps.length === count, AGENTS.length);
  const gaps = await page.evaluate(() => window.seen.gaps);
  assert.deepEqual([...new Set(gaps.map((gap) => gap.reason))], ["epoch_changed"]);
  assert.deepEqual(gaps.map((gap) => gap.room).sort(), AGENTS.map((agent) => `agent:${agent}`));
});
