// Takes the pictures of the README: the page with events, light and dark. Run it after a change of the page:
//
//   BROADCASTD=target/debug/broadcastd node tests/page/picture.mjs
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Daemon, repository } from "../../client/test/harness.mjs";

const ROOMS = ["agent_states", "workflow_executions", "system_alerts", "events"];
const STARTED = Date.UTC(2026, 10, 23, 9, 41);
const agent = (agentId, status, currentTask, cpu) =>
  ({ type: "agent_state", agentId, status, currentTask, resourceUsage: { cpu, memory: 40, activeConnections: 3 } });
const flow = (workflowId, stage, status, more) => ({ type: "workflow_execution", workflowId, executionId: "1", stage, status, ...more });
const alert = (severity, component, message) => ({ type: "system_alert", severity, component, message });
const EVENTS = [
  { type: "hello", text: "it works" },
  agent("planner", "active", "split the report", 12.5),
  flow("report", "research", "running", { progress: 10 }),
  agent("researcher", "busy", "read 14 sources", 61),
  { type: "deployed", service: "search", version: "1.2" },
  alert("info", "search", "version 1.2 takes all requests"),
  agent("writer", "idle", undefined, 2),
  flow("nightly", "export", "failed", { error: "disk full" }),
  alert("critical", "disk", "/var is full"),
  agent("cleaner", "error", "remove old exports", 99),
  alert("warning", "db", "replica lags 4 s behind"),
  flow("report", "research", "completed", { progress: 100 }),
  agent("writer", "busy", "write the summary", 38),
];

const daemon = await Daemon.start("[sources.alerts]\nenabled = false\n[sources.system]\nevery = \"off\"\n");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const pages = await Promise.all(["light", "dark"].map(async (colorScheme) => {
  const page = await browser.newPage({ viewport: { width: 1360, height: 600 }, deviceScaleFactor: 1.5, colorScheme, locale: "en-GB", timezoneId: "UTC" });
  await page.goto(`http://${daemon.clients}/#${ROOMS.map((room) => `room=${room}`).join("&")}`);
  await page.locator("#state.live").waitFor();
  await page.locator("#suggestions .tag").nth(ROOMS.length - 1).waitFor();
  return { colorScheme, page };
}));
for (const [n, event] of EVENTS.entries()) {
  await daemon.publish({ ...event, timestamp: STARTED + n * 3400 });
  for (const { page } of pages) await page.locator("#events tr").nth(n).waitFor();
}
for (const { colorScheme, page } of pages) {
  await page.waitForFunction(() => !document.getElementById("rate").textContent);
  const png = (await page.screenshot()).toString("base64");
  // Chromium itself writes WebP, at a third of a PNG's size.
  const webp = await (await browser.newPage()).evaluate(async (png) => {
    const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL("image/webp", 0.9).split(",")[1];
  }, png);
  const path = join(repository, "docs", `page-${colorScheme}.webp`);
  await writeFile(path, Buffer.from(webp, "base64"));
  console.log(path, webp.length * 0.75);
}
await browser.close();
await daemon.end();
