// Every panel of the dashboard with real events, in a real browser.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { CONFIG, Daemon, dashboard, deafClient, launch, open, until } from "./harness.mjs";

const SHOTS = new URL("screenshots/", import.meta.url).pathname;
const PANELS = ["overview", "events", "rooms", "clients", "agents", "metrics", "workflows", "memory", "alerts", "rejected", "reloads"];

let daemon, browser, page;

const agent = (agentId, status, more = {}) => ({ type: "agent_state", agentId, status, resourceUsage: { cpu: 42, memory: 61.4, activeConnections: 3 }, ...more });
const metric = (metricName, value, agentId) => ({ type: "performance_metric", metricName, value, unit: "jobs", category: "agent", agentId });
const flow = (executionId, status, progress, more = {}) => ({ type: "workflow_execution", workflowId: "nightly", executionId, stage: "parse", status, progress, ...more });
const memory = (memoryId, action, content) => ({ type: "memory_timeline", memoryId, action, importance: 0.7, tags: ["plan"], content });
const alert = (severity, message) => ({ type: "system_alert", severity, component: "db", message, details: { host: "node-3" } });

before(async () => {
  await mkdir(SHOTS, { recursive: true });
  [daemon, browser] = [await Daemon.start(), await launch()];
});

beforeEach(async () => {
  await page?.context().close();
  page = await dashboard(browser, daemon);
});

after(async () => {
  await browser?.close();
  await daemon?.end();
});

const quiet = () => assert.deepEqual(page.complaints, []);
const row = (label, text) => page.locator(`table[aria-label="${label}"] tbody tr`, { hasText: text });

test("the operators' listener has the dashboard, the clients' the page, and the policy allows the daemon's own files alone", async () => {
  const operators = await fetch(daemon.url);
  const policy = operators.headers.get("content-security-policy");
  const html = await operators.text();
  const [, script] = /<script>(.*?)<\/script>/s.exec(html);
  const hash = createHash("sha256").update(script).digest("base64");
  assert.ok(policy.startsWith(`default-src 'none'; script-src 'self' 'sha256-${hash}'; style-src 'self'`), policy);
  assert.doesNotMatch(policy, /unsafe|\*/);
  assert.match(html, /"dashboard\/main\.js"/);
  assert.doesNotMatch(await (await fetch(`http://${daemon.clients}/`)).text(), /dashboard\/main/);
  assert.equal((await fetch(`http://${daemon.clients}/dashboard/main.js`)).status, 404);
  assert.equal((await fetch(`http://${daemon.admin}/dashboard/main.js`, { headers: { origin: "https://evil.example" } })).status, 403);
  const violated = await page.evaluate(() => new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "document.title = 'taken over'";
    document.body.append(script);
  }));
  assert.match(violated, /^script-src/);
});

test("every panel opens, and nothing is complained of or loaded from elsewhere", async () => {
  const hosts = new Set();
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  for (const panel of PANELS) {
    await open(page, panel);
    await page.locator("#view h1").waitFor();
    assert.equal(await page.locator("#view .notice:visible").count(), 0, `${panel} has nothing to say against`);
  }
  assert.deepEqual([...hosts], [daemon.admin]);
  quiet();
});

test("the overview tells figures, the busiest rooms and the newest alerts, and draws", async () => {
  const tile = (label) => page.locator(".tile", { has: page.locator("dt", { hasText: label }) }).locator("dd").first();
  await until("figures", async () => (await tile("rooms").textContent()) !== "");
  const before = Number((await tile("rejected").textContent()).replace(",", ""));
  await daemon.post("nonsense", "more nonsense");
  await until("the refused are counted", async () => Number((await tile("rejected").textContent()).replace(",", "")) === before + 2);
  await daemon.publish(alert("error", "seen in the overview"));
  await page.locator(".alerts .alert", { hasText: "seen in the overview" }).waitFor();
  await page.locator(".toplist tr", { hasText: "system_alerts" }).waitFor();
  await until("four charts", async () => (await page.locator(".chart canvas").count()) === 4);
  quiet();
});

