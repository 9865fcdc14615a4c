// The client in Node, with a WebSocket of the application's choice, against the real daemon.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { after, afterEach, before, test } from "node:test";
import { promisify } from "node:util";
import WebSocket from "ws";
import { BroadcastClient, createBasicClient, createMonitoringClient, createWorkflowClient, encodeValue, UniversalAIWebSocketClient } from "../client.js";
import { CONFIG, Daemon, DEADLINE_MS, Proxy, Pump, undisturbed, until, upTo } from "./harness.mjs";

let daemon;
const cleanup = [];
before(async () => (daemon = await Daemon.start()));
after(() => daemon.end());
afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end();
});

/** Reconnects as fast as a test wants it. */
const FAST = { min: 5, max: 50, stable: 0 };

function make(url = daemon.url, options = {}) {
  const client = new BroadcastClient(url, { WebSocket, retry: FAST, ...options });
  cleanup.push(() => client.close());
  return client;
}

/** Subscribes, and waits until the daemon has confirmed it. */
async function ready(client, room, handler, options = {}) {
  let stop;
  await new Promise((resolve, reject) => {
    stop = client.subscribe(room, handler, { ...options, onReady: resolve, onError: (error) => reject(new Error(error.message)) });
  });
  return stop;
}

const AGENT = { type: "agent_state", agentId: "w", status: "busy", resourceUsage: { cpu: 1, memory: 2, activeConnections: 3 } };
let agents = 0;
const someAgent = () => `agent-${(agents += 1)}`;

test("events arrive with their room, offset, number and source; what was there before is a replay", async () => {
  const agentId = someAgent();
  await daemon.publish({ type: "t", agentId, n: 1 }, { type: "t", agentId, n: 2 });
  const seen = [];
  await ready(make(), `agent:${agentId}`, (event, meta) => seen.push([event.n, meta]), { from: { last: 1 } });
  await daemon.publish({ type: "t", agentId, n: 3 });
  await until("both", () => seen.length === 2);
  const [[, replay], [, live]] = seen;
  assert.deepEqual(seen.map(([n]) => n), [2, 3]);
  assert.deepEqual([replay.room, replay.offset, replay.source], [`agent:${agentId}`, 2, "replay"]);
  assert.deepEqual([live.offset, live.source, live.seq > replay.seq], [3, "live", true]);
});

test("where is a condition or an object, and batches come whole to who wants them", async () => {
  const client = make();
  const seen = [];
  const batches = [];
  await ready(client, "all", ({ n }) => seen.push(n), { where: { type: "picked", n: [2, 4] } });
  await ready(client, "batched", () => assert.fail("the batch is for onBatch"), { onBatch: (events, meta) => batches.push([events.map(({ n }) => n), meta.offsets.length]) });
  await daemon.publish(...[1, 2, 3, 4].map((n) => ({ type: "picked", n })), ...[1, 2, 3].map((n) => ({ type: "batched", n })));
  await until("both rooms", () => seen.length === 2 && batches.length === 1);
  assert.deepEqual(seen, [2, 4]);
  assert.deepEqual(batches, [[[1, 2, 3], 3]]);
});

test("handlers of a room share one subscription, which ends with the last", async () => {
  const sent = [];
  const client = make(daemon.url, { debug: (_, direction, message) => direction === "→" && sent.push(message.type) });
  const room = `agent:${someAgent()}`;
  const seen = [];
  // As React does it in development: mounted, unmounted and mounted again before anything else happens.
  client.subscribe(room, () => seen.push("first"))();
  const stop = client.subscribe(room, () => seen.push("a"));
  const other = client.subscribe(room, () => seen.push("b"));
  await ready(client, "system_alerts", null);
  assert.deepEqual(sent, ["subscribe"]);
  await daemon.publish({ type: "t", agentId: room.slice(6) });
  await until("both", () => seen.length === 2);
  assert.deepEqual(seen, ["a", "b"]);
  stop();
  stop();
  await daemon.publish({ type: "t", agentId: room.slice(6) });
  await until("the other", () => seen.length === 3);
  assert.deepEqual(sent, ["subscribe"]);
  other();
  await until("the end", () => sent.includes("unsubscribe"));
  assert.throws(() => {
    client.subscribe(room, null, { where: { n: 1 } });
    client.subscribe(room, null);
  }, /other options/);
});

