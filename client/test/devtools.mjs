// A browser by its bare devtools protocol, for what a driver such as Playwright prevents: it keeps every page visible, so that
// none can fall asleep, and it does not see a page that comes back by the back button.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { until } from "./harness.mjs";

export class Browser {
  #waiting = new Map();
  #ids = 0;

  static async start() {
    const it = new Browser();
    it.folder = await mkdtemp(join(tmpdir(), "broadcastd-browser-"));
    it.child = spawn(process.env.CHROMIUM ?? "/usr/bin/chromium", ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
      "--disable-background-networking", "--disable-sync", "--remote-debugging-port=0", `--user-data-dir=${it.folder}`, "about:blank"],
    { stdio: ["ignore", "ignore", "pipe"] });
    it.ended = new Promise((resolve) => it.child.once("exit", resolve));
    let url;
    for await (const line of createInterface({ input: it.child.stderr })) if ((url = /ws:\S+/.exec(line)?.[0])) break;
    it.child.stderr.resume();
    it.socket = new WebSocket(url);
    it.socket.onmessage = ({ data }) => {
      const { id, error, result } = JSON.parse(data);
      const { resolve, reject } = it.#waiting.get(id) ?? { resolve() {}, reject() {} };
      it.#waiting.delete(id);
      if (error) reject(new Error(error.message));
      else resolve(result);
    };
    await new Promise((resolve) => (it.socket.onopen = resolve));
    return it;
  }

  send(method, params = {}, sessionId = undefined) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#ids, { resolve, reject });
      this.socket.send(JSON.stringify({ id: this.#ids, method, params, sessionId }));
    });
  }

  async open(url) {
    const { targetId } = await this.send("Target.createTarget", { url });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, targetId, sessionId);
    await page.at(url);
    return page;
  }

  async end() {
    this.socket.close();
    this.child.kill();
    await this.ended;
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  constructor(browser, targetId, sessionId) {
    Object.assign(this, { browser, targetId, sessionId });
  }

  send(method, params) {
    return this.browser.send(method, params, this.sessionId);
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(result.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression is true, across navigations. */
  until(expression) {
    return until(expression, () => this.evaluate(expression).catch(() => false));
  }

  at(url) {
    return this.until(`location.href === ${JSON.stringify(url)} && document.readyState === "complete"`);
  }

  async goto(url) {
    await this.send("Page.navigate", { url });
    await this.at(url);
  }

  /** In front of the others of its window: they are hidden. */
  toFront() {
    return this.browser.send("Target.activateTarget", { targetId: this.targetId });
  }

  /** `frozen` or `active`. A frozen page runs no timers and no handlers. */
  lifecycle(state) {
    return this.send("Page.setWebLifecycleState", { state });
  }
}
