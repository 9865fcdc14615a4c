// The examples that are programs in a terminal.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Example, repository, until } from "./harness.mjs";

async function open(context, name) {
  const example = await Example.open(name);
  context.after(() => example.end());
  return example;
}

test("shell: curl, nc, a named pipe and a pipe, as they are printed", async (context) => {
  const example = await open(context, "shell");
  assert.equal(await example.runAll(), 6);
});

test("node: a worker says what it does", async (context) => {
  const example = await open(context, "node");
  assert.equal(await example.runAll(), 3);
});

test("node: without a daemon the worker works as well", async (context) => {
  const example = await open(context, "node");
  const command = example.blocks.find(({ text }) => text.startsWith("node ")).text;
  const printed = await example.run(`export BROADCASTD_INGEST=unix:$PWD/nobody; ${command} 2>/dev/null`);
  assert.match(printed, /^packed \d+ files of examples: \d+ to \d+ bytes\nevents: 0 sent, 0 rejected, \d+ dropped, 0 lost\n$/);
});

test("ag-ui: a run is produced and watched, every event as the published schemas have it", async (context) => {
  const example = await open(context, "ag-ui");
  assert.equal(await example.runAll(), 3);
  // Every type that the protocol has is taken, and none is left over.
  const { EventType } = await import("../../examples/ag-ui/node_modules/@ag-ui/core/dist/index.mjs");
  const types = Object.values(EventType);
  assert.ok(types.length > 30);
  const lines = types.map((type) => JSON.stringify({ type, n: 1 })).join("\n");
  const answer = await fetch(`http://${example.ports[9998]}/events?runId=r2`, { method: "POST", body: lines });
  assert.deepEqual(await answer.json(), { accepted: types.length, rejected: 0, errors: [] });
  const watched = await example.run(`broadcastd tail --no-follow run:r2 | jq -r .type`);
  assert.deepEqual(watched.trim().split("\n"), types);
});

test("ag-ui: who begins before the run has all of it", async (context) => {
  const example = await open(context, "ag-ui");
  const [run, watch] = example.blocks.filter(({ text }) => text.startsWith("node ")).map(({ text }) => text.replace("r1", "r3"));
  const watching = example.run(watch);
  // Its subscription stands before the run begins.
  const rooms = async () => (await (await fetch(`http://${example.ports[9997]}/api/v1/clients?room=run:r3`)).json()).clients.length;
  await until("the watcher", rooms);
  await example.run(run);
  assert.match(await watching, /^RUN_STARTED r3\n.*\nRUN_FINISHED r3\n$/s);
});

test("backend: a service says what it does over the Unix socket", async (context) => {
  const example = await open(context, "backend");
  await example.startStays();
  assert.equal(await example.runAll(), 1);
});

test("backend: systemd understands the unit beside the daemon's own", async (context) => {
  const example = await open(context, "backend");
  const printed = await example.run(`
    mkdir units
    sed "s,/opt/backend/,$PWD/examples/backend/," examples/backend/backend.service > units/backend.service
    sed "s,/usr/bin/broadcastd,$PWD/bin/broadcastd," ${repository}/systemd/broadcastd.service > units/broadcastd.service
    SYSTEMD_UNIT_PATH="$PWD/units:" systemd-analyze verify --man=no units/*.service 2>&1`);
  assert.equal(printed, "");
  // What the unit says is what the daemon's own unit and the producers know.
  const unit = await readFile(`${example.folder}/backend.service`, "utf8");
  const [, group] = unit.match(/^SupplementaryGroups=(.*)$/m);
  const [, user] = (await readFile(`${repository}/systemd/broadcastd.service`, "utf8")).match(/^Group=(.*)$/m);
  assert.equal(group, user);
});
