// The page in a real browser, against the real daemon. Every wait is for a condition, with a deadline.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";
import { Daemon, DEADLINE_MS } from "../../client/test/harness.mjs";

// Nothing comes but what a test publishes.
const CONFIG = `
[sources.alerts]
enabled = false
[sources.system]
every = "off"
[rooms.all]
types = ["*"]
history = { events = 10000 }
[rooms."agent:{agentId}"]
types = ["*"]
`;

let browser, daemon, page, complaints;
let probes = 0;

// Waits until a row of the table has these words.
const row = (...words) => words.reduce((rows, hasText) => rows.filter({ hasText }), page.locator("#events tr")).first();
const connected = () => page.locator("#state.live").waitFor();

before(async () => {
  daemon = await Daemon.start(CONFIG);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
});

beforeEach(async () => {
  await page?.close();
  page = await browser.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`http://${daemon.clients}/`);
  await connected();
  // Connected is not subscribed yet, and a subscription begins with the newest few: what it brings shows that it stands.
  const probe = `probe-${(probes += 1)}`;
  await daemon.publish({ type: probe });
  await row(probe).waitFor();
});

after(async () => {
  await browser?.close();
  await daemon?.end();
});

test("an event is seen in the room that the page begins with, and nothing is complained of", async () => {
  await daemon.publish({ type: "hello", agentId: "1", n: 17 });
  await row("all", "hello", '"n":17').waitFor();
  assert.deepEqual(complaints, []);
});

test("the policy allows the daemon's own scripts and styles alone", async () => {
  const policy = (await fetch(`http://${daemon.clients}/`)).headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  const blocked = await page.evaluate(() => new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "document.title = 'taken over'";
    document.body.append(script);
  }));
  assert.match(blocked, /^script-src/);
  assert.equal(await page.title(), "broadcastd");
});

test("a room of a template is joined by its name, and left again", async () => {
  await page.fill("#room", "agent:42");
  await page.press("#room", "Enter");
  await page.locator("#rooms li", { hasText: "agent:42" }).waitFor();
  await daemon.publish({ type: "busy", agentId: "42" }, { type: "busy", agentId: "43" });
  await row("agent:42", "busy").waitFor();
  assert.equal(await row("agent:43").count(), 0);
  await page.locator("#rooms li", { hasText: "agent:42" }).getByRole("button").click();
  await page.locator("#rooms li", { hasText: "agent:42" }).waitFor({ state: "detached" });
  await page.fill("#room", "agnet:42");
  await page.press("#room", "Enter");
  await page.locator("#notice", { hasText: "agnet:42" }).waitFor();
});

test("what an event holds is text, whatever it looks like", async () => {
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  await daemon.publish({ type: hostile, agentId: hostile, text: hostile });
  await row("<img src=x").waitFor();
  assert.equal(await page.locator("#events img, #events script").count(), 0);
  assert.equal(await page.title(), "broadcastd");
  assert.deepEqual(complaints, []);
});

test("thousands of events leave the page small, and cost it as many rows as it shows", async () => {
  await page.evaluate(() => {
    // Frames are drawn when the test says so.
    window.requestAnimationFrame = (draw) => ((window.draw = draw), 1);
    window.made = 0;
    new MutationObserver((changes) => changes.forEach(({ addedNodes }) => (window.made += addedNodes.length)))
      .observe(document.getElementById("events"), { childList: true });
  });
  await daemon.publish(...Array.from({ length: 5000 }, (_, n) => ({ type: "many", n })));
  const counted = () => Number(document.querySelector("#rooms .quiet").textContent) >= 5000;
  await page.waitForFunction(counted, undefined, { polling: 50 });
  await page.evaluate(() => window.draw());
  await row("many", '"n":4999').waitFor();
  assert.match(await page.locator("#events tr").first().textContent(), /"n":4999/);
  assert.equal(await page.locator("#events tr").count(), 500);
  assert.equal(await page.evaluate(() => window.made), 500);
});

async function restart(signal) {
  await daemon.kill(signal);
  await page.locator("#state.down").waitFor();
  await daemon.run();
}

test("after a restart the page goes on where it was, by itself", async () => {
  await daemon.publish({ type: "before" });
  await row("before").waitFor();
  await restart("SIGTERM");
  await daemon.publish({ type: "between" });
  await connected();
  await row("between").waitFor();
  assert.equal(await row("gap").count(), 0);
});

test("after a crash the page goes on by itself, and says that it cannot know what it missed", async () => {
  await restart("SIGKILL");
  await connected();
  await row("gap", "epoch_changed").waitFor();
  await daemon.publish({ type: "afterwards" });
  await row("afterwards").waitFor();
});

test("a telephone shows it without scrolling sideways", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await daemon.publish({ type: "wide", text: "x".repeat(2000) });
  await row("wide").waitFor();
  const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(inner <= outer, `${inner} px wide in ${outer}`);
  const event = await row("wide").locator("td.event").boundingBox();
  assert.ok(event.x >= 0 && event.width > 200 && event.x + event.width <= 360, `the event is in sight: ${JSON.stringify(event)}`);
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "narrow.png") });
  await page.setViewportSize({ width: 1280, height: 720 });
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "wide.png") });
});
