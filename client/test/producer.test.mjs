// Producers: against the real daemon, and against what is none: nobody, somebody who says nothing, somebody who hangs up.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import WebSocket from "ws";
import { BroadcastClient } from "../client.js";
import { createBroadcastIntegrations, Producer } from "../producer.js";
import { Daemon, DEADLINE_MS, HOST, Proxy, repository, until, upTo } from "./harness.mjs";

let daemon;
const cleanup = [];
const INGEST = { ingest: [`${HOST}:0`, "unix:ingest.sock"] };
before(async () => (daemon = await Daemon.start(undefined, INGEST)));
after(() => daemon.end());
afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end();
});

const socketPath = () => daemon.listen.ingest.find((addr) => addr.startsWith("unix:"));
const kinds = { http: () => `http://${daemon.ingest}`, tcp: () => `tcp://${daemon.ingest}`, unix: socketPath };

/** A producer that waits for its daemon as long as the test does, unless the test is about its deadline. */
function make(options) {
  const producer = new Producer({ deadline: DEADLINE_MS, ...options });
  cleanup.push(() => producer.close(0));
  return producer;
}

/** What arrives in a room. */
async function listen(to, room = "all") {
  const seen = [];
  const client = new BroadcastClient(to.url, { WebSocket, retry: { min: 5, max: 50 } });
  cleanup.push(() => client.close());
  await new Promise((resolve) => client.subscribe(room, (event) => seen.push(event), { onReady: resolve }));
  return seen;
}

async function listening(server, addr = { port: 0, host: "127.0.0.1" }) {
  await new Promise((resolve) => server.listen(addr, resolve));
  cleanup.push(() => new Promise((resolve) => { server.closeAllConnections?.(); server.close(resolve); }));
  return server.address().port;
}

for (const [kind, to] of Object.entries(kinds)) {
  test(`all helpers over ${kind}: what they send is what the daemon takes`, async () => {
    const seen = await listen(daemon);
    const errors = [];
    const begun = Date.now();
    const producer = make({ to: to(), agentId: "p", onError: (error) => errors.push(error) });
    assert.ok(producer.broadcastAgentState({ status: "busy", currentTask: "t" }));
    assert.ok(producer.broadcastPerformanceMetric({ metricName: "m", value: 1 }));
    assert.ok(producer.broadcastMemoryTimeline({ memoryId: "m", content: "c" }));
    assert.ok(producer.broadcastSystemAlert({ message: "m", severity: "warning" }));
    producer.startWorkflow("w", "one");
    producer.updateWorkflowProgress("w", "one", "parse", 40);
    producer.completeWorkflow("w", "one", { ok: true }, "another");
    producer.failWorkflow("w", "two", new Error("broken"));
    const before = Date.now();
    assert.equal(await producer.flush(), true);
    await until("all", () => seen.length === 9);
    assert.deepEqual(errors, []);
    assert.deepEqual(producer.stats(), { queued: 0, sent: 9, rejected: 0, dropped: 0, lost: 0, invalid: 0 });
    assert.ok(seen.every(({ timestamp }) => timestamp <= before && timestamp >= begun), "of when they happened");
    const stages = seen.filter(({ executionId }) => executionId === "one").map(({ agentId, stage, status, progress }) => `${agentId} ${stage} ${status} ${progress}`);
    assert.deepEqual(stages, ["p initialization running 0", "p parse running 40", "another completed completed 100"]);
    assert.deepEqual([seen.at(-2).status, seen.at(-2).error, seen.at(-1).component], ["failed", "broken", "workflow-engine"]);
    assert.ok(seen[0].resourceUsage.memory > 1);
  });

  test(`the daemon is away and comes back, over ${kind}: what happened meanwhile arrives, in order and once`, async () => {
    const own = await Daemon.start(undefined, INGEST);
    cleanup.push(() => own.end());
    const at = { http: `http://${own.ingest}`, tcp: `tcp://${own.ingest}`, unix: own.listen.ingest[1] }[kind];
    const producer = make({ to: at });
    producer.send({ type: "t", n: 0 });
    await producer.flush();
    await own.kill();
    await new Promise((resolve) => setTimeout(resolve, 50)); // the end of the old connection is seen
    for (const n of upTo(1000)) producer.send({ type: "t", n });
    await until("a failure", () => producer.stats().queued >= 500);
    await own.run();
    const seen = [];
    const client = new BroadcastClient(own.url, { WebSocket, retry: { min: 5, max: 50 } });
    cleanup.push(() => client.close());
    client.subscribe("all", ({ n }) => seen.push(n), { from: "start" });
    await until("all", () => seen.length === 1000);
    assert.deepEqual(seen, upTo(1000));
    assert.deepEqual([producer.stats().lost, producer.stats().dropped], [0, 0]);
  });
}

