// The examples that are pages, in a browser. Every wait is for a condition.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Example, openBrowser, openPage, undisturbed, until } from "./harness.mjs";

let browser;
before(async () => (browser = await openBrowser()));
after(() => browser?.close());

/** Opens an example, builds what is built, starts what stays, and opens the page that its README names. */
async function open(context, name) {
  const example = await Example.open(name);
  context.after(() => example.end());
  for (const { info, text } of example.blocks) if (info === "sh" && / run build/.test(text)) await example.run(text);
  await example.startStays();
  const readme = example.ported(example.readme);
  const { page, complaints } = await openPage(browser, readme.match(/<(http:\/\/127\.0\.0\.1:\d+\/.*?)>/)[1]);
  context.after(() => page.close());
  return { example, page, complaints };
}

test("page: one file shows agents and alerts", async (context) => {
  const { example, page, complaints } = await open(context, "page");
  await example.runAll();
  await page.locator("#agents tr", { hasText: "42busy12.5 %reading" }).waitFor();
  await page.locator("#agents tr", { hasText: "43idle" }).waitFor();
  await page.locator("#alerts li", { hasText: "error: db: it is down" }).waitFor();
  await example.publish({ type: "agent_state", agentId: "42", status: "idle", currentTask: "<b>x</b>",
    resourceUsage: { cpu: 1, memory: 2, activeConnections: 0 } });
  await page.locator("#agents tr", { hasText: "42idle1 %<b>x</b>" }).waitFor();
  assert.equal(await page.locator("#agents tr").count(), 2, "an agent has one row");
  assert.equal(await page.locator("#state").textContent(), "open");
  assert.deepEqual(complaints, []);
});

test("chat: an answer survives reloads in its middle, nothing missed and nothing doubled", (context) => undisturbed(async () => {
  // The answer is written in six seconds, of which the machine may leave the page none.
  const { example, page, complaints } = await open(context, "chat");
  const whole = Array.from({ length: 200 }, (_, n) => `${n + 1}${(n + 1) % 20 ? " " : "\n"}`).join("");
  const state = () => page.locator("#state").textContent();
  const grown = (count) => page.waitForFunction((count) => document.getElementById("answer").textContent.split(/\s/).length > count, count);
  const running = example.runAll();
  running.catch(() => {}); // where an attempt ends before it
  for (const count of [20, 60]) {
    await grown(count);
    assert.match(await state(), /^writing/, "the reload is in the middle");
    await page.reload();
  }
  await page.locator("#state", { hasText: "done" }).waitFor();
  assert.equal(await page.locator("#answer").textContent(), whole);
  const [, replayed, live] = (await state()).match(/done: (\d+) from history, (\d+) live/).map(Number);
  assert.ok(replayed >= 60 && live > 0 && replayed + live === 201, await state());
  assert.equal(await running, 2);
  await page.reload();
  await page.locator("#state", { hasText: "done: 201 from history, 0 live" }).waitFor();
  assert.equal(await page.locator("#answer").textContent(), whole);
  assert.deepEqual(complaints, []);
}));

test("chat: an answer whose beginning history has no more says so", async (context) => {
  const { example, page } = await open(context, "chat");
  const token = (n) => ({ type: "token", answerId: "b1", text: `${n} `.padEnd(40_000, ".") });
  for (let n = 1; n <= 150; n += 1) await example.publish(token(n));
  await page.goto(page.url().replace("#a1", "#b1"));
  await page.reload();
  await page.locator("#answer", { hasText: /^\(the beginning is not kept any more\)/ }).waitFor();
});