test("a handler that throws harms neither the others nor the position", async () => {
  const agentId = someAgent();
  const seen = [];
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  cleanup.push(() => delete globalThis.reportError);
  const client = make();
  await ready(client, `agent:${agentId}`, () => { throw new Error("oh"); });
  client.subscribe(`agent:${agentId}`, ({ n }) => seen.push(n));
  await daemon.publish({ type: "t", agentId, n: 1 }, { type: "t", agentId, n: 2 });
  await until("both", () => seen.length === 2);
  assert.deepEqual([seen, reported], [[1, 2], ["oh", "oh"]]);
  assert.match(client.positions()[`agent:${agentId}`], /:2$/);
});

const NO_SUBSCRIPTIONS = [
  [[undefined], /a room must be a name .* not undefined: call subscribe\(room, handler/],
  [[5], /not 5/], [[""], /not ""/], [[null], /not null/], [[{ rooms: ["a"] }], /not an object/], [[["a"]], /not a list/],
  [["all", { onBatch() {} }], /a handler must be a function or null, not an object/],
  [["all", null, "start"], /options must be an object, not "start"/],
  [["all", null, null], /options must be an object, not null/],
  [["all", null, { where: 5 }], /`where` .* not 5/], [["all", null, { where: ["a"] }], /not a list/], [["all", null, { where: () => true }], /`where`/],
  [["all", null, { every: true }], /`every` .* not true/], [["all", null, { every: NaN }], /not NaN/], [["all", null, { every: -1 }], /not -1/],
  [["all", null, { from: "beginning" }], /`from` .* not "beginning"/], [["all", null, { from: 5 }], /not 5/],
  [["all", null, { snapshot: "yes" }], /`snapshot` .* not "yes"/],
  [["x".repeat(70_000)], /under 20000 characters, not 700/],
  [["all", null, { where: "x".repeat(70_000) }], /under 20000 characters/],
];

test("a call that is no subscription throws a TypeError that shows the right one, and disturbs no other subscription", async () => {
  const client = make();
  const seen = [];
  const wrongs = (call, from) => {
    for (const [values, message] of NO_SUBSCRIPTIONS) {
      if (from === "room" && typeof values[1] === "object" && values[1]) continue;
      assert.throws(() => call(values), (error) => error instanceof TypeError && message.test(error.message.replace("room(room, {", "subscribe(room, handler, {")), `${from}: ${message}`);
    }
  };
  client.subscribe("all", ({ n }) => seen.push(n));
  wrongs((values) => client.subscribe(...values), "subscribe");
  await ready(client, `agent:${someAgent()}`, null);
  wrongs(([room, , options]) => client.room(room, options), "room");
  await daemon.publish({ type: "t", n: 1 });
  await until("the event", () => seen.length === 1);
  assert.throws(() => encodeValue(undefined), TypeError);
});

test("rooms beside a wrong call are subscribed to again after a reconnect", async () => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  const client = make(proxy.url);
  const seen = [];
  await ready(client, "system_alerts", ({ message }) => seen.push(message));
  const agentId = someAgent();
  assert.throws(() => client.subscribe(undefined, null), TypeError);
  await ready(client, `agent:${agentId}`, ({ n }) => seen.push(n));
  proxy.reset();
  await until("another connection", () => proxy.accepted === 2 && client.state.state === "open");
  await daemon.publish({ type: "system_alert", severity: "info", component: "c", message: "m" }, { type: "t", agentId, n: 1 });
  await until("both", () => seen.length === 2);
  assert.deepEqual(seen.sort(), [1, "m"]);
});

test("a ping asks at once, and the open state has the daemon's name of the connection", async () => {
  const sent = [];
  const client = make(daemon.url, { debug: (_, direction, message) => sent.push(`${direction} ${message?.type}`) });
  client.ping();
  await ready(client, "all", null);
  assert.match(client.state.client, /^\w+$/);
  client.ping();
  await until("the answer", () => sent.includes("← pong"));
});

test("a refused room is told with what would be right, to the subscription and to the client", async () => {
  const errors = [];
  const client = make(daemon.url, { onError: (error) => errors.push(error) });
  const own = await new Promise((resolve) => client.subscribe("agnet_states", null, { onError: resolve }));
  assert.equal(own.code, "unknown_room");
  assert.match(own.hint, /agent_states/);
  assert.deepEqual(errors, [own]);
  await assert.rejects(async () => { for await (const _ of client.room("nothing")) assert.fail(); }, /no room/);
});

