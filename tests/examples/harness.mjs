// An example in a folder of its own, whose printed commands run as they are printed, but for the ports: where an example says
// 127.0.0.1:9998, its copy has the port that the system gave.
//
// What a README.md prints for a shell stands in fenced blocks:
//
//     ```sh             runs and ends well, before the next one begins; what follows it as ```text is what it prints ("…" is
//                       anything in a line, and a line of it any lines)
//     ```sh daemon      starts the daemon
//     ```sh stays       goes on beside the others, until the example is over
//     ```sh not run: REASON
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { binary, DEADLINE_MS, repository, undisturbed, until } from "../../client/test/harness.mjs";

export { DEADLINE_MS, repository, undisturbed, until };

const LOG = process.env.DAEMON_LOG ? "inherit" : "ignore";

/** The fenced blocks of a document: `{ info, text }`. */
export const blocks = (markdown) =>
  [...markdown.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)].map(([, info, text]) => ({ info, text: text.trimEnd() }));

export class Example {
  #running = [];

  /** Copies the example, starts the daemon as it says, and gives the ports to every file of the copy. */
  static async open(name) {
    assert.ok(binary, "build the daemon first, or name it in BROADCASTD");
    const example = new Example();
    example.name = name;
    example.root = await mkdtemp(join(tmpdir(), "broadcastd-example-"));
    await chmod(example.root, 0o755);   // nginx reads files as nobody, when root starts it
    const folder = (example.folder = join(example.root, "examples", name));
    const isOurs = (path) => !/\/(node_modules|app\.js)$/.test(path);
    await cp(join(repository, "examples", name), folder, { recursive: true, filter: isOurs });
    for (const beside of ["client", "examples/broadcastd.py"]) await symlink(join(repository, beside), join(example.root, beside));
    if ((await readdir(join(repository, "examples", name))).includes("node_modules")) {
      await symlink(join(repository, "examples", name, "node_modules"), join(folder, "node_modules"));
    }
    await mkdir(join(example.root, "bin"));
    await symlink(binary, join(example.root, "bin", "broadcastd"));
    example.readme = await readFile(join(folder, "README.md"), "utf8");
    example.blocks = blocks(example.readme);
    await example.#startDaemon();
    return example;
  }

