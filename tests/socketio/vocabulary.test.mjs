// The words of the service, to the official clients over every way that they know.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { CLIENTS, CONFIG, Client, EVENTS, NEWEST, WAYS, daemon, endAll, metric, until } from "./harness.mjs";

afterEach(endAll);

for (const library of CLIENTS) {
  for (const [name, { options, ends }] of Object.entries(WAYS)) {
    const title = `client ${library.version}, ${name}`;

    test(`${title}: an unmodified front end of the service works`, async () => {
      const server = await daemon();
      const client = new Client(server.clients, { library, ...options });
      const established = await client.had("connection_established");
      assert.deepEqual(client.life, ["connect"]);
      assert.equal(established.socketId, client.socket.id);
      assert.ok(Math.abs(established.timestamp - Date.now()) < 60_000);
      assert.ok(established.availableRooms.includes("agent_states"));
      assert.equal(client.log[0][0], "connection_established");
      await until(`the client to use ${ends}`, () => client.way === ends);

      const rooms = ["agent_states", "performance_metrics", "workflow_executions", "memory_timeline", "system_alerts"];
      const confirmed = await client.subscribe({ rooms });
      assert.deepEqual(confirmed.subscriptions, rooms);
      assert.equal(typeof confirmed.timestamp, "number");

      await server.publish(...Object.values(EVENTS));
      for (const [type, event] of Object.entries(EVENTS)) assert.deepEqual(await client.had(type), event);

      const metrics = [1, 2, 3].map((n) => metric(n));
      await server.publish(...metrics);
      assert.deepEqual(await client.had("performance_metrics_batch"), metrics);

      client.socket.emit("ping");
      assert.equal(typeof (await client.had("pong")).timestamp, "number");

      client.socket.emit("unsubscribe", ["agent_states"]);
      assert.deepEqual((await client.had("unsubscription_confirmed")).unsubscribed, ["agent_states"]);
      await server.publish(EVENTS.agent_state, EVENTS.system_alert);
      await client.had("system_alert");
      assert.equal(client.all("agent_state").length, 1);
      assert.equal(client.all("error").length + client.all("subscription_error").length, 0);
      assert.deepEqual(client.life, ["connect"]);
    });

    test(`${title}: answers are acknowledged, and mistakes are answered`, async () => {
      const server = await daemon();
      const client = await Client.to(server.clients, { library, ...options });
      const answer = await client.ask("subscribe", { rooms: ["agent_states", "agent:42"] });
      assert.deepEqual(answer.subscriptions, ["agent_states", "agent:42"]);
      assert.equal(typeof (await client.ask("ping")).timestamp, "number");
      assert.deepEqual((await client.ask("unsubscribe", ["agent:42"])).unsubscribed, ["agent:42"]);

      const wrong = await client.ask("subscribe", { rooms: ["no such room"] });
      assert.deepEqual(await client.had("subscription_error"), wrong);
      assert.equal(wrong.room, "no such room");
      assert.equal(wrong.code, "unknown_room");

      const half = await client.ask("subscribe", { rooms: ["nothing", "system_alerts"] });
      assert.deepEqual(half.subscriptions, ["system_alerts"]);
      assert.equal(half.errors[0].room, "nothing");

      assert.equal((await client.ask("subscribe")).code, "bad_field");
      assert.equal((await client.ask("publish", { a: 1 })).code, "unknown_type");
      // Binary packets come in pieces, over polling in base64.
      assert.equal((await client.ask("upload", Buffer.from([1, 2]), { deep: [Buffer.alloc(300)] })).code, "unknown_type");
      assert.equal((await client.ask("ping", Buffer.alloc(1))).timestamp > 0, true);
      assert.equal(client.all("error").length, 2);
      assert.deepEqual(client.life, ["connect"]);
    });

    test(`${title}: an event in two rooms comes twice, and of agents and metrics that were filtered nothing`, async () => {
      const server = await daemon();
      const client = await Client.to(server.clients, { library, ...options });
      await client.subscribe({ rooms: ["agent_states", "agent:42"] });
      await server.publish(EVENTS.agent_state);
      await client.had("agent_state");
      await client.had("agent_state");

      const filtered = await Client.to(server.clients, { library, ...options });
      await filtered.subscribe({ rooms: ["agent_states"], agentFilters: ["7", "8"] });
      await filtered.subscribe({ rooms: ["performance_metrics"], metricFilters: ["memory"] });
      for (const agentId of ["42", "7", "9", "8"]) await server.publish({ ...EVENTS.agent_state, agentId });
      assert.equal((await filtered.had("agent_state")).agentId, "7");
      assert.equal((await filtered.had("agent_state")).agentId, "8");
      await server.publish(metric(1), metric(2, { metricName: "memory" }), metric(3));
      assert.deepEqual((await filtered.had("performance_metrics_batch")).map(({ value }) => value), [2]);
      assert.equal(filtered.all("agent_state").length, 2);
      await until("twice of one agent, once of the others", () => client.all("agent_state").length === 2 + 2 + 3);
    });

    test(`${title}: a client that leaves is gone at once`, async () => {
      const server = await daemon();
      const client = await Client.to(server.clients, { library, ...options });
      await until(`the client to use ${ends}`, () => client.way === ends);
      const clients = async () => (await (await fetch(`http://${server.admin}/api/v1/clients`)).json()).clients;
      assert.equal((await clients()).length, 1);
      client.socket.disconnect();
      await until("the client to be gone", async () => (await clients()).length === 0);
      client.socket.connect();
      await client.had("connection_established");
      assert.deepEqual(client.life, ["connect", "disconnect: io client disconnect", "connect"]);
    });
  }
}

