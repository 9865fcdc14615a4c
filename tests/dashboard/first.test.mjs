// The first minutes of an operator: the steps of an empty daemon, the last ten minutes, transports, own events, and what is new.
import assert from "node:assert/strict";
import { exec, spawn } from "node:child_process";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { CONFIG, Daemon, dashboard, deafClient, launch, open, until } from "./harness.mjs";

const OWN = `[sources.system]\nevery = "1s"\n${CONFIG}`;

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/** Runs a test with a daemon of its own, and ends what the test has begun. */
const scene = (name, config, run) => test(name, async () => {
  const daemon = await Daemon.start(config);
  const ends = [() => daemon.end()];
  try {
    await run(daemon, (end) => ends.unshift(end));
  } finally {
    for (const end of ends) await end();
  }
});

const shell = promisify(exec);
const row = (page, label, text) => page.locator(`table[aria-label="${label}"] tbody tr`, { hasText: text });
const cell = async (rows, n) => Number((await rows.locator("td").nth(n).textContent()).replace(/[^\d.]/g, ""));

/** Serves a page with a script, as somebody's own. */
async function website(script) {
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(`<!doctype html><title>mine</title><script type="module">${script}</script>`));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

scene("an empty daemon shows three steps that work as they are copied, and ticks them off", CONFIG, async (daemon, later) => {
  const page = await dashboard(browser, daemon, { permissions: ["clipboard-read", "clipboard-write"] });
  later(() => page.context().close());
  const steps = page.getByRole("region", { name: "First steps" });
  await steps.waitFor();
  const copied = async (title) => {
    const button = steps.getByRole("button", { name: `Copy: ${title}` });
    await button.click();
    await button.filter({ hasText: "Copied" }).waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  const [send, subscribe, connect] = [await copied("Send an event"), await copied("Subscribe"), await copied("Connect a client")];
  assert.ok(send.includes(daemon.ingest) && subscribe.includes(daemon.clients) && connect.includes(daemon.clients), `${send}\n${subscribe}\n${connect}`);
  assert.equal(await steps.locator(".done").count(), 0, "the dashboard itself is no client of somebody's");
  assert.equal(JSON.parse((await shell(send)).stdout).accepted, 1);
  await steps.locator(".done", { hasText: "Send an event" }).waitFor();
  const stream = spawn("sh", ["-c", `exec ${subscribe}`], { stdio: ["ignore", "pipe", "ignore"] });
  later(() => stream.kill());
  await new Promise((resolve) => stream.stdout.on("data", (bytes) => String(bytes).includes("first event") && resolve()));
  await steps.locator(".done", { hasText: "Subscribe" }).waitFor();
  const mine = await website(connect);
  later(() => mine.close());
  const visitor = await page.context().newPage();
  const logged = visitor.waitForEvent("console");
  await visitor.goto(`http://127.0.0.1:${mine.address().port}/`);
  await until("it is subscribed", async () => (await daemon.api("/api/v1/clients")).clients.filter(({ transport }) => transport === "websocket").length === 2);
  await daemon.publish({ type: "hello", text: "to a web page" });
  assert.match((await logged).text(), /to a web page|Object/);
  await steps.locator(".done", { hasText: "Connect a client" }).waitFor();
  await page.getByRole("button", { name: "Hide the first steps" }).click();
  await steps.waitFor({ state: "hidden" });
  assert.deepEqual(page.complaints, []);
});

/** Rooms of one type each, and one for every other type. */
const OTHERS = '[rooms.others]\ntypes = "unrouted"\n[rooms.agent_states]\ntypes = ["agent_state"]\n[rooms.system_alerts]\ntypes = ["system_alert"]\n';

scene("the first steps use a room that takes any type, where there is one", OTHERS, async (daemon, later) => {
  const page = await dashboard(browser, daemon);
  later(() => page.context().close());
  const send = page.getByRole("region", { name: "First steps" }).getByLabel("Send an event", { exact: true });
  const command = await send.textContent();
  assert.equal(JSON.parse((await shell(command)).stdout).accepted, 1);
  const { head } = await daemon.api("/api/v1/room?room=others");
  assert.equal(head, 1, command);
});

scene("a daemon that has events shows no steps, and charts open with what it has kept", CONFIG, async (daemon, later) => {
  await daemon.publish({ type: "t" });
  await until("it has kept some seconds", async () => (await daemon.api("/api/v1/trend")).at.length >= 4);
  const page = await dashboard(browser, daemon);
  later(() => page.context().close());
  // From the first answer alone: none comes after it.
  const chart = page.getByRole("img", { name: /^Events per second/ });
  await until("a name", async () => /last ([3-9]|\d\d+) s: in \S+, sent \S+, own /.test(await chart.getAttribute("aria-label")));
  assert.deepEqual(await chart.locator(".legend li").allInnerTexts().then((texts) => texts.map((text) => text.split(/\s/)[0])), ["in", "sent", "own"]);
  assert.equal(await page.getByRole("region", { name: "First steps" }).count(), 0);
});

scene("a constant 0 stands on an axis from 0 to 1, and others begin at 0", CONFIG, async (daemon, later) => {
  const page = await dashboard(browser, daemon);
  later(() => page.context().close());
  const scales = await page.evaluate(async () => {
    const { Chart } = await import("/dashboard/chart.js");
    const { bytes, count } = await import("/dashboard/format.js");
    const of = async (values, options = {}) => {
      const chart = new Chart({ title: "t", format: count, series: ["a"], ...options });
      document.querySelector("#view").append(chart.node);
      chart.set([values.map((_, n) => 1000 + n), values]);
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const { min, max } = chart.plot.scales.y;
      const ticks = chart.plot.axes[1]._values;
      chart.destroy();
      return [min, Number(max.toFixed(3)), ticks[0], ticks.at(-1)];
    };
    return { zero: await of([0, 0, 0]), bytes: await of([0, 0], { format: bytes, isBinary: true }), none: await of([null, null]), small: await of([0.5, 1]), negative: await of([-10, -10]), top: await of([0, 0], { top: 100 }) };
  });
  assert.deepEqual(scales.zero.slice(0, 2), [0, 1]);
  assert.ok(scales.zero.at(-1).length <= 3, `${scales.zero} is short`);
  assert.deepEqual(scales.bytes, [0, 1, "0 B", "1 B"]);
  assert.deepEqual(scales.none.slice(0, 2), [0, 1]);
  assert.deepEqual(scales.small.slice(0, 2), [0, 1.1]);
  assert.deepEqual(scales.negative.slice(0, 2), [-11, 0]);
  assert.deepEqual(scales.top.slice(0, 2), [0, 100]);
});

scene("clients have their transport, and are counted and found by it", CONFIG, async (daemon, later) => {
  const ears = new AbortController();
  later(() => ears.abort());
  await fetch(`http://${daemon.clients}/sse?room=all`, { signal: ears.signal });
  await fetch(`http://${daemon.clients}/sse?room=all`, { signal: ears.signal, headers: { accept: "application/x-ndjson" } });
  await fetch(`http://${daemon.clients}/socket.io/?EIO=4&transport=polling`);
  const socket = deafClient(daemon.clients, "all");
  later(() => socket.end());
  await socket.subscribed;
  const page = await dashboard(browser, daemon, { panel: "clients" });
  later(() => page.context().close());
  for (const transport of ["WebSocket", "SSE", "NDJSON", "Socket.IO polling"]) await row(page, "Clients", transport).first().waitFor();
  const chip = (name) => page.getByRole("group", { name: "Filter by transport" }).getByRole("button", { name });
  await chip("WebSocket 2").waitFor();
  await chip("Socket.IO polling 1").waitFor();
  await chip("SSE 1").click();
  await until("one is left", async () => (await page.locator('table[aria-label="Clients"] tbody tr').count()) === 1);
  await open(page, "overview");
  await page.locator(".tile", { hasText: "clients" }).getByText(/2 WebSocket · .*1 SSE/).waitFor();
  assert.deepEqual(page.complaints, []);
});

scene("the daemon's own events are no traffic of producers", OWN, async (daemon, later) => {
  const page = await dashboard(browser, daemon, { panel: "rooms" });
  later(() => page.context().close());
  const metrics = row(page, "Rooms", "performance_metrics");
  const ticker = async (label) => Number(/[\d.]+/.exec(await page.locator(`#ticker .${label} dd`).textContent()));
  await until("its own are seen", async () => (await cell(metrics, 3)) > 1 && (await ticker("own")) > 1);
  assert.deepEqual([await cell(metrics, 2), await ticker("in")], [0, 0]);
  const publishing = setInterval(() => daemon.publish({ type: "performance_metric", metricName: "m", value: 1, unit: "x", category: "system" }), 50);
  await until("a producer's are traffic", async () => (await cell(metrics, 2)) > 5 && (await ticker("in")) > 5).finally(() => clearInterval(publishing));
});

scene("badges count what is new since the last look, and remember it", CONFIG, async (daemon, later) => {
  await daemon.post("nonsense", "more nonsense");
  const page = await dashboard(browser, daemon);
  later(() => page.context().close());
  const link = (panel) => page.locator(`#nav a[href="#/${panel}"]`);
  const badge = (panel, text) => until(`${panel} has ${text || "nothing"}`, async () => (await page.locator(`#badge-${panel}`).textContent()) === text);
  await badge("rejected", "2");
  assert.equal(await link("rejected").getAttribute("aria-label"), "Rejected: 2 new");
  await open(page, "rejected");
  await badge("rejected", "");
  await daemon.post("seen while the panel is open");
  await page.locator(".refusal", { hasText: "×3" }).or(page.locator(".figures", { hasText: "3 lines" })).first().waitFor();
  await open(page, "overview");
  await badge("rejected", "");
  await page.reload();
  await page.locator("#link.good").waitFor();
  await page.locator("#ticker dd").first().waitFor();
  await badge("rejected", "");
  await daemon.post("new");
  await badge("rejected", "1");
  await daemon.configure(`${CONFIG}[rooms.late]\ntypes = ["late"]\n`);
  await daemon.reload();
  await badge("reloads", "1");
  await open(page, "reloads");
  await badge("reloads", "");
  for (const panel of ["rooms", "clients"]) assert.equal(await page.locator(`#badge-${panel}`).textContent(), "", "how many there are is nothing new");
});
