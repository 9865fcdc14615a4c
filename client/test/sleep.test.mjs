// Pages that sleep, and pages that are kept for the back button, in a real browser.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Browser } from "./devtools.mjs";
import { CONFIG, Daemon, Proxy, undisturbed } from "./harness.mjs";

let daemon, browser, site, page, other, room, agentId;
let agents = 0;
const cleanup = [];

before(async () => {
  // No heartbeat comes while a test waits.
  daemon = await Daemon.start(CONFIG.replace("[server]", '[server]\nheartbeat = "1h"'));
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

async function hide() {
  await other.toFront();
  await page.until(`document.visibilityState === "hidden"`);
}

test("the network swallows everything while the tab is hidden: seen again, it asks at once and not after a heartbeat", async () => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  await load(proxy.url, { pongTimeout: 300, retry: { min: 10, max: 50 } });
  await hide();
  proxy.cut();
  proxy.heal();
  await daemon.publish({ type: "t", agentId, n: 1 }, { type: "t", agentId, n: 2 });
  assert.deepEqual(await page.evaluate("[seen, client.state.state]"), [[], "open"], "it cannot know yet");
  await page.toFront();
  await page.until("seen.length === 2");
  assert.deepEqual(await page.evaluate("seen"), [1, 2]);
  assert.ok(await page.evaluate("states.some(({ reason }) => /nothing was heard/.test(reason))"));
});

// An answer that the machine delays for a second is none.
test("a hidden tab keeps its connection, although its timers are late", () => undisturbed(async () => {
  await page.toFront();
  await page.goto(address());
  await load(daemon.url, { heartbeat: 1200, pongTimeout: 1000 });
  await hide();
  await new Promise((resolve) => setTimeout(resolve, 4000));
  await daemon.publish({ type: "t", agentId, n: 1 });
  await page.until("seen.length === 1");
  await page.toFront();
  assert.deepEqual(await page.evaluate("states.map(({ state }) => state)"), ["connecting", "open"]);
}));

for (const [what, befall] of [["nothing else happens", () => {}], ["the network resets", (proxy) => proxy.reset()], ["the network swallows everything", (proxy) => proxy.cut()]]) {
  test(`a tab is frozen while ${what}: thawed, it has what it missed`, async () => {
    const proxy = await Proxy.to(daemon.clients);
    cleanup.push(() => proxy.end());
    await load(proxy.url, { pongTimeout: 300, retry: { min: 10, max: 50 } });
    await page.evaluate(`document.addEventListener("freeze", () => (window.froze = true)); document.addEventListener("resume", () => (window.thawed = true))`);
    await hide();
    await page.lifecycle("frozen");
    await page.until("window.froze");
    befall(proxy);
    proxy.heal();
    await daemon.publish({ type: "t", agentId, n: 1 }, { type: "t", agentId, n: 2 });
    assert.deepEqual(await page.evaluate("seen"), [], "it sleeps");
    await page.lifecycle("active");
    await page.until("window.thawed && seen.length === 2");
    assert.deepEqual(await page.evaluate("seen"), [1, 2]);
  });
}

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