test("a loop over a room: in order, with a bounded queue that says what it dropped, ended by break and by close", async () => {
  const agentId = someAgent();
  const client = make();
  const events = upTo(20).map((n) => ({ type: "t", agentId, n }));
  await daemon.publish(...events);
  const seen = [];
  for await (const { n } of client.room(`agent:${agentId}`, { from: "start" })) {
    seen.push(n);
    if (n === 20) break;
  }
  assert.deepEqual(seen, upTo(20));
  assert.deepEqual(client.positions(), {}, "the subscription ended with the loop");

  const gaps = [];
  const slow = client.room(`agent:${agentId}`, { from: "start", queue: 4, onGap: (gap) => gaps.push(gap) })[Symbol.asyncIterator]();
  const first = await slow.next();
  await until("all", () => client.positions()[`agent:${agentId}`]?.endsWith(":20"));
  const rest = [(await slow.next()).value.n, (await slow.next()).value.n];
  assert.deepEqual([first.value.n, ...rest], [1, 17, 18]);
  assert.deepEqual(gaps.map(({ first, offset, missed, reason }) => [first, offset, missed, reason]), [[2, 16, 15, "slow_consumer"]]);
  const idle = client.room("system_alerts")[Symbol.asyncIterator]().next();
  client.close();
  assert.equal((await idle).done, true);
});

/** What a subscription comes to: what `onSnapshot` or `onBatch` has first, or why the daemon refused it. */
const first = (client, room, options) =>
  new Promise((resolve) => client.subscribe(room, null, { ...options, onSnapshot: resolve, onBatch: resolve, onError: resolve }));

test("a snapshot and then the changes, where the daemon serves them; else it says that it does not", async (t) => {
  const states = ["idle", "busy"].map((status) => ({ ...AGENT, agentId: someAgent(), status }));
  await daemon.publish(...states, { ...states[0], status: "offline" });
  const found = await first(make(daemon.url, { onError() {} }), "agent_states", { snapshot: true });
  if (found.code === "unsupported") return t.diagnostic("this daemon has no snapshots");
  const status = new Map(found.map((it) => [it.agentId, it.status]));
  assert.deepEqual(states.map(({ agentId }) => status.get(agentId)), ["offline", "busy"]);
  assert.equal(status.size, found.length, "one of each");
});

test("a paced view gives everything of a room without a key, together, where the daemon serves it", async (t) => {
  const client = make(daemon.url, { onError() {} });
  const paced = first(client, "paced", { every: 300 });
  const refused = await Promise.race([paced, until("a confirmation", () => "paced" in client.positions())]);
  if (refused.code === "unsupported") return t.diagnostic("this daemon has no paced views");
  const seen = [];
  client.subscribe("paced", null, { every: 300, onBatch: (events) => seen.push(events.map(({ n }) => n)) });
  await daemon.publish(...upTo(20).map((n) => ({ type: "paced", n })));
  await until("all", () => seen.flat().at(-1) === 20);
  assert.deepEqual(seen.flat(), upTo(20));
  assert.ok(seen.length < 20, `${seen.length} deliveries`);
});

test("a gap says what cannot be given", async () => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  const gaps = [];
  const seen = [];
  const client = make(proxy.url);
  await ready(client, "short", ({ n }) => seen.push(n), { onGap: (gap) => gaps.push(gap) });
  client.close();
  await daemon.publish(...upTo(10).map((n) => ({ type: "short", n })));
  client.connect();
  await until("the newest", () => seen.includes(10));
  assert.deepEqual(seen, [8, 9, 10]);
  assert.deepEqual(gaps.map(({ reason, missed }) => [reason, missed]), [["history_expired", 7]]);
});

test("the daemon is killed and comes back: the client says so and goes on, and knows that it cannot know what it missed", async () => {
  const own = await Daemon.start();
  cleanup.push(() => own.end());
  const states = [];
  const gaps = [];
  const seen = [];
  const client = make(own.url, { onState: (state) => states.push(state), onGap: (gap) => gaps.push(gap) });
  await ready(client, "all", ({ n }) => seen.push(n));
  await own.publish({ type: "t", n: 1 });
  await until("the first", () => seen.length === 1);
  await own.kill();
  const waiting = await until("waiting", () => states.find(({ state, hint }) => state === "waiting" && hint));
  assert.match(waiting.hint, /is the daemon running/);
  await own.run();
  await until("a connection", () => client.state.state === "open" && gaps.length);
  assert.equal(gaps[0].reason, "epoch_changed");
  await own.publish({ type: "t", n: 2 });
  await until("the second", () => seen.length === 2);
  assert.deepEqual(seen, [1, 2]);
});

