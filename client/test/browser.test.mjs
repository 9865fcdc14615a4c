// The client in a real browser, imported from the daemon itself, by pages of another origin. Every wait is for a condition.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";
import { CONFIG, Daemon, DEADLINE_MS, Proxy, Pump, until, upTo } from "./harness.mjs";
import { StandIn } from "./stand-in.mjs";

let daemon, browser, context, page, site, complaints;
const cleanup = [];

before(async () => {
  daemon = await Daemon.start();
  site = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>a page</title>"));
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP app.example 127.0.0.1"],
  });
});

after(async () => {
  await browser?.close();
  site?.close();
  await daemon?.end();
});

beforeEach(async () => {
  context = await browser.newContext();
  page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(address());
});

afterEach(async () => {
  await context.close();
  for (const end of cleanup.splice(0).reverse()) await end();
});

const address = (host = "127.0.0.1") => `http://${host}:${site.address().port}/`;

/** Makes `client` in the page, with `seen` and `states` of what it has. */
const load = (url, options = {}, subscription = {}, frame = page) =>
  frame.evaluate(async ([module, url, options, { room = "all", ...subscription }]) => {
    const { BroadcastClient } = await import(module);
    Object.assign(window, { BroadcastClient, seen: [], states: [], gaps: [] });
    window.client = new BroadcastClient(url, { ...options, onState: (state) => states.push(state), onGap: (gap) => gaps.push(gap) });
    const confirmed = new Promise((resolve) => client.subscribe(room, ({ n }) => seen.push(n), { ...subscription, onReady: resolve }));
    if (!options.unconfirmed) await confirmed;
  }, [`http://${daemon.clients}/client.js`, url, options, subscription]);

const seen = (count) => page.waitForFunction((count) => window.seen.length >= count, count).then(() => page.evaluate(() => window.seen));
const state = (wanted) => page.waitForFunction((wanted) => client.state.state === wanted, wanted);

let agents = 0;
const someAgent = () => `b${(agents += 1)}`;

test("a page of another origin imports it from the daemon and has events", async () => {
  const agentId = someAgent();
  await load(daemon.url, {}, { room: `agent:${agentId}` });
  await daemon.publish({ type: "t", agentId, n: 1 });
  assert.deepEqual(await seen(1), [1]);
  const looped = page.evaluate(async (room) => {
    for await (const { n } of client.room(room, { from: "start" })) return n;
  }, "system_alerts");
  await until("a second subscription", () => page.evaluate(() => Object.keys(client.positions()).length === 2));
  await daemon.publish({ type: "system_alert", severity: "info", component: "c", message: "m", n: 5 });
  assert.equal(await looped, 5);
  assert.deepEqual(complaints, []);
});

test("a worker has them as well", async () => {
  const agentId = someAgent();
  await daemon.publish({ type: "t", agentId, n: 4 });
  const n = await page.evaluate(([module, url, room]) => new Promise((resolve, reject) => {
    const code = `import { BroadcastClient } from "${module}";
      new BroadcastClient("${url}").subscribe("${room}", (event) => postMessage(event.n), { from: "start" });`;
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  }), [`http://${daemon.clients}/client.js`, daemon.url, `agent:${agentId}`]);
  assert.equal(n, 4);
});

test("the daemon is killed and started again", async () => {
  const own = await Daemon.start();
  cleanup.push(() => own.end());
  await load(own.url, { retry: { min: 10, max: 50 } });
  await own.publish({ type: "t", n: 1 });
  await seen(1);
  await own.kill();
  await page.waitForFunction(() => states.some(({ hint }) => /is the daemon running/.test(hint)));
  await own.run();
  await page.waitForFunction(() => gaps.length === 1);
  await own.publish({ type: "t", n: 2 });
  assert.deepEqual(await seen(2), [1, 2]);
  assert.equal(await page.evaluate(() => gaps[0].reason), "epoch_changed");
});

test("a network that swallows everything", async () => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  const agentId = someAgent();
  await load(proxy.url, { heartbeat: 200, pongTimeout: 100, connectTimeout: 400, retry: { min: 10, max: 50 } }, { room: `agent:${agentId}` });
  proxy.cut();
  await daemon.publish({ type: "t", agentId, n: 1 });
  await page.waitForFunction(() => states.some(({ reason }) => /nothing was heard/.test(reason)));
  proxy.heal();
  assert.deepEqual(await seen(1), [1]);
});

test("when the network is back a client that waits does not wait any longer", async () => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  const agentId = someAgent();
  await load(proxy.url, { retry: { min: 1e9, max: 1e9 } }, { room: `agent:${agentId}` });
  await context.setOffline(true);
  proxy.reset();
  await state("waiting");
  await daemon.publish({ type: "t", agentId, n: 1 });
  await context.setOffline(false);
  assert.deepEqual(await seen(1), [1]);
});

