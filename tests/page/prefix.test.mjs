// The page, the dashboard and the client behind a proxy that has them below a path, in a real browser.
import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Daemon, DEADLINE_MS } from "../../client/test/harness.mjs";

/** A page of an application, as it stands beside the daemon's paths. */
const APPLICATION = `<!doctype html><link rel="icon" href="data:,"><p id="state"></p><p id="seen"></p><script type="module">
import { BroadcastClient } from "../client.js";
const client = new BroadcastClient(undefined, {
  transport: location.search.slice(1),
  onState: ({ state, transport }) => (document.getElementById("state").textContent = state + " " + transport),
});
client.subscribe("all", ({ type }) => (document.getElementById("seen").textContent = type), { from: { last: 1 } });
</script>`;

let daemon, proxy, browser, address;

/** Takes the first part of a path away, as a proxy does that has a daemon below it: /live is the clients' listener, /operators the other. */
function forward({ method, url, headers }) {
  const [, name, path = ""] = /^\/(\w+)(.*)$/.exec(url) ?? [];
  const target = { live: daemon.clients, operators: daemon.listen.admin[0] }[name];
  if (!target) return null;
  const [host, port] = target.split(":");
  return request({ host, port, method, headers, path: path.startsWith("/") ? path : `/${path}`, agent: false });
}

function answer(incoming, outgoing) {
  if (/^\/live\/app\/(\?|$)/.test(incoming.url)) return outgoing.setHeader("content-type", "text/html").end(APPLICATION);
  const onward = forward(incoming);
  if (!onward) return outgoing.writeHead(404).end();
  onward.on("response", (response) => {
    outgoing.writeHead(response.statusCode, response.headers);
    response.pipe(outgoing);
  });
  onward.on("error", () => outgoing.destroy());
  outgoing.on("close", () => onward.destroy());
  incoming.pipe(onward);
}

function upgrade(incoming, socket) {
  const onward = forward(incoming);
  if (!onward) return socket.destroy();
  onward.on("upgrade", (response, server) => {
    const head = response.rawHeaders.reduce((all, it, n) => all + (n % 2 ? `${it}\r\n` : `${it}: `), "HTTP/1.1 101 Switching Protocols\r\n");
    socket.write(`${head}\r\n`);
    server.pipe(socket).pipe(server);
    for (const end of [server, socket]) end.on("error", () => (server.destroy(), socket.destroy()));
  });
  onward.on("response", () => socket.destroy());
  onward.on("error", () => socket.destroy());
  onward.end();
}

before(async () => {
  daemon = await Daemon.start();
  proxy = createServer(answer).on("upgrade", upgrade).listen(0, "127.0.0.1");
  await new Promise((resolve) => proxy.once("listening", resolve));
  address = `http://127.0.0.1:${proxy.address().port}`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
});

after(async () => {
  await browser?.close();
  proxy?.closeAllConnections();
  proxy?.close();
  await daemon?.end();
});

/**
 * Opens a page; what it complains of, and every path that it asks for outside of `prefix`. Before the page has put the slash that
 * is missing at the end of its path, the browser guesses at addresses: those guesses do not count.
 */
async function open(context, path, prefix) {
  const page = await browser.newPage();
  context.after(() => page.close());
  page.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  const isGuessing = !path.split(/[?#]/)[0].endsWith("/");
  if (!isGuessing) page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  const outside = (url) => new URL(url).pathname.startsWith(prefix) || complaints.push(`${url} is outside`);
  if (!isGuessing) page.on("request", (request) => request.url().startsWith("data:") || outside(request.url()));
  page.on("websocket", (socket) => outside(socket.url()));
  await page.goto(address + path);
  return { page, complaints };
}

for (const path of ["/live/", "/live", "/live?from=elsewhere#room=all"]) {
  test(`page below a path is live: ${path}`, async (context) => {
    const { page, complaints } = await open(context, path, "/live");
    await page.locator("#state.live").waitFor();
    await page.locator("#rooms li", { hasText: "all" }).waitFor();
    const type = `below${path.length}`;
    await daemon.publish({ type });
    await page.locator("#events tr", { hasText: type }).waitFor();
    await page.reload();
    await page.locator("#events tr", { hasText: type }).waitFor();
    assert.deepEqual(complaints, []);
  });
}

for (const path of ["/operators/", "/operators"]) {
  test(`dashboard below a path is live: ${path}`, async (context) => {
    const { page, complaints } = await open(context, path, "/operators");
    await page.locator("#link", { hasText: "live" }).waitFor();
    await page.locator("#health", { hasText: "healthy" }).waitFor();
    await page.locator(".tile dd", { hasText: /\d/ }).first().waitFor();
    await page.locator("#nav a", { hasText: "Rooms" }).click();
    await page.locator("td.main a", { hasText: "all" }).first().waitFor();
    await page.goto(`${page.url().split("#")[0]}#/events?room=all`);
    const type = `seen${path.length}`;
    await daemon.publish({ type });
    await page.locator("#event-list .event", { hasText: type }).waitFor();
    assert.deepEqual(complaints, []);
  });
}

for (const transport of ["websocket", "sse"]) {
  test(`client without an address finds the daemon that served it below a path, over ${transport}`, async (context) => {
    const { page, complaints } = await open(context, `/live/app/?${transport}`, "/live");
    await page.locator("#state", { hasText: `open ${transport}` }).waitFor();
    const type = `over-${transport}`;
    await daemon.publish({ type });
    await page.locator("#seen", { hasText: type }).waitFor();
    assert.deepEqual(complaints, []);
  });
}
