// Pages that sleep, and pages that are kept for the back button, in a real browser.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Browser } from "./devtools.mjs";
import { Daemon, Proxy } from "./harness.mjs";

let daemon, browser, site, page, other, room, agentId;
let agents = 0;
const cleanup = [];

before(async () => {
  daemon = await Daemon.start();
  site = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>a page</title>"));
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  browser = await Browser.start();
});

after(async () => {
  await browser?.end();
  site?.close();
  await daemon?.end();
});

beforeEach(async () => {
  agentId = `s${(agents += 1)}`;
  room = `agent:${agentId}`;
  page = await browser.open(address());
  other = await browser.open(address("other"));
  await page.toFront();
});

afterEach(async () => {
  for (const { targetId } of [page, other]) await browser.send("Target.closeTarget", { targetId });
  for (const end of cleanup.splice(0).reverse()) await end();
});

const address = (path = "") => `http://127.0.0.1:${site.address().port}/${path}`;

async function load(url, options = {}) {
  await page.evaluate(`import("http://${daemon.clients}/client.js").then(({ BroadcastClient }) => new Promise((resolve) => {
    Object.assign(window, { seen: [], states: [] });
    window.client = new BroadcastClient("${url}", { ...${JSON.stringify(options)}, onState: (it) => states.push(it) });
    client.subscribe("${room}", ({ n }) => seen.push(n), { onReady: resolve });
  }))`);
}

async function fallAsleep() {
  await page.evaluate(`document.addEventListener("freeze", () => (window.froze = true))`);
  await other.toFront();
  await page.until(`document.visibilityState === "hidden"`);
  await page.lifecycle("frozen");
  await page.until("window.froze");
}

async function wake() {
  await page.lifecycle("active");
  await page.toFront();
}

for (const [what, befall] of [["resets", "reset"], ["swallows everything", "cut"]]) {
  test(`the network ${what} while the tab sleeps: awake, it asks at once and not after a heartbeat`, async () => {
    const proxy = await Proxy.to(daemon.clients);
    cleanup.push(() => proxy.end());
    await load(proxy.url, { pongTimeout: 300, retry: { min: 10, max: 50 } });
    await fallAsleep();
    proxy[befall]();
    proxy.heal();
    await daemon.publish({ type: "t", agentId, n: 1 }, { type: "t", agentId, n: 2 });
    assert.deepEqual(await page.evaluate("[seen, client.state.state]"), [[], "open"], "it sleeps");
    const woken = Date.now();
    await wake();
    await page.until("seen.length === 2");
    assert.ok(Date.now() - woken < 10_000, "the daemon's heartbeat is 25 s");
    assert.deepEqual(await page.evaluate("seen"), [1, 2]);
  });
}

test("a tab that sleeps on a sound connection keeps it, whatever its timers think", async () => {
  await load(daemon.url, { heartbeat: 300, pongTimeout: 100 });
  await fallAsleep();
  await daemon.publish({ type: "t", agentId, n: 1 });
  // Longer than a heartbeat, its answer, and what counts as sleep.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await wake();
  await page.until("seen.length === 1");
  assert.deepEqual(await page.evaluate("states.map(({ state }) => state)"), ["connecting", "open"]);
});

test("a page that comes back by the back button was kept, and goes on where it was", async () => {
  await load(daemon.url);
  await page.evaluate(`addEventListener("pageshow", ({ persisted }) => (window.persisted = persisted))`);
  await page.goto(address("elsewhere"));
  await daemon.publish({ type: "t", agentId, n: 1 });
  await page.evaluate("history.back()");
  await page.at(address());
  await page.until("seen.length === 1");
  assert.equal(await page.evaluate("persisted"), true);
});
