// The first minutes with the page, in a real browser: the command that it shows, the dashboard, a telephone, rows and the filter.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { Daemon, DEADLINE_MS, repository } from "../../client/test/harness.mjs";

const STATE = { type: "agent_state", agentId: "42", status: "busy", resourceUsage: { cpu: 12.5, memory: 40, activeConnections: 3 } };
const ALERT = { type: "system_alert", severity: "critical", component: "db", message: "down" };

let daemon, browser;
before(async () => {
  const shipped = await readFile(join(repository, "broadcast.toml"), "utf8");
  const quiet = shipped.replace(/^enabled = true$/m, "enabled = false").replace('every     = "5s"', 'every = "off"');
  daemon = await Daemon.start(quiet.replace('["local", ', '["local", "http://page.example:*", '), { server: ["127.0.0.1:0"] });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP page.example 127.0.0.1"],
  });
});
after(async () => {
  await browser?.close();
  await daemon?.end();
});

/** Opens the page; what it complains of ends up in `page.complaints`. */
async function open(context, { host = "127.0.0.1", hash = "", ...options } = {}) {
  const session = await browser.newContext({ ...options, permissions: ["clipboard-read", "clipboard-write"] });
  context.after(() => session.close());
  const page = await session.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(`http://${host}:${daemon.clients.split(":").at(-1)}/${hash}`);
  await page.locator("#state.live").waitFor();
  return page;
}

const row = (page, hasText) => page.locator("#events tr", { hasText }).first();
const dashboard = (page) => page.locator("header a.dashboard");

test("first command has the real address, is copied, and its event is seen", async (context) => {
  const page = await open(context);
  const command = page.locator("#command");
  await command.waitFor();
  assert.equal(await page.locator("#rooms .name").first().textContent(), "events");
  await page.locator("#copy").click();
  await page.locator("#copy", { hasText: "Copied" }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, `curl -d '{"type":"hello","text":"it works"}' http://${daemon.ingest}/events`);
  await promisify(execFile)("bash", ["-c", copied]);
  await row(page, "hello").waitFor();
  assert.equal(await row(page, "hello").locator(".event").textContent(), '"text":"it works"');
  assert.equal(await command.isVisible(), false);
  assert.deepEqual(page.complaints, []);
});

test("dashboard is linked where it can be reached", async (context) => {
  for (const host of ["127.0.0.1", "localhost"]) {
    const page = await open(context, { host });
    await dashboard(page).waitFor();
    assert.equal(await dashboard(page).getAttribute("href"), `http://${daemon.listen.admin[0]}/`);
    await dashboard(page).click();
    await page.locator("#health").waitFor();
  }
  const page = await open(context, { host: "page.example" });
  await page.locator("#suggestions li").first().waitFor();
  assert.equal(await dashboard(page).isVisible(), false);
  assert.match(await page.locator("#where").textContent(), /on the machine of the daemon/);
});

test("telephone reaches the filter and the rooms", async (context) => {
  const page = await open(context, { viewport: { width: 390, height: 844 } });
  await page.locator("#shown", { hasText: "events" }).waitFor();
  assert.equal(await page.locator("#room").isVisible(), false, "rooms are folded");
  await page.locator("#side summary").click();
  const offered = page.locator("#suggestions li", { hasText: "agent_states" });
  await offered.getByRole("button").click();
  await offered.locator(".tag", { hasText: "subscribed" }).waitFor();
  await page.locator("#side summary").click();
  await daemon.publish(STATE);
  await row(page, "busy").waitFor();
  await page.locator("#filter").fill("agentid\":\"42");
  await row(page, "busy").waitFor();
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} px wide`);
  for (const id of ["filter", "pause", "clear"]) {
    const box = await page.locator(`#${id}`).boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 390 && box.height >= 40, `${id}: ${JSON.stringify(box)}`);
  }
});

test("subscribed rooms say so, and can be left", async (context) => {
  const page = await open(context, { hash: "#room=critical" });
  const offered = page.locator("#suggestions li", { hasText: "critical" });
  await offered.locator(".tag", { hasText: "subscribed" }).waitFor();
  assert.equal(await offered.getByRole("button").count(), 0);
  await page.getByRole("button", { name: "Leave critical" }).click();
  await offered.getByRole("button", { name: "Subscribe to critical" }).waitFor();
});

test("row shows the event without its time and type, and its status by colour, sign and word", async (context) => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(context, { colorScheme, hash: "#room=agent_states&room=system_alerts" });
    await daemon.publish(STATE, ALERT, { ...ALERT, severity: "warning" });
    for (const [word, tone] of [["busy", "info"], ["critical", "bad"], ["warning", "warn"]]) {
      const tag = page.locator(`#events .tag.${tone}`, { hasText: word }).first();
      await tag.waitFor();
      const seen = await tag.evaluate((element) => {
        const { color, backgroundColor } = getComputedStyle(element);
        const light = (colour) => colour.match(/[\d.]+/g).map((part) => part / 255)
          .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
          .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
        const [darker, lighter] = [light(color), light(backgroundColor)].sort((a, b) => a - b);
        return { sign: getComputedStyle(element, "::before").content, contrast: (lighter + 0.05) / (darker + 0.05) };
      });
      assert.match(seen.sign, /[^\s"]/, word);
      assert.ok(seen.contrast >= 4.5, `${word} in the ${colorScheme}: ${seen.contrast}`);
    }
    const event = row(page, "critical").locator(".event");
    assert.equal(await event.textContent(), 'critical"component":"db", "message":"down"');
    await event.locator(".json").focus();
    await page.keyboard.press("Enter");
    const whole = (await event.textContent()).replace("critical", "");
    assert.deepEqual({ ...JSON.parse(whole), timestamp: 0 }, { ...ALERT, timestamp: 0 });
    await page.keyboard.press("Enter");
    assert.equal(await event.textContent(), 'critical"component":"db", "message":"down"');
    assert.deepEqual(page.complaints, []);
  }
});

test("filter that nothing matches says so, and is taken away", async (context) => {
  const page = await open(context, { hash: "#room=system_alerts" });
  await daemon.publish(ALERT);
  await row(page, "critical").waitFor();
  await page.fill("#filter", "no such event");
  await page.locator("#unmatched", { hasText: "matches “no such event”" }).waitFor();
  await page.locator("#unfilter").click();
  await row(page, "critical").waitFor();
  assert.equal(await page.locator("#unmatched").isVisible(), false);
});

test("events of a pause are shown when it ends", async (context) => {
  const page = await open(context, { hash: "#room=system_alerts" });
  await daemon.publish({ ...ALERT, message: "before" });
  await row(page, "before").waitFor();
  await page.locator("#pause").click();
  const counted = page.locator("#rooms .quiet");
  const count = Number(await counted.textContent());
  await daemon.publish({ ...ALERT, message: "meanwhile" });
  await page.locator("#rooms .quiet", { hasText: new RegExp(`^${count + 1}$`) }).waitFor();
  assert.equal(await row(page, "meanwhile").count(), 0);
  await page.getByRole("button", { name: "Resume" }).click();
  await row(page, "meanwhile").waitFor();
});