test("react: a hook shows a room, changes to another, and leaves the first", async (context) => {
  const { example, page, complaints } = await open(context, "react");
  await page.locator("#state", { hasText: "0 of agent 42" }).waitFor();
  const [, publish] = example.blocks.filter(({ info }) => info === "sh");
  await example.run(publish.text);
  await page.locator("#state", { hasText: "2 of agent 42" }).waitFor();
  assert.deepEqual(await page.locator("li").allTextContents(), ["step: plan", "step: act"]);
  await page.getByRole("button", { name: "Agent 43" }).click();
  await page.locator("#state", { hasText: "1 of agent 43" }).waitFor();
  assert.deepEqual(await page.locator("li").allTextContents(), ["step: rest"]);
  const subscribers = async (room) =>
    (await (await fetch(`http://${example.ports[9997]}/api/v1/room?room=${encodeURIComponent(room)}`)).json()).subscribers;
  await until("the room to be left", async () => (await subscribers("agent:42")) === 0);
  assert.equal(await subscribers("agent:43"), 1);
  // Many events: the newest twenty, in their order, and far fewer renders than events.
  await page.evaluate(() => {
    window.renders = 0;
    new MutationObserver(() => (window.renders += 1)).observe(document.getElementById("app"), { subtree: true, childList: true, characterData: true });
  });
  await example.publish(...Array.from({ length: 5000 }, (_, n) => ({ type: "step", agentId: "43", name: String(n) })));
  await page.locator("li", { hasText: "4999" }).waitFor();
  assert.deepEqual(await page.locator("li").allTextContents(), Array.from({ length: 20 }, (_, n) => `step: ${4980 + n}`));
  const renders = await page.evaluate(() => window.renders);
  assert.ok(renders > 0 && renders < 1000, `${renders} renders`);
  assert.deepEqual(complaints, []);
});

test("nginx: WebSockets, streams and the pages below paths come through, with addresses, and nothing else does", async (context) => {
  const { example, page, complaints } = await open(context, "nginx");
  await page.locator("#state", { hasText: "open websocket" }).waitFor();
  assert.equal(await example.runAll(), 1);
  await page.locator("#alerts li", { hasText: "the doors are open" }).waitFor();
  await page.goto(`${page.url()}?sse`);
  await page.locator("#state", { hasText: "open sse" }).waitFor();
  await page.locator("#alerts li", { hasText: "the doors are open" }).waitFor();
  await example.publish({ type: "system_alert", severity: "info", component: "shop", message: "live" });
  await page.locator("#alerts li", { hasText: "live" }).waitFor();
  // The daemon's own pages, below paths; nginx adds the slash that is missing.
  const root = `http://${example.ports[8080]}`;
  await page.goto(`${root}/live`);
  await page.locator("#state.live").waitFor();
  await page.locator("#events tr", { hasText: "live" }).first().waitFor();
  assert.equal(new URL(page.url()).pathname, "/live/");
  await page.goto(`${root}/operators/`);
  await page.locator("#link", { hasText: "live" }).waitFor();
  await page.locator("#health", { hasText: "healthy" }).waitFor();
  await page.locator(".toplist tr", { hasText: "system_alerts" }).waitFor();
  const module = await (await fetch(`${root}/live/client.js`)).text();
  assert.match(module, /class BroadcastClient/);
  assert.deepEqual(complaints, []);
  // Whose request it is, as nginx tells it: somebody before it is believed no more than the proxy is trusted.
  const addr = `http://${example.ports[8080]}/sse?room=system_alerts`;
  const abort = new AbortController();
  const stream = await fetch(addr, { headers: { "X-Forwarded-For": "203.0.113.7" }, signal: abort.signal });
  assert.equal(stream.status, 200);
  const clients = async () => (await (await fetch(`http://${example.ports[9997]}/api/v1/clients`)).json()).clients;
  const known = await until("the stream", async () => (await clients()).length >= 2 && clients());
  assert.ok(known.every(({ address, addr }) => /^203\.0\.113\.7|^127\.0\.0\.1/.test(address ?? addr)), JSON.stringify(known));
  assert.ok(known.some(({ address, addr }) => /^203/.test(address ?? addr)), JSON.stringify(known));
  abort.abort();
});