test("a page is reloaded over and over: what its handler has had is neither missed nor doubled", async () => {
  const own = await Daemon.start();
  cleanup.push(() => own.end());
  const program = ([module, url]) => import(module).then(({ BroadcastClient }) => {
    const client = new BroadcastClient(url, { storage: sessionStorage });
    client.subscribe("all", ({ n }) => sessionStorage.setItem("seen", `${sessionStorage.getItem("seen") ?? ""} ${n}`), { from: "start" });
  });
  const had = async () => ((await page.evaluate(() => sessionStorage.getItem("seen"))) ?? "").split(" ").filter(Boolean).map(Number);
  const run = () => page.evaluate(program, [`http://${daemon.clients}/client.js`, own.url]);
  await run();
  const pump = new Pump(own);
  for (let reload = 0; reload < 15; reload += 1) {
    const before = (await had()).length;
    await until("some more", async () => (await had()).length > before);
    await page.reload();
    await run();
  }
  await pump.stop();
  await until("the last", async () => (await had()).at(-1) === pump.last);
  assert.deepEqual(await had(), upTo(pump.last));
});

test("a refused origin is explained", async () => {
  await page.goto(address("app.example"));
  await load(daemon.url, { unconfirmed: true });
  const { hint } = await (await page.waitForFunction(() => states.find(({ state }) => state === "waiting"))).jsonValue();
  assert.ok(hint.includes(`"${address("app.example").slice(0, -1)}" to server.allowed_origins`), hint);
});

/** Pages whose origin is `null`. */
const NAMELESS = {
  "a file": async () => {
    const folder = await mkdtemp(join(tmpdir(), "broadcastd-page-"));
    cleanup.push(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, "page.html"), "<!doctype html><title>a file</title>");
    await page.goto(pathToFileURL(join(folder, "page.html")).href);
    return page;
  },
  "a sandboxed frame": async () => {
    await page.setContent('<iframe sandbox="allow-scripts" srcdoc="<!doctype html><title>a frame</title>"></iframe>');
    return (await page.locator("iframe").elementHandle()).contentFrame();
  },
};

for (const [name, open] of Object.entries(NAMELESS)) {
  test(`${name} is told the origin that the daemon can allow, and connects once it does`, async () => {
    const permissive = await Daemon.start(CONFIG.replace("[server]", '[server]\nallowed_origins = ["*"]'));
    cleanup.push(() => permissive.end());
    const frame = await open();
    await load(daemon.url, { unconfirmed: true }, {}, frame);
    const waiting = await frame.waitForFunction(() => states.find(({ state }) => state === "waiting"));
    const { hint } = await waiting.jsonValue();
    assert.match(hint, /add "\*" to server\.allowed_origins, or serve the page over HTTP/);
    assert.doesNotMatch(hint, /file:\/\/|add "null"/);
    await load(permissive.url, {}, {}, frame);
    await permissive.publish({ type: "t", n: 1 });
    await frame.waitForFunction(() => seen.length === 1);
  });
}

test("where no WebSocket comes through, Server-Sent Events do", async () => {
  const server = await StandIn.start();
  server.websockets = false;
  cleanup.push(() => server.end());
  await load(server.url, { retry: { min: 10, max: 50 } });
  await server.publish({ type: "t", n: 1 });
  await seen(1);
  server.cut();
  await server.publish({ type: "t", n: 2 });
  assert.deepEqual(await seen(2), [1, 2]);
  assert.equal(await page.evaluate(() => client.state.transport), "sse");
});

test("the daemon's own Server-Sent Events reach a page of another origin, over a cut as well", async (t) => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  const { status } = await fetch(`http://${daemon.clients}/sse?room=all`, { signal: AbortSignal.timeout(DEADLINE_MS) });
  if (status !== 200) return t.diagnostic("this daemon has no Server-Sent Events");
  const agentId = someAgent();
  await load(proxy.url, { transport: "sse", retry: { min: 10, max: 50 } }, { room: `agent:${agentId}` });
  await daemon.publish({ type: "t", agentId, n: 1 });
  await seen(1);
  proxy.reset();
  await daemon.publish({ type: "t", agentId, n: 2 });
  assert.deepEqual(await seen(2), [1, 2]);
  assert.equal(await page.evaluate(() => client.state.transport), "sse");
});

test("nothing is missed or doubled over 1,000 forced reconnects", async () => {
  const own = await Daemon.start();
  const proxy = await Proxy.to(own.clients);
  cleanup.push(() => own.end(), () => proxy.end());
  proxy.budget = () => (proxy.resets < 1000 ? 100 + Math.floor(Math.random() * 4000) : undefined);
  await load(proxy.url, { transport: "websocket", retry: { min: 1, max: 4, stable: 0 }, unconfirmed: true }, { from: "start" });
  const pump = new Pump(own);
  const started = Date.now();
  for (let last = -1; proxy.resets < 1000; last = proxy.resets) {
    await until(`more resets than ${last}`, () => proxy.resets > last + 20 || proxy.resets >= 1000);
  }
  const took = Date.now() - started;
  await pump.stop();
  assert.deepEqual(await seen(pump.last), upTo(pump.last));
  assert.deepEqual(await page.evaluate(() => gaps), []);
  console.log(`# ${proxy.resets} resets, ${pump.last} events, ${took} ms`);
});
