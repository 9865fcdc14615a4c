// Server-Sent Events, snapshots and paced views: against a stand-in always, and against the daemon as far as it answers.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import WebSocket from "ws";
import { BroadcastClient } from "../client.js";
import { CONFIG, Daemon, DEADLINE_MS, Proxy, undisturbed, until, upTo } from "./harness.mjs";
import { StandIn } from "./stand-in.mjs";

const BEATING = CONFIG.replace("[server]", '[server]\nheartbeat = "100ms"');
const FAST = { min: 2, max: 20, stable: 0 };
const cleanup = [];
afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end();
});

function make(url, options = {}) {
  const client = new BroadcastClient(url, { WebSocket, retry: FAST, ...options });
  cleanup.push(() => client.close());
  return client;
}

const probe = await Daemon.start();
const { status } = await fetch(`http://${probe.clients}/sse?room=all`, { signal: AbortSignal.timeout(DEADLINE_MS) });
const asked = (await fetch(`http://${probe.clients}/client.js`)).ok;
await probe.end();
assert.ok(asked, "the daemon that is tested is this tree's");
const servers = [["a stand-in", StandIn]];
if (status === 200) servers.push(["the daemon", Daemon]);

for (const [name, kind] of servers) {
  describe(`SSE from ${name}`, () => {
    let server;
    before(async () => (server = await kind.start(BEATING)));
    after(() => server.end());
    const addr = () => new URL(server.url).host;
    let agents = 0;

    test("events arrive, from where it was asked for", async () => {
      const agentId = `a${(agents += 1)}`;
      await server.publish({ type: "t", agentId, n: 1 }, { type: "t", agentId, n: 2 });
      const client = make(server.url, { transport: "sse" });
      const seen = [];
      client.subscribe(`agent:${agentId}`, ({ n, text }, { offset, room }) => seen.push([n, offset, room, text]), { from: "start" });
      await until("both", () => seen.length === 2);
      await server.publish({ type: "t", agentId, n: 3, text: "\u2028 ü \u{1f600} \\n" });
      await until("the third", () => seen.length === 3);
      assert.deepEqual(seen, [1, 2, 3].map((n) => [n, n, `agent:${agentId}`, n === 3 ? "\u2028 ü \u{1f600} \\n" : undefined]));
      assert.deepEqual([client.state.state, client.state.transport], ["open", "sse"]);
    });

    test("rooms that come and go, with conditions of their own", async () => {
      const [one, two] = [`a${(agents += 1)}`, `a${(agents += 1)}`];
      const client = make(server.url, { transport: "sse" });
      const seen = [];
      const note = ({ n }, { room }) => seen.push(`${room}=${n}`);
      const ready = (room, options) => new Promise((resolve) => ready.stops.push(client.subscribe(room, note, { ...options, onReady: resolve })));
      ready.stops = [];
      await Promise.all([ready(`agent:${one}`), ready(`agent:${two}`, { where: { n: [1, 3] } })]);
      if (kind === StandIn) assert.equal(server.asked.at(-1).get("where"), '{"n":[1,3]}');
      await server.publish({ type: "t", agentId: one, n: 1 }, { type: "t", agentId: two, n: 1 });
      await until("one each", () => seen.length === 2);
      ready.stops[0]();
      await ready("all");
      await server.publish({ type: "t", agentId: one, n: 2 });
      await until("it in all", () => seen.includes("all=2"));
      assert.ok(!seen.includes(`agent:${one}=2`));
      await ready(`agent:${one}`, { from: "start" });
      await until("from the start", () => seen.filter((it) => it.startsWith(`agent:${one}=`)).length === 3);
    });

    test("nothing is missed or doubled over resets, in rooms that share a stream and in others", async () => {
      const proxy = await Proxy.to(addr());
      cleanup.push(() => proxy.end());
      proxy.budget = () => (proxy.resets < 100 ? 100 + Math.floor(Math.random() * 4000) : undefined);
      const agentId = `a${(agents += 1)}`;
      const rooms = { all: {}, [`agent:${agentId}`]: { where: 'type == "tick"' } };
      const seen = {};
      const gaps = [];
      const client = make(proxy.url, { transport: "sse", onGap: (gap) => gaps.push(gap) });
      for (const [room, options] of Object.entries(rooms)) {
        seen[room] = [];
        client.subscribe(room, (event) => event.agentId === agentId && seen[room].push(event.n), { ...options, from: "start" });
      }
      let last = 0;
      while (proxy.resets < 100) {
        await server.publish(...[1, 2, 3].map((n) => ({ type: "tick", agentId, n: last + n })));
        last += 3;
        await new Promise(setImmediate);
      }
      await until("the last", () => Object.values(seen).every((it) => it.at(-1) === last));
      for (const [room, ns] of Object.entries(seen)) assert.deepEqual(ns, upTo(last), room);
      assert.deepEqual(gaps, []);
    });

    test("over a reload the positions are kept", async () => {
      const agentId = `a${(agents += 1)}`;
      const kept = new Map();
      const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
      const seen = [];
      const load = () => {
        const client = make(server.url, { transport: "sse", storage });
        for (const room of [`agent:${agentId}`, "all"]) client.subscribe(room, ({ n }) => seen.push(`${room}=${n}`), { from: "now" });
        return client;
      };
      const first = load();
      await until("both positions", () => Object.keys(first.positions()).length === 2);
      first.close();
      await server.publish({ type: "t", agentId, n: 1 });
      load();
      await until("both", () => seen.length === 2);
      assert.deepEqual(seen.sort(), [`agent:${agentId}=1`, "all=1"]);
      if (kind === StandIn) assert.equal(server.asked.at(-1).getAll("room").length, 2, "in one stream again");
    });

    // Heartbeats that the machine delays for two seconds stay away as well.
    test("a path that is dead is noticed by the heartbeats that stay away", () => undisturbed(async () => {
      const proxy = await Proxy.to(addr());
      cleanup.push(() => proxy.end());
      const agentId = `a${(agents += 1)}`;
      const states = [];
      const seen = [];
      const client = make(proxy.url, { transport: "sse", heartbeat: 1000, onState: (state) => states.push(state) });
      await new Promise((resolve) => client.subscribe(`agent:${agentId}`, ({ n }) => seen.push(n), { onReady: resolve }));
      // Quiet, but alive: more than two heartbeats of the client pass, in which nothing but comments comes.
      await new Promise((resolve) => setTimeout(resolve, 2500));
      assert.deepEqual(states.map(({ state }) => state), ["connecting", "open"]);
      proxy.cut();
      await server.publish({ type: "t", agentId, n: 1 });
      const lost = await until("the loss", () => states.find(({ state }) => state === "waiting"));
      assert.match(lost.reason, /nothing was heard/);
      proxy.heal();
      await until("what was missed", () => seen.length === 1);
    }));
  });
}