test("rooms have rates, subscribers and history, are filtered, sorted, and lead to their events", async () => {
  await open(page, "rooms");
  await daemon.publish(agent("r1", "busy"));
  await row("Rooms", "agent:r1").waitFor();
  const publishing = setInterval(() => daemon.publish(...Array.from({ length: 20 }, () => agent("r1", "busy"))), 200);
  await until("a rate", async () => Number((await row("Rooms", "agent:r1").locator("td").nth(2).textContent()).replace(/[^\d.]/g, "")) > 5).finally(() => clearInterval(publishing));
  await until("the page's own subscription", async () => (await row("Rooms", "system_alerts").locator("td").nth(5).textContent()) === "1");
  await page.locator("#view input[type=search]").fill("agent:");
  await until("a filter", async () => (await row("Rooms", "system_alerts").count()) === 0);
  await page.locator("th", { hasText: "room" }).first().getByRole("button").click();
  assert.equal(await page.locator('th[aria-sort="ascending"]').textContent(), "room");
  await row("Rooms", "agent:r1").getByRole("link").click();
  await page.locator("#event-list .event", { hasText: "agent_state" }).first().waitFor();
  assert.equal(await page.locator("#event-room").inputValue(), "agent:r1");
  quiet();
});

test("a client that does not read is seen as blocked and behind, and is ended once that is confirmed", async () => {
  const deaf = deafClient(daemon.clients, "all");
  await deaf.subscribed;
  const fill = "x".repeat(1000);
  for (let n = 0; n < 20; n += 1) await daemon.publish(...Array.from({ length: 500 }, (_, index) => ({ type: "fill", n: n * 500 + index, fill })));
  await open(page, "clients");
  const client = page.locator('table[aria-label="Clients"] tbody tr', { hasText: "blocked" });
  await client.waitFor();
  await until("it to be behind", async () => Number((await client.locator("td").nth(4).textContent()).replace(/,/g, "")) > 100);
  await row("Clients", "this page").waitFor();
  await page.getByLabel("blocked only").check();
  await row("Clients", "this page").waitFor({ state: "detached" });
  await client.getByRole("button").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal((await daemon.api("/api/v1/clients?room=all")).clients.length, 1, "nothing was done");
  await client.getByRole("button").click();
  await dialog.getByRole("button", { name: "End it" }).click();
  await client.waitFor({ state: "detached" });
  deaf.resume();
  await deaf.closed;
  await until("it is gone", async () => (await daemon.api("/api/v1/clients?room=all")).clients.length === 0);
  quiet();
});

test("events: a condition, a pause, one of them as JSON, and what is wrong with a condition", async () => {
  await daemon.publish(agent("e1", "idle"));
  await page.goto(`${daemon.url}#/events?room=agent_states`);
  const event = (text) => page.locator("#event-list .event", { hasText: text });
  await event("e1").first().waitFor();
  await page.locator("#event-where").fill('status == "error"');
  await page.locator("#event-where").press("Enter");
  await until("only what the condition lets through", async () => (await event("idle").count()) === 0);
  await daemon.publish(agent("e2", "busy"), agent("e3", "error", { currentTask: "a task to look at" }));
  await event("e3").first().waitFor();
  assert.equal(await event("e2").count(), 0);
  await event("e3").first().click();
  const detail = page.getByRole("complementary", { name: "The chosen event" });
  await detail.locator(".json-key", { hasText: "resourceUsage" }).waitFor();
  await detail.locator(".json-string", { hasText: "a task to look at" }).waitFor();
  await detail.getByRole("button", { name: "Close" }).click();
  await detail.waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Pause" }).click();
  await daemon.publish(agent("e4", "error"));
  await page.getByRole("button", { name: "Go on (1)" }).waitFor();
  assert.equal(await event("e4").count(), 0);
  await page.getByRole("button", { name: "Go on (1)" }).click();
  await event("e4").first().waitFor();
  await page.locator("#event-where").fill("status = ");
  await page.locator("#event-where").press("Enter");
  await page.locator(".events .notice", { hasText: "column" }).waitFor();
  assert.equal(await page.locator("#event-where").getAttribute("aria-invalid"), "true");
  await page.locator("#event-where").fill("");
  await page.locator("#event-room").fill("agnet_states");
  await page.locator("#event-room").press("Enter");
  await page.locator(".events .notice", { hasText: "agent_states" }).waitFor();
  quiet();
});