  async #startDaemon() {
    const config = join(this.folder, "broadcast.toml");
    const text = await readFile(config, "utf8");
    await writeFile(config, text.replaceAll(/127\.0\.0\.1:999\d/g, "127.0.0.1:0"));
    const { text: printed } = this.blocks.find(({ info }) => info === "sh daemon");
    // Where a configuration says nothing of a door, its port is free as well.
    const doors = ["server", "admin", "ingest"].filter((section) => !new RegExp(`^\\[${section}\\]\\n(?:(?!\\[).*\\n)*?listen\\b`, "m").test(text));
    const free = doors.map((section) => ` --set '${section}.listen=["127.0.0.1:0"]'`).join("");
    const daemon = this.#spawn(printed + free, { stdio: ["ignore", "pipe", LOG] });
    const found = {};
    for await (const line of createInterface({ input: daemon.stdout })) {
      if (line === "ready") break;
      const [, name, addr] = line.split(" ");
      found[name] ??= addr;
    }
    assert.ok(found.ingest, "the daemon ended before it was ready");
    this.ports = { 9999: found.clients, 9998: found.ingest, 9997: found.admin };
    // Where tools look for the daemon.
    const section = (name, addr) => `[${name}]\nlisten = ["${addr}"]\n`;
    const tools = section("server", found.clients) + section("admin", found.admin) + section("ingest", found.ingest);
    await writeFile(join(this.root, "broadcast.toml"), tools);
    await this.#give(this.folder);
  }

  /** Puts the real ports in place of the printed ones. */
  ported(text) {
    for (const [printed, addr] of Object.entries(this.ports)) {
      text = text.replaceAll(new RegExp(`127\\.0\\.0\\.1([: ])${printed}\\b`, "g"), (_, between) => addr.replace(":", between));
    }
    return text;
  }

  async #give(folder) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) await this.#give(path);
      // The daemon reads its own file already; a change would be put in force.
      else if (entry.isFile() && entry.name !== "broadcast.toml") await writeFile(path, this.ported(await readFile(path, "utf8")));
    }
  }

  #spawn(command, options) {
    const child = spawn("bash", ["-euo", "pipefail", "-c", command], {
      cwd: this.root,
      detached: true,
      env: { ...process.env, PATH: `${join(this.root, "bin")}:${process.env.PATH}:/usr/sbin`, XDG_RUNTIME_DIR: this.root, XDG_STATE_HOME: this.root,
        ...(this.ports && { BROADCASTD_INGEST: `http://${this.ports[9998]}` }), PYTHONUNBUFFERED: "1" },
      ...options,
    });
    this.#running.push(child);
    return child;
  }

  /** Runs a command to its end; what it printed. */
  async run(command) {
    const child = this.#spawn(this.ported(command), { stdio: ["ignore", "pipe", "pipe"] });
    const printed = ["", ""];
    [child.stdout, child.stderr].forEach((stream, n) => stream.setEncoding("utf8").on("data", (text) => (printed[n] += text)));
    const timer = setTimeout(() => kill(child), 2 * DEADLINE_MS);
    const [code] = await once(child, "close");
    clearTimeout(timer);
    assert.equal(code, 0, `${command}\n${printed.join("")}`);
    return printed[0];
  }

  /** Starts the blocks that stay, in their order. */
  async startStays() {
    for (const { info, text } of this.blocks) if (info === "sh stays") await this.#stay(text);
  }

  /** Every printed block that ends, in its order, with what is printed below it held against what it prints. Returns how many there were. */
  async runAll() {
    let count = 0;
    for (const [index, { info, text }] of this.blocks.entries()) {
      if (info !== "sh") continue;
      const printed = await this.run(text);
      const after = this.blocks[index + 1];
      if (after?.info === "text") assert.match(printed.trimEnd(), expected(after.text), `${text}\n${printed}`);
      count += 1;
    }
    return count;
  }

  /** Starts a block that stays. Where it is a server, every later command is given its port in place of the printed one. */
  async #stay(text) {
    const printed = text.match(/http\.server .*\b(\d+)$/)?.[1];
    if (printed) {
      const child = this.#spawn(text.replace(/\d+$/, "0"), { stdio: ["ignore", "pipe", LOG] });
      let said = "";
      child.stdout.setEncoding("utf8").on("data", (more) => (said += more));
      const [, port] = await until("the web server", () => said.match(/ port (\d+)/));
      this.ports[printed] = `127.0.0.1:${port}`;
      await this.#give(this.folder);
    } else if (text.startsWith("nginx")) {
      await this.#stayNginx(text);
    } else {
      this.#spawn(this.ported(text), { stdio: ["ignore", LOG, LOG] });
    }
  }

  /** nginx cannot be told to take a free port: it is given one that was free a moment ago, and another if it is no more. */
  async #stayNginx(text) {
    const tried = [8080];
    for (;;) {
      const port = await freePort();
      // Also where the copy has the port of the time before.
      for (const printed of tried) this.ports[printed] = `127.0.0.1:${port}`;
      tried.push(port);
      await this.#give(this.folder);
      const child = this.#spawn(text, { stdio: ["ignore", LOG, LOG] });
      const answers = () => fetch(`http://127.0.0.1:${port}/`).then(({ ok }) => ok, () => false);
      if (await until("nginx", async () => child.exitCode !== null || (await answers())) && child.exitCode === null) return;
      assert.ok(tried.length < 6, "nginx does not start");
    }
  }

  async publish(...events) {
    const body = events.map((event) => JSON.stringify(event)).join("\n");
    const answer = await fetch(`http://${this.ports[9998]}/events`, { method: "POST", body });
    const { accepted, errors } = await answer.json();
    assert.equal(accepted, events.length, JSON.stringify(errors));
  }

  async end() {
    for (const child of this.#running) kill(child);
    await Promise.all(this.#running.map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit")));
    await rm(this.root, { recursive: true, force: true });
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Ends a process and those that it started. */
function kill(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL");
  }
}

/** What a printed text may be: as it is, with anything in place of "…", and any lines in place of a line of it. */
function expected(text) {
  const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replace(/\n…\n/g, "\\n(?:.*\\n)*?").replaceAll("…", ".*")}$`);
}

/** A browser, and the pages' complaints. */
export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
}

export async function openPage(browser, address) {
  const page = await browser.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(address);
  return { page, complaints };
}