describe("where WebSockets do not get through", () => {
  let server;
  before(async () => (server = await StandIn.start()));
  after(() => server.end());

  test("Server-Sent Events do, and WebSockets are not tried again for a while", async () => {
    server.websockets = false;
    const states = [];
    const client = make(server.url, { onState: ({ state, transport }) => states.push(`${state} ${transport}`) });
    const seen = [];
    client.subscribe("all", ({ n }) => seen.push(n), { from: "start" });
    await server.publish({ type: "t", n: 1 });
    await until("it", () => seen.length === 1);
    assert.deepEqual(states, ["connecting websocket", "connecting sse", "open sse"]);
    server.cut();
    await server.publish({ type: "t", n: 2 });
    await until("the next", () => seen.length === 2);
    assert.deepEqual(states.slice(3), ["waiting null", "connecting sse", "open sse"]);
  });

  test("a client that had a WebSocket does not give it up for a daemon that was away", async () => {
    server.websockets = true;
    const client = make(server.url, { heartbeat: 10_000 });
    const states = [];
    await new Promise((resolve) => client.subscribe("all", null, { onReady: resolve }));
    client.onState(({ state, transport, hint }) => states.push([state, transport, hint]));
    server.websockets = false;
    server.cut();
    const [, , hint] = await until("the hint", () => states.find(([state, , hint]) => state === "waiting" && hint));
    assert.match(hint, /refuses the connection.*proxy/);
    assert.ok(!states.some(([, transport]) => transport === "sse"));
    server.websockets = true;
    await until("a WebSocket", () => client.state.state === "open");
    assert.equal(client.state.transport, "websocket");
  });

  test("without any WebSocket at all it is the same, and where SSE is refused the reason says what to take", async () => {
    const global = globalThis.WebSocket;
    delete globalThis.WebSocket;
    cleanup.push(() => global && (globalThis.WebSocket = global));
    const client = make(server.url, { WebSocket: undefined });
    await new Promise((resolve) => client.subscribe("all", null, { onReady: resolve }));
    assert.equal(client.state.transport, "sse");
    server.refuse = () => ({ status: 404, headers: { "content-type": "application/problem+json" }, body: '{"detail":"/sse is not served"}' });
    cleanup.push(() => (server.refuse = () => undefined));
    const states = [];
    const other = make(server.url, { WebSocket: undefined, onState: (state) => states.push(state) });
    other.subscribe("all", null);
    const waiting = await until("waiting", () => states.find(({ state }) => state === "waiting"));
    assert.deepEqual([waiting.status, waiting.reason], [404, "/sse is not served"]);
    assert.match(waiting.hint, /options.WebSocket/);
  });

  test("a stream that is refused: the rooms' fault is told to them, Retry-After is obeyed", async () => {
    cleanup.push(() => (server.refuse = () => undefined));
    const headers = { "content-type": "text/plain" };
    server.refuse = (query) =>
      query.get("where") ? { status: 400, headers, body: "no condition\n" }
        : query.getAll("room").includes("lost") && { status: 404, headers, body: "no room has the name lost\n" };
    const client = make(server.url, { transport: "sse", onError() {} });
    const seen = [];
    for (const room of ["all", "agent:1", "agent:2"]) client.subscribe(room, ({ n }) => seen.push(n), { onError: assert.fail });
    const unknown = await new Promise((resolve) => client.subscribe("lost", null, { onError: resolve }));
    assert.deepEqual([unknown.room, unknown.code, unknown.message], ["lost", "unknown_room", "no room has the name lost"]);
    const error = await new Promise((resolve) => client.subscribe("agent:3", null, { where: "=", onError: resolve }));
    assert.deepEqual(error, { code: "bad_field", message: "no condition", hint: undefined, room: "agent:3" });
    const within = await new Promise((resolve) => client.subscribe("nothing", null, { onError: resolve }));
    assert.equal(within.code, "unknown_room");
    await server.publish({ type: "t", n: 7 });
    await until("the other room", () => seen.length);
    server.refuse = () => ({ status: 503, headers: { "retry-after": "3" }, body: "busy" });
    server.cut();
    await until("the wait", () => client.state.retryIn === 3000);
    assert.equal(client.state.status, 503);
  });

  test("no stream is kept for nobody, and a client without rooms is open", async () => {
    const states = [];
    const client = make(server.url, { transport: "sse", heartbeat: 300, onState: ({ state }) => states.push(state) });
    const stop = client.subscribe("all", null);
    await until("a stream", () => server.sessions.size === 1);
    stop();
    await until("its end", () => server.sessions.size === 0);
    await until("it to be open", () => client.state.state === "open");
    states.length = 0;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(states, [], "without a stream no heartbeat is missed");
    const idle = make(server.url, { transport: "sse" });
    idle.connect();
    assert.equal(idle.state.state, "open");
  });
});

