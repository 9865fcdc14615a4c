// What is shipped: its size, its files, its types.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { repository } from "./harness.mjs";

const folder = join(repository, "client");
const run = promisify(execFile);

test("types: the code's own, what is shipped beside it, and what an application writes", async () => {
  await run("npx", ["--no-install", "tsc", "-p", "."], { cwd: folder }).catch(({ stdout }) => assert.fail(stdout));
});

test("minified and gzipped, the client is under 8 KiB, and under 9 KiB with the names of the replaced service", async () => {
  const size = async (contents) => {
    const { outputFiles } = await build({ stdin: { contents, resolveDir: folder }, bundle: true, minify: true, format: "esm", write: false });
    return gzipSync(outputFiles[0].contents, { level: 9 }).length;
  };
  const alone = await size(`export { BroadcastClient, encodeValue } from "./client.js"`);
  const whole = await size(`export * from "./client.js"`);
  console.log(`# ${alone} and ${whole} bytes`);
  assert.ok(alone > 1000 && alone < 8192, `${alone} bytes`);
  assert.ok(whole > alone && whole < 9216, `${whole} bytes`);
});

test("the package has exactly the files that are meant, and nothing to install", async () => {
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json"], { cwd: folder });
  const [{ files }] = JSON.parse(stdout);
  assert.deepEqual(files.map(({ path }) => path).sort(), [
    "LICENSE-APACHE", "LICENSE-MIT", "README.md", "client.js", "client/integrations.js", "client/iterate.js", "client/known.js", "client/protocol.js",
    "client/served.js", "client/sse.js", "client/websocket.js", "package.json", "producer.js", "types/client.d.ts", "types/producer.d.ts",
  ]);
  const { dependencies, exports } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  assert.equal(dependencies, undefined);
  for (const it of Object.values(exports).flatMap((it) => (typeof it === "string" ? [it] : Object.values(it)))) {
    assert.ok(files.some(({ path }) => `./${path}` === it), it);
  }
  for (const licence of ["LICENSE-MIT", "LICENSE-APACHE"]) {
    assert.equal(await readFile(join(folder, licence), "utf8"), await readFile(join(repository, licence), "utf8"));
  }
});

test("every example of the README that is a program is one, and names what there is", async () => {
  const text = await readFile(join(folder, "README.md"), "utf8");
  const programs = [...text.matchAll(/```(?:js|jsx)\n([\s\S]*?)```/g)].map(([, program]) => program);
  assert.ok(programs.length >= 4);
  for (const contents of programs) {
    // Resolved and bundled: an import of what the package does not export fails.
    const plugins = [{ name: "own", setup: ({ onResolve }) => {
      onResolve({ filter: /^broadcastd-client$|client\.js$/ }, ({ path }) => path.startsWith("broadcastd") || path.startsWith("http") ? { path: join(folder, "client.js") } : undefined);
      onResolve({ filter: /^broadcastd-client\/producer$/ }, () => ({ path: join(folder, "producer.js") }));
      onResolve({ filter: /^(react|vue|ws|node:)/ }, ({ path }) => ({ path, external: true }));
    } }];
    await build({ stdin: { contents, loader: "jsx" }, bundle: true, format: "esm", write: false, plugins, logLevel: "silent" }).catch((error) => assert.fail(`${error.message}\n${contents}`));
  }
});