test("a room that is typed before rooms are suggested stays", async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route("**/page.json", async (route) => {
    await held;
    await route.continue();
  });
  await open(page, "events");
  await page.locator("#event-room").fill("system_al");
  release();
  await page.locator("#known-rooms option").first().waitFor({ state: "attached" });
  await page.locator("#event-room").pressSequentially("erts");
  await page.keyboard.press("Enter");
  await daemon.publish(alert("info", "seen in the typed room"));
  await page.locator("#event-list .event", { hasText: "seen in the typed room" }).waitFor();
  assert.equal(await page.locator("#event-room").inputValue(), "system_alerts");
  quiet();
});

test("the list of events follows, and holds still for who reads", async () => {
  await page.goto(`${daemon.url}#/events?room=all`);
  const many = (from) => Array.from({ length: 100 }, (_, n) => ({ type: "numbered", n: from + n }));
  await daemon.publish(...many(0));
  const first = page.locator("#event-list .event").filter({ hasText: "n: 99" });
  await first.first().waitFor();
  const seen = () => page.evaluate(() => {
    const box = document.querySelector("#event-list").getBoundingClientRect();
    return document.elementFromPoint(box.left + box.width / 2, box.top + 40).closest(".event")?.textContent;
  });
  // Again where a list that still follows takes it back: who reads would. Events of the daemon's own may stand above.
  const list = page.locator("#event-list");
  const scrolled = (to) => list.evaluate((list, to) => new Promise((done) => {
    list.scrollTop = to;
    requestAnimationFrame(() => requestAnimationFrame(() => done(list.scrollTop)));
  }), to);
  await until("it has scrolled", async () => {
    const top = await scrolled(520);
    return top === 520 && /n: \d\d/.test(await seen());
  });
  const reading = await seen();
  await daemon.publish(...many(1000));
  await until("they are counted", async () => Number(/(\d+) kept/.exec((await page.locator(".figures").textContent()).replaceAll(",", ""))?.[1]) >= 200);
  assert.equal(await seen(), reading);
  await page.getByRole("button", { name: "newest" }).click();
  await page.locator("#event-list .event", { hasText: "n: 1099" }).waitFor();
  assert.ok((await page.locator("#event-list .event").count()) < 80, "only what is in sight has elements");
  quiet();
});

test("agents are a board that begins with what is known, and follows", async () => {
  await daemon.publish(agent("board-1", "busy", { currentTask: "Reading" }), agent("board-2", "idle"));
  await open(page, "agents");
  const card = (id) => page.locator(".agent", { hasText: id });
  await card("board-1").locator(".pill.good", { hasText: "busy" }).waitFor();
  await card("board-1").locator(".meter", { hasText: "61%" }).waitFor();
  await daemon.publish(agent("board-1", "error", { currentTask: "Writing" }));
  await card("board-1").locator(".pill.bad", { hasText: "error" }).waitFor();
  await card("board-1").locator(".task", { hasText: "Writing" }).waitFor();
  await page.locator(".chip", { hasText: "idle" }).click();
  await card("board-1").waitFor({ state: "detached" });
  await card("board-2").waitFor();
  quiet();
});