test("a daemon that hangs costs its deadline and the batch, never the program", async () => {
  const port = await listening(createTcpServer((socket) => socket.on("error", () => {}).resume()));
  const producer = make({ to: `http://127.0.0.1:${port}`, deadline: 100, queue: 1000 });
  for (const n of upTo(100_000)) producer.send({ type: "t", n });
  const { queued, dropped } = producer.stats();
  assert.deepEqual([queued, dropped], [1000, 99_000]);
  await until("a lost batch", () => producer.stats().lost >= 500);
  assert.equal(await producer.flush(10), false);
});

test("the oldest is dropped, by number and by size", async () => {
  const producer = make({ to: "http://127.0.0.1:1", queue: 3 });
  for (const n of upTo(10)) producer.send({ type: "t", n });
  assert.deepEqual([producer.stats().queued, producer.stats().dropped], [3, 7]);
  const narrow = make({ to: "http://127.0.0.1:1", queueChars: 1000 });
  for (const n of upTo(10)) narrow.send({ type: "t", n, text: "x".repeat(300) });
  assert.equal(narrow.stats().queued, 2);
});

test("what is no event is counted, and throws as little as a daemon that is away", async () => {
  const producer = make({ to: "nonsense://[", onError() { throw new Error("the program's own trouble"); } });
  const circular = { type: "t" };
  circular.self = circular;
  const hostile = { type: "t", toJSON() { throw new Error("no"); } };
  for (const bad of [null, undefined, 7, "t", [], {}, { type: 7 }, circular, { type: "t", n: 1n }, hostile, { get type() { throw new Error("no"); } }]) {
    assert.equal(producer.send(bad), false);
  }
  producer.completeWorkflow("w", "e", circular);
  assert.equal(producer.stats().invalid, 12);
  producer.startWorkflow("w", "e");
  producer.broadcastSystemAlert({ message: "m" });
  assert.equal(await producer.flush(50), false);
  assert.equal(await producer.close(10), false);
  assert.equal(producer.send({ type: "t" }), false);
  assert.equal(producer.stats().queued, 0);
});

