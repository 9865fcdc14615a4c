// The official client in a browser, in a page of another origin, old and new.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";
import { DEADLINE_MS, Proxy, WAYS, daemon, endAll, ending } from "./harness.mjs";

const LIBRARIES = ["socket.io-client", "socket.io-client-4.0"];
let browser, pages, address;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  pages = createServer(async ({ url }, response) => {
    if (!LIBRARIES.includes(url.slice(1))) return response.setHeader("content-type", "text/html").end("<title>a page</title>");
    const script = await readFile(join(import.meta.dirname, "node_modules", url.slice(1), "dist", "socket.io.min.js"));
    response.setHeader("content-type", "text/javascript").end(script);
  });
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  address = `http://localhost:${pages.address().port}`;
});

after(async () => {
  await browser?.close();
  pages?.close();
});
afterEach(endAll);

for (const library of LIBRARIES) {
  for (const [name, { options, ends }] of Object.entries(WAYS)) {
    test(`${library}, ${name}: a page gets what it subscribed to, and what it missed`, async () => {
      const server = await daemon();
      const proxy = await Proxy.to(server.clients);
      ending(() => proxy.end());
      const page = await browser.newPage();
      page.setDefaultTimeout(DEADLINE_MS);
      ending(() => page.close());
      const complaints = [];
      page.on("console", (message) => {
        if (message.type() === "error") complaints.push(message.text());
      });
      await page.goto(`${address}/`);
      await page.addScriptTag({ url: `${address}/${library}` });
      await page.evaluate(([url, options]) => {
        const socket = (window.socket = io(url, { ...options, withCredentials: true, reconnectionDelay: 10, reconnectionDelayMax: 50 }));
        window.log = [];
        window.connects = 0;
        socket.onAny((...event) => window.log.push(event));
        socket.on("connect", () => {
          window.connects += 1;
          if (!socket.recovered) socket.emit("subscribe", { rooms: ["all"] });
        });
      }, [`http://${proxy.addr}`, options]);
      await page.waitForFunction(() => window.log.some(([name]) => name === "subscription_confirmed"));
      await page.waitForFunction((ends) => window.socket.io.engine.transport.name === ends, ends);
      await server.publish({ type: "tick", n: 1, text: "é \u2028 \u{1f600}" });
      await page.waitForFunction(() => window.log.some(([name]) => name === "tick"));
      assert.equal(await page.evaluate(() => window.log.find(([name]) => name === "tick")[1].text), "é \u2028 \u{1f600}");
      assert.deepEqual(complaints, []);

      proxy.cut();
      await server.publish({ type: "tick", n: 2 });
      proxy.reset();
      proxy.heal();
      await page.waitForFunction(() => window.connects === 2);
      const recovered = library === "socket.io-client";
      assert.equal(await page.evaluate(() => Boolean(window.socket.recovered)), recovered);
      if (!recovered) await page.waitForFunction(() => window.log.filter(([name]) => name === "subscription_confirmed").length === 2);
      await server.publish({ type: "tick", n: 3 });
      await page.waitForFunction(() => window.log.some(([name, event]) => name === "tick" && event.n === 3));
      const numbers = await page.evaluate(() => window.log.filter(([name]) => name === "tick").map(([, event]) => event.n));
      assert.deepEqual(numbers, recovered ? [1, 2, 3] : [1, 3]);
    });
  }
}