test("metrics are charts, with a line for each agent and the newest values", async () => {
  await daemon.publish(metric("queue.depth", 7, "a"), metric("queue.depth", 9, "b"));
  await open(page, "metrics");
  const chart = page.locator(".chart", { hasText: "queue.depth" });
  await chart.locator("canvas").waitFor();
  await daemon.publish(metric("queue.depth", 4321, "a"));
  await until("the newest values", async () => /a 4,321.*b 9/.test(await chart.getAttribute("aria-label")));
  const drawn = () => chart.locator("canvas").evaluate((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte));
  await until("a line on the canvas", drawn);
  await page.locator(".chart", { hasText: "system.cpu" }).locator("canvas").waitFor();
  await page.locator("#view input[type=search]").fill("queue");
  await page.locator(".chart", { hasText: "system.cpu" }).waitFor({ state: "hidden" });
  quiet();
});

test("workflows show how far they are and why they failed, those that run first", async () => {
  await daemon.publish(flow("run-1", "running", 20));
  await open(page, "workflows");
  const card = (id) => page.locator(".flow", { hasText: id });
  await card("run-1").locator('[aria-valuenow="20"]').waitFor();
  await daemon.publish(flow("run-1", "running", 60, { stage: "embed" }), flow("run-2", "failed", 10, { error: "no space left" }));
  await card("run-1").locator('[aria-valuenow="60"]').waitFor();
  await card("run-1").locator(".stage", { hasText: "parse → embed" }).waitFor();
  await card("run-2").locator(".error", { hasText: "no space left" }).waitFor();
  await card("run-2").getByRole("button", { name: "JSON" }).click();
  await card("run-2").locator(".json-string", { hasText: "no space left" }).waitFor();
  await daemon.publish(flow("run-3", "completed", 100), flow("run-4", "pending", 0), flow("run-5", "running", 1));
  await card("run-5").waitFor();
  assert.deepEqual(await page.locator(".flowgroup:visible h2").allInnerTexts().then((titles) => titles.map((title) => title.replace(/\s*\d+$/, ""))), ["Running", "Pending", "Failed", "Finished"]);
  assert.deepEqual(await page.getByRole("list", { name: "Running executions" }).getByRole("listitem").locator("code").allInnerTexts(), ["run-5", "run-1"], "the newest first");
  quiet();
});

test("memories are a timeline in columns", async () => {
  await daemon.publish(memory("m-1", "created", "Deadline is Friday"));
  await open(page, "memory");
  const item = (id) => page.locator(".memory", { hasText: id });
  await item("m-1").locator(".content", { hasText: "Deadline is Friday" }).waitFor();
  await daemon.publish(memory("m-2", "deleted", "gone"));
  await item("m-2").waitFor();
  await daemon.publish({ ...memory("m-with-a-much-longer-name", "accessed"), tags: ["a", "b"], agentId: "agent-7" });
  await item("m-with").waitFor();
  const lefts = (selector) => page.locator(selector).evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => Math.round(cell.getBoundingClientRect().left)).join(" ")));
  assert.equal(new Set([...(await lefts(".memory")), ...(await lefts(".memoryhead"))]).size, 1, "cells stand beneath the names of their columns");
  assert.deepEqual(await page.locator(".memoryhead span").allInnerTexts(), ["time", "action", "memory", "content", "tags", "importance", "agent"]);
  await page.locator(".chip", { hasText: "deleted" }).click();
  await item("m-2").waitFor({ state: "detached" });
  await item("m-1").waitFor();
  quiet();
});

test("alerts are counted until they are seen, and a test alert arrives", async () => {
  await daemon.publish(alert("critical", "the disk is full"));
  const badge = page.locator("#badge-alerts");
  await until("a count", async () => Number(await badge.textContent()) >= 1);
  await open(page, "alerts");
  await page.locator(".alert", { hasText: "the disk is full" }).locator(".pill.solid", { hasText: "critical" }).waitFor();
  await until("they are seen", async () => (await badge.textContent()) === "");
  await page.locator(".alert", { hasText: "the disk is full" }).getByRole("button", { name: "JSON" }).click();
  await page.locator(".alert .json-string", { hasText: "node-3" }).first().waitFor();
  await page.getByRole("button", { name: "Send a test" }).click();
  await page.locator(".alert", { hasText: "a test, asked for over the API" }).first().waitFor();
  quiet();
});