for (const transport of ["websocket", "sse"]) {
  describe(`snapshots over ${transport}`, () => {
    let server;
    before(async () => {
      server = await StandIn.start();
      for (let n = 1; n <= 10; n += 1) await server.publish({ type: "state", agentId: `x${n % 5}`, n });
    });
    after(() => server.end());

    test("the newest of every key at once, then every change; cut between pages it begins anew", async () => {
      server.cutSnapshots = 2;
      const told = [];
      const client = make(server.url, { transport });
      client.subscribe("all", ({ n }, { source }) => told.push([source, n]), {
        snapshot: true,
        onSnapshot: (events, { room, offset }) => told.push([room, offset, events.map(({ n }) => n).sort((a, b) => a - b)]),
      });
      await until("the snapshot", () => told.length === 1);
      await server.publish({ type: "state", agentId: "x1", n: 11 });
      await until("the change", () => told.length === 2);
      assert.deepEqual(told, [["all", 10, [6, 7, 8, 9, 10]], ["live", 11]]);
      server.cut();
      await server.publish({ type: "state", agentId: "x2", n: 12 });
      await until("what was missed", () => told.length === 3);
      assert.deepEqual(told[2], ["replay", 12]);
    });

    test("without onSnapshot its events go to the handler", async () => {
      const told = [];
      make(server.url, { transport }).subscribe("all", ({ n }, { source, offset, seq }) => told.push([source, offset, seq, n]), { snapshot: true });
      await until("five", () => told.length === 5);
      assert.ok(told.every(([source, offset, seq]) => source === "snapshot" && offset === 12 && seq === null));
    });
  });
}