test("an event named like one of the daemon's or the library's own is emitted as event", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  await client.subscribe({ rooms: ["all"] });
  const own = ["gap", "closing", "error", "position", "pong", "connection_established", "subscription_confirmed", "subscription_error",
    "unsubscription_confirmed", "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
  const told = client.log.length;
  await server.publish(...own.map((type) => ({ type, room: "all", timestamp: 1 })));
  await until("all of them", () => client.log.length === told + own.length);
  assert.deepEqual(client.log.slice(told).map(([name, event]) => [name, event.type]), own.map((type) => ["event", type]));
  assert.deepEqual(client.life, ["connect"]);
});

test("a list with something that names no room subscribes to the rooms that it names", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  client.socket.emit("subscribe", ["agent_states", null]);
  assert.deepEqual((await client.had("subscription_confirmed")).subscriptions, ["agent_states"]);
  const error = await client.had("subscription_error");
  assert.deepEqual([error.code, error.index], ["bad_field", 1]);
  assert.match(error.error, /rooms\[1\].*`null`/);
  await server.publish(EVENTS.agent_state);
  assert.deepEqual(await client.had("agent_state"), EVENTS.agent_state);

  const answer = await client.ask("unsubscribe", [5, "agent_states"]);
  assert.deepEqual([answer.unsubscribed, answer.errors.map(({ index }) => index)], [["agent_states"], [0]]);
  assert.equal((await client.had("error")).index, 0);
  assert.equal((await client.ask("subscribe", undefined)).code, "bad_field");
  assert.deepEqual(client.life, ["connect"]);
});

test("a value that is not encoded is refused with the name that its room has", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  for (const [name, meant] of [["agent:a/b", "agent:a%2Fb"], ["agent:urn:x:7", "agent:urn%3Ax%3A7"]]) {
    const { code, hint } = await client.ask("subscribe", name);
    assert.deepEqual([code, hint], ["unknown_room", `did you mean "${meant}"?`]);
    await client.subscribe(meant);
  }
  await server.publish({ type: "tick", n: 1, agentId: "a/b" }, { type: "tick", n: 2, agentId: "urn:x:7" });
  await until("both", () => client.numbers.length === 2);
});

test("how often a client wants to know is a pace", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  await client.subscribe({ rooms: ["all"], updateFrequency: 300 });
  const begun = Date.now();
  for (let n = 1; n <= 5; n += 1) await server.publish({ type: "tick", n });
  await until("all of them", () => client.numbers.length === 5);
  assert.deepEqual(client.numbers, [1, 2, 3, 4, 5]);
  assert.ok(Date.now() - begun >= 250, "they were held back");
});