test("a daemon that stops in order says when to come back, and is obeyed", async () => {
  const own = await Daemon.start();
  cleanup.push(() => own.end());
  const states = [];
  const told = [];
  const client = make(own.url, { onState: (state) => states.push(state), debug: (_, way, message) => message?.type === "closing" && told.push(message) });
  await ready(client, "all", null);
  await own.kill("SIGTERM");
  const waiting = await until("waiting", () => states.find(({ state }) => state === "waiting"));
  assert.deepEqual([waiting.retryIn, waiting.code], [told[0].retry_after, 1001]);
});

// An answer that the machine delays for a second is none.
test("a network that swallows everything is noticed by a ping without an answer", () => undisturbed(async () => {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  const states = [];
  const seen = [];
  const agentId = someAgent();
  const client = make(proxy.url, { heartbeat: 1200, pongTimeout: 1000, connectTimeout: 500, onState: (state) => states.push(state) });
  await ready(client, `agent:${agentId}`, ({ n }) => seen.push(n));
  // Quiet, but alive: pings are answered.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  assert.deepEqual(states.map(({ state }) => state), ["connecting", "open"]);
  proxy.cut();
  await daemon.publish({ type: "t", agentId, n: 1 });
  const lost = await until("the loss", () => states.find(({ state }) => state === "waiting"));
  assert.match(lost.reason, /nothing was heard/);
  await until("an attempt that is not answered", () => states.some(({ reason }) => /no answer within/.test(reason)));
  proxy.heal();
  await until("what was missed", () => seen.length === 1);
  assert.deepEqual(seen, [1]);
}));

