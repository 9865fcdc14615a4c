// The programs and pictures of README.md: programs run as they are pasted, but for the ports.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Daemon, DEADLINE_MS, repository } from "../../client/test/harness.mjs";

let daemon, readme;
before(async () => {
  // The rooms that are built in.
  daemon = await Daemon.start("[sources.alerts]\nenabled = false\n[sources.system]\nevery = \"off\"\n");
  readme = await readFile(join(repository, "README.md"), "utf8");
});
after(() => daemon?.end());

/** The one program of a language, with the daemon's address. */
function program(language) {
  const found = [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(([, text]) => text);
  assert.equal(found.length, 1, `${language} of the README`);
  assert.match(found[0], /127\.0\.0\.1:9999/);
  return found[0].replaceAll("127.0.0.1:9999", daemon.clients);
}

/** Publishes until something is seen: a program subscribes when it has connected, and sees what comes after. */
async function publishUntil(seen, ...events) {
  let isSeen = false;
  seen.finally(() => (isSeen = true)).catch(() => {});
  while (!isSeen) {
    await daemon.publish(...events);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return seen;
}

test("program for Node runs as it is pasted", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "broadcastd-readme-"));
  context.after(() => rm(folder, { recursive: true }));
  await symlink(join(repository, "client"), join(folder, "client"));
  await writeFile(join(folder, "watch.mjs"), program("js"));
  const child = spawn("node", ["watch.mjs"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"], timeout: DEADLINE_MS });
  context.after(() => child.kill());
  const lines = createInterface({ input: child.stdout });
  const line = new Promise((resolve, reject) => {
    lines.once("line", resolve);
    lines.once("close", () => reject(new Error("it ended and printed nothing")));
  });
  assert.equal(await publishUntil(line, { type: "hello", text: "it works" }), "hello it works");
});

test("program for a page runs as it is pasted", async (context) => {
  const html = program("html");
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(`<link rel="icon" href="data:,">${html}`));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  context.after(async () => {
    await browser.close();
    server.close();
  });
  const page = await browser.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  const says = (type) => page.waitForEvent("console", { predicate: (message) => message.type() === type, timeout: DEADLINE_MS });
  const [event, alert] = [says("log"), says("warning")];
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const seen = Promise.all([event, alert]);
  await publishUntil(seen, { type: "hello", text: "it works" }, { type: "system_alert", severity: "error", component: "db", message: "down" });
  assert.equal((await (await event).args()[0].jsonValue()).text, "it works");
  assert.equal((await alert).text(), "down");
  assert.deepEqual(complaints, []);
});

test("pictures are there, for light and dark, and small", async () => {
  const pictures = [...readme.matchAll(/(?:src|srcset)="(docs\/[^"]+)"/g)].map(([, path]) => path);
  assert.equal(pictures.length, 2);
  for (const path of pictures) {
    const { size } = await stat(join(repository, path));
    assert.ok(size > 1000 && size <= 200_000, `${path} has ${size} bytes`);
  }
});