test("refused lines are shown with their place, and what is wrong is marked", async () => {
  const answer = await daemon.post({ type: "token" }, '{"type":"agent_state","agentId":"1","status":"busy","resourceUsage":{"cpu":"hot","memory":1,"activeConnections":1}}', '{"type":"half');
  assert.equal(answer.rejected, 2);
  await open(page, "rejected");
  const refusal = (code) => page.locator(".refusal", { hasText: code });
  await refusal("bad_field").locator(".place", { hasText: `line 2, column ${answer.errors[0].column}` }).waitFor();
  assert.equal(await refusal("bad_field").locator("mark").textContent(), '"', "the value is marked where it begins");
  await refusal("bad_field").locator(".why", { hasText: "resourceUsage.cpu" }).waitFor();
  await refusal("bad_json").locator(".place", { hasText: "line 3" }).first().waitFor();
  quiet();
});

test("reloads are shown with their differences and problems, and a look at what would change", async () => {
  await daemon.configure(`${CONFIG}[rooms.late]\ntypes = ["late"]\n[limits]\nclients = 777\n`);
  await open(page, "reloads");
  await page.getByRole("button", { name: "What would change?" }).click();
  const result = page.locator(".result .reload");
  await result.locator(".pill", { hasText: "would apply" }).waitFor();
  await page.getByRole("button", { name: "Reload", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Reload" }).click();
  const applied = page.locator(".reloads .reload", { hasText: "applied" }).first();
  await applied.locator(".diffline.new", { hasText: "[rooms.late]" }).waitFor();
  await applied.locator(".change", { hasText: "limits.clients" }).locator(".diffline.gone", { hasText: "100000" }).waitFor();
  await applied.locator(".change", { hasText: "limits.clients" }).locator(".diffline.new", { hasText: "777" }).waitFor();
  await daemon.configure("[limits]\nclients = 0\n");
  await daemon.reload();
  const refused = page.locator(".reloads .reload", { hasText: "refused" }).first();
  await refused.locator(".place", { hasText: "broadcast.toml:2:" }).waitFor();
  await page.locator('#health.warning[title*="refused: "][title*="broadcast.toml:2:"]', { hasText: "degraded" }).waitFor();
  await daemon.configure(CONFIG);
  await daemon.reload();
  quiet();
});

test("numbers are told as people read them", async () => {
  const told = await page.evaluate(async () => {
    const { bytes, count, latency, line, rate, span, timeOf } = await import("/dashboard/format.js");
    return {
      counts: [0, 7, 0.123, 99.96, 1234, 9999, 12_345, 999_600, 4_560_000, NaN].map(count),
      rates: [0, 0.01, 3.14, 5000].map(rate),
      bytes: [0, 1023, 1024, 1536, 52_428_800, 3.5e12].map(bytes),
      spans: [0, 59, 61, 7500, 273_600].map(span),
      latencies: [0.0005, 0.0123, 1.5].map(latency),
      line: [line("a\n b"), line({ a: [1] }), line("x".repeat(500), 3)],
      believed: [timeOf({ timestamp: 5 }), Date.now() - timeOf({ timestamp: 1e300 }) < 1000],
    };
  });
  assert.deepEqual(told, {
    counts: ["0", "7", "0.12", "100", "1,234", "9,999", "12.3k", "1.00M", "4.56M", "–"],
    rates: ["0", "<0.1", "3.1", "5,000"],
    bytes: ["0 B", "1023 B", "1 KiB", "1.5 KiB", "50 MiB", "3.18 TiB"],
    spans: ["0 s", "59 s", "1 min", "2 h 5 min", "3 d 4 h"],
    latencies: ["0.50 ms", "12.3 ms", "1.5 s"],
    line: ["a b", '{"a":[1]}', "xxx…"],
    believed: [5, true],
  });
});

test("what events hold is text, whatever it looks like", async () => {
  const hostile = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>"'\`{{7*7}}\u202e`;
  await daemon.post({ ...agent(hostile, "error", { currentTask: hostile }), [hostile]: hostile }, metric(hostile, 1, hostile), flow(hostile, "failed", 1, { workflowId: hostile, stage: hostile, error: hostile }),
    { ...memory(hostile, "created", hostile), tags: [hostile], agentId: hostile }, { ...alert("error", hostile), component: hostile }, `{"type":"agent_state","agentId":"${"<img src=x>"}","status":"busy"}`, hostile);
  for (const [panel, seen] of [["agents", ".agent .id"], ["metrics", ".chart h2"], ["workflows", ".flow b"], ["memory", ".memory code"], ["alerts", ".alert b"], ["rejected", ".excerpt"], ["rooms", "td.main a"]]) {
    await open(page, panel);
    await page.locator(seen, { hasText: "<img src=x" }).first().waitFor();
  }
  await page.goto(`${daemon.url}#/events?${new URLSearchParams({ room: "all" })}`);
  const event = page.locator("#event-list .event", { hasText: "<img src=x" }).first();
  await event.click();
  await page.locator(".detail .json-key", { hasText: "<img src=x" }).or(page.locator(".detail .json-string", { hasText: "<img src=x" })).first().waitFor();
  assert.equal(await page.locator("main img, main script, aside img").count(), 0);
  assert.doesNotMatch(await page.title(), /taken/);
  quiet();
});

test("odd values break nothing", async () => {
  await daemon.post({ type: "agent_state", agentId: "odd", status: "busy", resourceUsage: { cpu: 1e308, memory: -5, activeConnections: 0 }, timestamp: 1e300 }, { ...metric("odd", -1e308, "x"), timestamp: 8.64e15 },
    { ...flow("odd", "running", 50), timestamp: -1 }, { ...memory("odd", "created", "y".repeat(50_000)), importance: 1e9 }, { type: "t", timestamp: {}, deep: JSON.parse(`${"[".repeat(50)}1${"]".repeat(50)}`) });
  for (const [panel, seen] of [["agents", ".agent"], ["metrics", ".chart"], ["workflows", ".flow"], ["memory", ".memory"]]) {
    await open(page, panel);
    await page.locator(seen, { hasText: "odd" }).first().waitFor();
  }
  await page.goto(`${daemon.url}#/events?${new URLSearchParams({ room: "all", where: "has(deep)" })}`);
  await page.locator("#event-list .event", { hasText: "deep" }).first().click();
  await page.locator(".detail .json-number", { hasText: "1" }).first().waitFor({ state: "attached" });
  quiet();
});

test("everything is reached with the keyboard alone", async () => {
  const current = () => page.locator("#nav a[aria-current] span").first().textContent();
  for (const [key, title] of [["3", "Rooms"], ["4", "Clients"], ["-", "Reloads"], ["0", "Rejected"], ["2", "Events"]]) {
    await page.keyboard.press(key);
    await until(title, async () => (await current()) === title);
  }
  await daemon.publish(agent("keys", "busy"));
  await page.locator("#event-room").fill("agent_states");
  await page.keyboard.press("Enter");
  await page.locator("#event-list .event", { hasText: "keys" }).first().waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "event-where");
  await page.keyboard.type("5p");
  assert.equal(await page.locator("#event-where").inputValue(), "5p", "who types, types");
  await page.locator("#event-where").fill("");
  await page.keyboard.press("Escape");
  await page.keyboard.press("p");
  await page.locator('[aria-pressed="true"]', { hasText: "Go on" }).waitFor();
  await page.keyboard.press("p");
  // From the skip link on, by Tab: every control is reached, and seen to be.
  await page.locator(".skip").focus();
  const reached = new Set();
  for (let n = 0; n < 40; n += 1) {
    await page.keyboard.press("Tab");
    const { name, outline } = await page.evaluate(() => {
      const at = document.activeElement;
      return { name: at.id || at.textContent.trim() || at.getAttribute("aria-label"), outline: getComputedStyle(at).outlineStyle };
    });
    if (name && outline !== "auto") assert.notEqual(outline, "none", `${name} shows that it has the focus`);
    reached.add(name);
    if (name === "event-list") break;
  }
  for (const name of ["theme", "help", "event-room", "event-where", "Subscribe", "Pause", "Clear", "JSON", "event-list"]) assert.ok(reached.has(name), `${name} is reached: ${[...reached]}`);
  await page.keyboard.press("ArrowDown");
  await page.locator('#event-list [aria-selected="true"]').waitFor();
  await page.locator(".detail .json").waitFor();
  const active = await page.locator("#event-list").getAttribute("aria-activedescendant");
  assert.equal(await page.locator(`#${active}`).getAttribute("aria-selected"), "true");
  await page.keyboard.press("Escape");
  await page.locator(".detail").waitFor({ state: "hidden" });
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await help.getByRole("checkbox").focus();
  await page.keyboard.press("Space");
  await page.keyboard.press("Escape");
  await help.waitFor({ state: "detached" });
  await page.keyboard.press("3");
  assert.equal(await current(), "Events", "single keys are switched off");
  quiet();
});

test("a client is ended with the keyboard alone", async () => {
  const deaf = deafClient(daemon.clients, "all");
  await deaf.subscribed;
  const { clients: [{ id }] } = await daemon.api("/api/v1/clients?room=all");
  await page.keyboard.press("4");
  const button = page.getByRole("button", { name: `End client ${id}`, exact: true });
  await button.waitFor();
  await button.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel", "Enter alone ends nobody");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await row("Clients", id).filter({ has: page.locator(`[aria-label="End client ${id}"]`) }).waitFor({ state: "detached" });
  deaf.resume();
  await deaf.closed;
  quiet();
});

test("light and dark follow the system, until they are switched, and words stand out from what is behind them", async () => {
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await back();
  await page.emulateMedia({ colorScheme: "dark" });
  await until("dark", async () => (await back()) !== light);
  const dark = await back();
  await page.locator("#theme").click();
  assert.equal(await back(), light, "auto, then light");
  await page.reload();
  await page.locator("#link.good").waitFor();
  assert.equal(await back(), light, "it is remembered");
  for (const [theme, behind] of [["light", light], ["dark", dark]]) {
    if ((await back()) !== behind) await page.locator("#theme").click();
    const poor = await page.evaluate(() => {
      const style = getComputedStyle(document.documentElement);
      const luminance = (name) => {
        const [r, g, b] = /^#(..)(..)(..)$/.exec(style.getPropertyValue(`--${name}`).trim()).slice(1).map((hex) => parseInt(hex, 16) / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const pairs = [["text", "back"], ["text", "card"], ["soft", "card"], ["soft", "sunk"], ["quiet", "card"], ["quiet", "back"], ["quiet", "sunk"], ["accent", "card"], ["accent", "accent-back"], ["good", "good-back"], ["good", "card"], ["warning", "warning-back"], ["warning", "card"], ["bad", "bad-back"], ["bad", "card"], ["card", "bad"]];
      return pairs.map(([a, b]) => [a, b, luminance(a), luminance(b)]).map(([a, b, x, y]) => [a, b, (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)]).filter(([, , ratio]) => ratio < 4.5);
    });
    assert.deepEqual(poor, [], theme);
  }
});

test("a telephone shows every panel without scrolling sideways", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await daemon.publish(agent("x".repeat(300), "busy", { currentTask: "z".repeat(300) }), flow("w".repeat(300), "running", 3), memory("v".repeat(300), "created", "u".repeat(3000)), alert("error", "t".repeat(3000)));
  await daemon.post(`{"type":"${"s".repeat(300)}`);
  for (const panel of PANELS) {
    await page.locator("#menu").click();
    await page.locator(`#nav a[href="#/${panel}"]`).click();
    await page.locator("#nav").waitFor({ state: "hidden" });
    const filled = { agents: ".agent", workflows: ".flow", memory: ".memory", alerts: ".alert", rejected: ".refusal", rooms: "tbody tr", clients: "tbody tr", overview: ".chart canvas", metrics: ".chart canvas" }[panel];
    if (filled) await page.locator(`#view ${filled}`).first().waitFor();
    const wide = await page.evaluate(() => [document.documentElement, document.getElementById("view")].map((node) => node.scrollWidth - node.clientWidth));
    assert.deepEqual(wide, [0, 0], panel);
  }
  quiet();
});

test("after a restart of the daemon the page goes on by itself", async () => {
  await daemon.stop();
  await page.locator("#link.bad").waitFor();
  await page.locator("#health.bad").waitFor();
  const banner = page.getByRole("alert").filter({ hasText: "The daemon does not answer" });
  await banner.filter({ hasText: /state of \d\d:\d\d:\d\d/ }).waitFor();
  const opacity = (selector) => page.locator(selector).first().evaluate((node) => Number(getComputedStyle(node).opacity));
  for (const numbers of [".panel", "#ticker"]) await until("numbers of before are dim", async () => (await opacity(numbers)) < 0.6);
  await daemon.run();
  await page.locator("#link.good").waitFor();
  await page.locator("#health.good").waitFor();
  await banner.waitFor({ state: "hidden" });
  for (const numbers of [".panel", "#ticker"]) await until("numbers are no longer dim", async () => (await opacity(numbers)) === 1);
  await daemon.publish(alert("error", "after the restart"));
  await page.locator(".alert", { hasText: "after the restart" }).waitFor();
});

test("pictures of every panel", async () => {
  const statuses = ["busy", "idle", "busy", "error", "active", "offline"];
  for (let n = 0; n < 12; n += 1) {
    await daemon.publish(agent(`agent-${n}`, statuses[n % 6], n % 6 ? {} : { currentTask: "Summarising chapter 7 of 12" }), metric("queue.depth", 10 + n, "a"), metric("queue.depth", 22 - n, "b"), flow(`run-${n}`, ["running", "completed", "failed"][n % 3], n * 8),
      memory(`mem-${n}`, ["created", "updated", "accessed", "deleted"][n % 4], "The user prefers short answers with a source."), alert(["info", "warning", "error", "critical"][n % 4], "replica is 14 s behind"));
  }
  await daemon.post('{"type":"agent_state","agentId":"1","status":"busy","resourceUsage":{"cpu":"12%","memory":1,"activeConnections":1}}');
  await daemon.configure(`${CONFIG}[rooms.pictured]\ntypes = ["late"]\n[limits]\nclients = 777\n`);
  await daemon.reload();
  const ready = { overview: ".chart canvas", events: "#event-list .event", rooms: "tbody tr", clients: "tbody tr", agents: ".agent", metrics: ".chart canvas", workflows: ".flow", memory: ".memory", alerts: ".alert", rejected: ".refusal", reloads: ".reload" };
  for (const [size, viewport] of [["wide", { width: 1440, height: 900 }], ["narrow", { width: 390, height: 844 }]]) {
    for (const colorScheme of ["light", "dark"]) {
      const shown = await dashboard(browser, daemon, { viewport, colorScheme });
      for (const panel of PANELS) {
        await shown.goto(`${daemon.url}#/${panel}`);
        await shown.locator(ready[panel]).first().waitFor();
        if (panel === "overview") await shown.waitForFunction(() => /\d/.test(document.querySelector(".tile dd").textContent));
        await shown.screenshot({ path: join(SHOTS, `${panel}-${size}-${colorScheme}.png`) });
      }
      assert.deepEqual(shown.complaints, []);
      await shown.context().close();
    }
  }
  console.log(`screenshots: ${SHOTS}`);
});