test("a machine that slept: awake it asks whether the way is open, and goes on if it is", async () => {
  // No heartbeat comes while the test waits.
  const own = await Daemon.start(CONFIG.replace("[server]", '[server]\nheartbeat = "1h"'));
  const proxies = [await Proxy.to(own.clients), await Proxy.to(own.clients)];
  cleanup.push(() => own.end(), () => Promise.all(proxies.map((proxy) => proxy.end())));
  const agentId = someAgent();
  // The way that is open has all the time that there is for its answer.
  const runs = proxies.map(({ url }, index) => {
    const program = `import { BroadcastClient } from ${JSON.stringify(new URL("../client.js", import.meta.url).href)};
      import WebSocket from ${JSON.stringify(import.meta.resolve("ws"))};
      const client = new BroadcastClient("${url}", { WebSocket, pongTimeout: ${index ? 500 : DEADLINE_MS}, retry: { min: 5, max: 50 }, onState: ({ state, reason }) => console.log(state, reason ?? "") });
      client.subscribe("agent:${agentId}", ({ n }) => console.log("event", n), { onReady: () => console.log("ready") });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    cleanup.push(() => child.kill("SIGKILL"));
    const run = { child, said: "" };
    child.stdout.setEncoding("utf8").on("data", (data) => (run.said += data));
    return run;
  });
  await until("both", () => runs.every(({ said }) => said.includes("ready")));
  for (const { child } of runs) child.kill("SIGSTOP");
  proxies[1].cut();
  proxies[1].heal();
  // Longer than it takes to look at the clock, and what counts as sleep; a third of a heartbeat.
  await new Promise((resolve) => setTimeout(resolve, 8000));
  for (const { child } of runs) child.kill("SIGCONT");
  await until("a new connection", () => runs[1].said.split("ready").length === 3);
  await own.publish({ type: "t", agentId, n: 1 });
  await until("it", () => runs.every(({ said }) => said.includes("event 1")));
  assert.match(runs[1].said, /waiting nothing was heard/);
  assert.doesNotMatch(runs[0].said, /waiting/);
});

test("nothing is missed or doubled over 1,000 forced reconnects", async () => {
  const own = await Daemon.start();
  const proxy = await Proxy.to(own.clients);
  cleanup.push(() => own.end(), () => proxy.end());
  // Anywhere: in the handshake's answer, in a frame's header, in the middle of an event.
  proxy.budget = () => (proxy.resets < 1000 ? 100 + Math.floor(Math.random() * 4000) : undefined);
  const gaps = [];
  const seen = { all: [], "agent:a": [] };
  const client = make(proxy.url, { retry: { min: 1, max: 4, stable: 0 }, transport: "websocket", onGap: (gap) => gaps.push(gap) });
  for (const room of Object.keys(seen)) client.subscribe(room, ({ n }) => seen[room].push(n), { from: "start" });
  const pump = new Pump(own, { type: "tick", agentId: "a" });
  const started = Date.now();
  for (let last = -1; proxy.resets < 1000; last = proxy.resets) {
    await until(`more resets than ${last}`, () => proxy.resets > last + 20 || proxy.resets >= 1000);
  }
  await pump.stop();
  await until("the last event", () => seen.all.at(-1) === pump.last && seen["agent:a"].at(-1) === pump.last);
  assert.deepEqual(seen.all, upTo(pump.last));
  assert.deepEqual(seen["agent:a"], upTo(pump.last));
  assert.deepEqual(gaps, []);
  console.log(`# ${proxy.resets} resets, ${pump.last} events in two rooms, ${Date.now() - started} ms`);
});

test("positions outlive the client where they are stored, except of what begins with a snapshot", async () => {
  const agentId = someAgent();
  const room = `agent:${agentId}`;
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const seen = [];
  const first = make(daemon.url, { storage });
  await ready(first, room, ({ n }) => seen.push(n));
  await daemon.publish({ type: "t", agentId, n: 1 });
  await until("one", () => seen.length === 1);
  first.close();
  await daemon.publish({ type: "t", agentId, n: 2 }, { type: "t", agentId, n: 3 });
  const second = make(daemon.url, { storage });
  second.subscribe(room, () => assert.fail("unmounted"))();
  await ready(second, room, ({ n }) => seen.push(n));
  await ready(second, room, null);
  await until("the rest", () => seen.length === 3);
  assert.deepEqual(seen, [1, 2, 3]);
  for (const bad of ["{", "7", '{"at":7}', "null", "[7]"]) {
    const odd = make(daemon.url, { storage: { getItem: () => bad, setItem() { throw new Error("full"); } } });
    await ready(odd, room, null);
    odd.close();
  }
});

test("hundreds of rooms at once, and more than the daemon lets in at a time", async () => {
  const own = await Daemon.start(`${CONFIG}\n[limits.client]\nrooms = 1000\nsubscriptions = { rate = "200/s", burst = 120 }\n`);
  cleanup.push(() => own.end());
  const client = make(own.url);
  const confirmed = new Set();
  const rooms = upTo(300).map((n) => `agent:${n}-${"x".repeat(90)}`);
  for (const room of rooms) client.subscribe(room, null, { onReady: () => confirmed.add(room) });
  await until("all of them", () => confirmed.size === rooms.length);
});

test("components that subscribe one by one, faster than the daemon takes it, all get their rooms", async () => {
  const own = await Daemon.start(`${CONFIG}\n[limits.client]\nsubscriptions = { rate = "100/s", burst = 5 }\n`);
  cleanup.push(() => own.end());
  const client = make(own.url, { onError: (error) => assert.fail(JSON.stringify(error)) });
  const confirmed = new Set();
  await ready(client, "all", null);
  for (let n = 0; n < 60; n += 1) {
    client.subscribe(`agent:c${n}`, null, { onReady: () => confirmed.add(n) });
    await Promise.resolve().then(() => Promise.resolve()); // a message of its own
  }
  await until("all to be confirmed", () => confirmed.size === 60);
});

test("an aborted signal ends a subscription; close ends everything, and connect goes on", async () => {
  const client = make();
  const controller = new AbortController();
  await ready(client, "all", null, { signal: controller.signal });
  assert.ok("all" in client.positions());
  controller.abort();
  assert.deepEqual(client.positions(), {});
  client.close();
  assert.equal(client.state.state, "closed");
  client.connect();
  await until("open", () => client.state.state === "open");
});

test("attempts are counted, and after the last the client is closed", async () => {
  const states = [];
  // Nobody listens at port 1.
  const client = make("ws://127.0.0.1:1/ws", { retry: { min: 1, max: 2, attempts: 3 }, onState: (state) => states.push(state) });
  client.subscribe("all", null);
  const closed = await until("closed", () => states.find(({ state }) => state === "closed"));
  assert.equal(closed.attempt, 3);
  assert.equal(states.filter(({ state }) => state === "connecting").length, 4);
  assert.match(closed.hint, /nothing answers/);
});

test("addresses are taken as people write them", async () => {
  for (const url of [`http://${daemon.clients}`, `ws://${daemon.clients}/`, new URL(`http://${daemon.clients}/ws`)]) await ready(make(url), "all", null);
  assert.equal(encodeValue("a/b:c%*\n"), "a%2Fb%3Ac%25%2A%0A");
  await daemon.publish({ type: "t", agentId: "a/b:c", n: 1 });
  const seen = [];
  await ready(make(), `agent:${encodeValue("a/b:c")}`, ({ n }) => seen.push(n), { from: "start" });
  await until("it", () => seen.length);
});

const FIVE = [
  AGENT,
  { type: "performance_metric", metricName: "m", value: 1, unit: "ms", category: "agent" },
  { type: "workflow_execution", workflowId: "w/1", executionId: "x", stage: "s", status: "running" },
  { type: "memory_timeline", memoryId: "m", action: "created", importance: 1, tags: [] },
  { type: "system_alert", severity: "info", component: "c", message: "m" },
];

test("the helpers of the replaced service: every callback by its name", async () => {
  const seen = {};
  const names = ["onConnect", "onDisconnect", "onAgentState", "onPerformanceMetrics", "onWorkflowUpdate", "onMemoryTimeline", "onSystemAlert", "onError", "onSubscriptionConfirmed", "onSubscriptionError"];
  const callbacks = Object.fromEntries(names.map((name) => [name, (value) => (seen[name] ??= []).push(value)]));
  const rooms = ["agent_states", "performance_metrics", "workflow_executions", "memory_timeline", "system_alerts", "nothing"];
  const client = new UniversalAIWebSocketClient({ serverUrl: `http://${daemon.clients}`, autoConnect: false, retryAttempts: 5, retryDelay: 10, subscriptions: rooms, debug: false, WebSocket, ...callbacks });
  cleanup.push(() => client.disconnect());
  assert.equal(client.isConnected(), false);
  assert.deepEqual(seen, {});
  client.connect();
  await until("confirmations", () => seen.onSubscriptionConfirmed && seen.onSubscriptionError);
  assert.deepEqual(seen.onSubscriptionConfirmed.map(({ subscriptions }) => subscriptions), [rooms.slice(0, 5)]);
  await daemon.publish(...FIVE);
  await until("all five", () => ["onAgentState", "onPerformanceMetrics", "onWorkflowUpdate", "onMemoryTimeline", "onSystemAlert"].every((name) => seen[name]?.length === 1));
  assert.equal(seen.onAgentState[0].agentId, "w");
  assert.equal(seen.onPerformanceMetrics[0][0].metricName, "m");
  assert.equal(seen.onSubscriptionError[0].room, "nothing");
  client.unsubscribe("agent_states");
  client.subscribe("agent:w");
  await until("another room", () => seen.onSubscriptionConfirmed.length === 2);
  await daemon.publish(AGENT);
  await until("another", () => seen.onAgentState.length === 2);
  client.disconnect();
  assert.deepEqual([seen.onConnect.length, seen.onDisconnect.length, seen.onError], [1, 1, undefined]);
});

test("the helpers of the replaced service: basic, monitoring, one workflow", async () => {
  const told = [];
  const updates = [];
  const states = [];
  const confirmed = [];
  const options = { WebSocket, onSubscriptionConfirmed: ({ subscriptions }) => confirmed.push(...subscriptions) };
  const clients = [
    createBasicClient(daemon.url, { ...options, onAgentState: (state) => states.push(state) }),
    createMonitoringClient(daemon.url, (...values) => told.push(values), options),
    createWorkflowClient(daemon.url, "w/1", (update) => updates.push(update.stage), options),
  ];
  cleanup.push(() => clients.forEach((client) => client.disconnect()));
  await until("all subscriptions", () => confirmed.length === 6);
  await daemon.publish(...FIVE, { ...FIVE[2], workflowId: "other" });
  await until("all", () => told.length === 3 && updates.length && states.length);
  assert.deepEqual(told.map(([type]) => type).sort(), ["agent_state", "performance_metrics", "system_alert"]);
  assert.deepEqual(updates, ["s"]);
});

test("Node's own WebSocket, where it has one", async () => {
  const program = `import { BroadcastClient } from ${JSON.stringify(new URL("../client.js", import.meta.url).href)};
    const client = new BroadcastClient("${daemon.url}");
    for await (const event of client.room("agent:own", { from: "start" })) { console.log(event.n, client.state.transport); break; }
    client.close();`;
  await daemon.publish({ type: "t", agentId: "own", n: 17 });
  const flags = Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-websocket"] : [];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, "--input-type=module", "-e", program], { timeout: DEADLINE_MS });
  assert.equal(stdout, "17 websocket\n");
});