test("a wrong call throws a TypeError that shows the right one, and sends nothing", async () => {
  const producer = make({ to: kinds.http() });
  const { agentState, workflowExecution, memoryTimeline, healthMonitor } = createBroadcastIntegrations(producer);
  const wrongs = [
    ["startWorkflow(workflowId, executionId, agentId?)", (call) => [call("w"), call("w", { stage: "one" }), call(7, "e"), call("w", "e", 7), call()], workflowExecution.startWorkflow],
    ["updateWorkflowProgress(workflowId, executionId, stage, progress, agentId?)", (call) => [call("e", 40, { stage: "two" }), call("w", "e", 50), call("w", "e", "s", "50"), call("w", "e", "s", NaN)], workflowExecution.updateWorkflowProgress],
    ["completeWorkflow(workflowId, executionId, result?, agentId?)", (call) => [call("e", { documents: 12 }), call("e")], workflowExecution.completeWorkflow],
    ["failWorkflow(workflowId, executionId, error, agentId?)", (call) => [call("e", new Error("broken")), call("w", "e")], workflowExecution.failWorkflow],
    ["broadcastAgentState({ agentId, status, currentTask?, resourceUsage?, metadata? })", (call) => [call("42", "busy"), call(), call(null), call(["a"])], (...values) => producer.broadcastAgentState(...values)],
    ["broadcastSystemAlert({ severity?, component?, message, details? })", (call) => [call("down")], (...values) => producer.broadcastSystemAlert(...values)],
    ["broadcastWorkflowUpdate({ workflowId, executionId, stage, status, progress?, … })", (call) => [call("w")], (...values) => producer.broadcastWorkflowUpdate(...values)],
    ["broadcastMemoryTimeline({ memoryId, action?, content?, importance?, tags? })", (call) => [call("m")], (...values) => producer.broadcastMemoryTimeline(...values)],
    ["broadcastPerformanceMetric({ metricName, value, unit?, category?, agentId? })", (call) => [call("m", 1)], (...values) => producer.broadcastPerformanceMetric(...values)],
    ["startStreaming(intervalMs?)", (call) => [call("5s"), call(0), call(2 ** 31)], (...values) => producer.startStreaming(...values)],
    ["reportAgentStateChange(agentId, status, metadata?)", (call) => [call("a"), call({ agentId: "a" }), call("a", "busy", "reading")], agentState.reportAgentStateChange],
    ["reportAgentError(agentId, error, details?)", (call) => [call("a"), call("a", "broken", "details")], agentState.reportAgentError],
    ["trackMemoryCreation(memoryId, content, importance, tags, agentId?)", (call) => [call("m", 0.5, []), call("m", "c", 0.5, "tag"), call("m", "c", "0.5", [])], memoryTimeline.trackMemoryCreation],
    ["trackMemoryAccess(memoryId, importance, tags, agentId?)", (call) => [call("m", "c", 0.5, [])], memoryTimeline.trackMemoryAccess],
    ["broadcastHealthAlert(severity, component, message, details?)", (call) => [call({ message: "m" }), call("info", "c", "m", "d")], healthMonitor.broadcastHealthAlert],
    ["broadcastServiceHealth(serviceName, health, responseTime?, details?)", (call) => [call("db", "fine"), call("db", "healthy", "12")], healthMonitor.broadcastServiceHealth],
  ];
  for (const [shown, calls, call] of wrongs) {
    calls((...values) => assert.throws(() => call(...values), (error) => error instanceof TypeError && error.message.endsWith(`call ${shown}`), `${shown}: ${JSON.stringify(values)}`));
  }
  assert.throws(() => new Producer("unix:ingest.sock"), /call new Producer\(\{ to\?/);
  for (const wrong of [null, "service", {}]) assert.throws(() => createBroadcastIntegrations(wrong), /call createBroadcastIntegrations\(getBroadcastService\(\)\)/);
  assert.equal(producer.stats().queued, 0);
});

test("what the daemon refused is counted, over every way, and the others arrive", async () => {
  const seen = await listen(daemon);
  for (const [kind, to] of Object.entries(kinds)) {
    const errors = [];
    seen.length = 0;
    const producer = make({ to: to(), onError: (error) => errors.push(error) });
    producer.send({ type: "t", n: 1 });
    for (let n = 0; n < 30; n += 1) producer.broadcastSystemAlert({ severity: "terrible", component: "c", message: "m" });
    producer.send({ type: "t", n: 2 });
    assert.equal(await producer.flush(), true);
    await until("the others", () => seen.length === 2);
    assert.match(errors[0].message + errors[0].path, /severity/, kind);
    assert.deepEqual(producer.stats(), { queued: 0, sent: 2, rejected: 30, dropped: 0, lost: 0, invalid: 0 }, kind);
  }
});

test("a listener that gives no answers: what it took counts as sent", async () => {
  const port = await listening(createTcpServer({ allowHalfOpen: true }, (socket) => socket.on("end", () => socket.end()).resume()));
  const producer = make({ to: `tcp://127.0.0.1:${port}` });
  for (const n of upTo(3)) producer.send({ type: "t", n });
  assert.equal(await producer.flush(), true);
  assert.deepEqual(producer.stats(), { queued: 0, sent: 3, rejected: 0, dropped: 0, lost: 0, invalid: 0 });
});

test("a daemon without room says which events it took, and the others are sent again", async () => {
  const bodies = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const data of request) body += data;
    const lines = body.trim().split("\n").map((line) => JSON.parse(line).n);
    bodies.push(lines);
    if (bodies.length > 1) return response.end(JSON.stringify({ accepted: lines.length, rejected: 0, errors: [] }));
    const errors = [{ line: 2, code: "bad_field" }, ...[4, 5, 6].map((line) => ({ line, code: "backlog_full" }))];
    response.writeHead(503, { "retry-after": "0" }).end(JSON.stringify({ accepted: 2, rejected: 4, errors }));
  });
  const producer = make({ to: `http://127.0.0.1:${await listening(server)}` });
  for (const n of upTo(6)) producer.send({ type: "t", n });
  await until("the rest", () => bodies.length === 2);
  await producer.flush();
  assert.deepEqual(bodies, [[1, 2, 3, 4, 5, 6], [4, 5, 6]]);
  assert.deepEqual(producer.stats(), { queued: 0, sent: 5, rejected: 1, dropped: 0, lost: 0, invalid: 0 });
});