const BOARD = CONFIG.replace("[rooms.agent_states]", '[rooms.agent_states]\nkey = "agentId"\nsnapshot = true');
const states = (client) => client.all("agent_state").map(([{ agentId, status }]) => `${agentId} ${status}`);

test("a room with a snapshot begins with the newest of every key", async () => {
  const server = await daemon(BOARD);
  const state = (agentId, status) => ({ ...EVENTS.agent_state, agentId, status });
  await server.publish(state("1", "idle"), state("2", "idle"), state("1", "busy"));
  const client = await Client.to(server.clients);
  await client.subscribe({ rooms: ["agent_states"] });
  await until("the newest", () => states(client).length === 2);
  await server.publish(state("2", "error"));
  await until("what comes after", () => states(client).length === 3);
  assert.deepEqual(states(client), ["2 idle", "1 busy", "2 error"]);
});

test("what is configured holds: names, rooms to begin with, other words, unknown events", async () => {
  const server = await daemon(CONFIG.replace("watch = false", `watch = false
[socketio]
path = "/live/"
namespaces = ["/", "/admin"]
join = "join"
leave = "leave"
auto_join = ["system_alerts"]
unknown_emit = "ignore"
names = { agent_states = "agents", performance_metrics = "metrics" }`));
  const client = await Client.to(server.clients, { path: "/live" });
  assert.deepEqual((await client.had("subscription_confirmed")).subscriptions, ["system_alerts"]);
  await server.publish(EVENTS.system_alert);
  assert.deepEqual(await client.had("system_alert"), EVENTS.system_alert);
  assert.deepEqual((await client.ask("join", ["agent_states", "performance_metrics"])).subscriptions, ["agent_states", "performance_metrics"]);
  await server.publish(EVENTS.agent_state, metric(1), metric(2), metric(3));
  assert.deepEqual(await client.had("agents"), EVENTS.agent_state);
  assert.equal((await client.had("metrics")).length, 3);
  client.socket.emit("subscribe", { rooms: ["all"] });
  client.socket.emit("something");
  assert.deepEqual((await client.ask("leave", "agent_states")).unsubscribed, ["agent_states"]);
  assert.equal(client.all("error").length, 0);
  const figures = await (await fetch(`http://${server.admin}/metrics`)).text();
  assert.match(figures, /ignored_emits\S* 2\n/);

  const elsewhere = new Client(server.clients);
  await until("a refusal", () => elsewhere.life.length > 0);
  assert.ok(elsewhere.life[0].startsWith("connect_error"), elsewhere.life[0]);
});

test("namespaces share a connection and nothing else", async () => {
  const server = await daemon(CONFIG.replace("watch = false", 'watch = false\n[socketio]\nnamespaces = ["/", "/admin"]'));
  const main = await Client.to(server.clients);
  const admin = main.socket.io.socket("/admin");
  // The library asks twice then: it has asked already.
  admin.connect();
  const log = [];
  admin.onAny((...event) => log.push(event));
  await until("the other namespace", () => log.some(([name]) => name === "connection_established"));
  assert.notEqual(admin.id, main.socket.id);
  await main.subscribe({ rooms: ["agent_states"] });
  admin.emit("subscribe", { rooms: ["system_alerts"] });
  await until("its room", () => log.some(([name]) => name === "subscription_confirmed"));
  await server.publish(EVENTS.agent_state, EVENTS.system_alert);
  await main.had("agent_state");
  await until("its event", () => log.some(([name]) => name === "system_alert"));
  assert.equal(main.all("system_alert").length, 0);
  assert.equal(log.filter(([name]) => name === "agent_state").length, 0);

  admin.disconnect();
  await server.publish(EVENTS.agent_state, EVENTS.system_alert);
  await main.had("agent_state");
  assert.equal(log.filter(([name]) => name === "system_alert").length, 1);

  const unknown = main.socket.io.socket("/other");
  const refused = new Promise((resolve) => unknown.on("connect_error", resolve));
  assert.equal((await refused).message, "Invalid namespace");
  assert.equal(typeof (await main.ask("ping")).timestamp, "number");
});