test("a connection that breaks half-way: what may have arrived is not sent again", async () => {
  const proxy = await Proxy.to(daemon.ingest);
  cleanup.push(() => proxy.end());
  const seen = await listen(daemon);
  proxy.budget = () => (proxy.resets < 3 ? 1 : undefined);
  const producer = make({ to: `http://${proxy.addr}` });
  for (const n of upTo(20)) {
    producer.send({ type: "t", n });
    if (n % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
  }
  await until("the end", () => seen.at(-1)?.n === 20);
  await producer.flush();
  const { sent, lost } = producer.stats();
  assert.equal(sent + lost, 20);
  assert.ok(lost >= 3);
  const ns = seen.map(({ n }) => n);
  assert.equal(new Set(ns).size, ns.length, "none twice");
});

test("the process's figures are streamed until that is stopped", async () => {
  const seen = await listen(daemon, "performance_metrics");
  const producer = make({ to: kinds.http() });
  const stop = producer.startStreaming(20);
  await until("four", () => seen.length >= 4);
  stop();
  const { memory, cpu } = Object.fromEntries(seen.map(({ metricName, value }) => [metricName.split(".")[1], value]));
  assert.ok(memory > 1 && memory < 10_000 && cpu >= 0 && cpu < 1000, JSON.stringify(seen));
});

/** Runs a program that uses the module's functions; how it ended. One that is kept from ending is killed. */
async function run(program, to) {
  const code = `import * as broadcast from ${JSON.stringify(new URL("../producer.js", import.meta.url).href)};\n${program}`;
  const env = { ...process.env, BROADCASTD_INGEST: to };
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { env, stdio: "inherit", timeout: DEADLINE_MS });
  return new Promise((resolve) => child.once("exit", resolve));
}

test("a program that ends gives its last events, and is not kept by a daemon that is away or hangs", async () => {
  const seen = await listen(daemon);
  // Its own deadline, of two seconds, is short for a busy machine.
  const program = `broadcast.configure({ deadline: ${DEADLINE_MS / 2} }); broadcast.startStreaming(50); broadcast.broadcastAgentState({ agentId: "last", status: "idle" });`;
  const exit = await run(program, kinds.http());
  await until("the last", () => seen.some(({ agentId }) => agentId === "last"));
  assert.equal(exit, 0);
  const hanging = await listening(createTcpServer((socket) => socket.on("error", () => {}).resume()));
  for (const to of ["http://127.0.0.1:1", "tcp://127.0.0.1:1", "unix:/nowhere/at/all", `http://127.0.0.1:${hanging}`]) {
    assert.equal(await run(program.replace(/^.*?; /, ""), to), 0, to);
  }
});

test("the Python producer passes its own tests", { timeout: 900_000 }, async () => {
  const child = spawn("python3", [join(repository, "client/test/producer_test.py")], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, INGEST: daemon.ingest, INGEST_UNIX: socketPath().slice(5), CLIENTS: daemon.clients },
  });
  assert.equal(await new Promise((resolve) => child.once("exit", resolve)), 0);
});
