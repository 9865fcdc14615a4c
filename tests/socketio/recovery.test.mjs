// Connection state recovery (Socket.IO 4.6): a client whose connection is cut has exactly what it missed, once.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { CONFIG, Client, EVENTS, OLDEST, Proxy, Pump, WAYS, assertWhole, daemon, endAll, ending, metric, until } from "./harness.mjs";

afterEach(endAll);

async function proxied(server) {
  const proxy = await Proxy.to(server.clients);
  ending(() => proxy.end());
  return proxy;
}

const connects = (client) => client.life.filter((what) => what === "connect").length;

/** Waits until a client uses what it ends with: an upgrade is neither under way nor to come. */
function settled(client) {
  const ends = client.socket.io.engine.transports.includes("websocket") ? "websocket" : "polling";
  return until("no upgrade to be under way", () => client.way === ends && !client.socket.io.engine.upgrading);
}

/**
 * Cuts a client's connection, publishes while it is away, and waits until it is back. Not in the midst of an upgrade: the client
 * may have stopped polling then, and finds out only when no heartbeat comes.
 */
async function away(client, proxy, meanwhile) {
  await settled(client);
  const before = connects(client);
  proxy.cut();
  await meanwhile();
  proxy.reset();
  proxy.heal();
  await until(`the client to be back; it went through ${client.life}`, () => connects(client) > before);
}

for (const [name, { options, ends }] of Object.entries(WAYS)) {
  test(`${name}: what was missed comes once, in the same rooms, under the same id`, async () => {
    const server = await daemon();
    const proxy = await proxied(server);
    const client = await Client.to(proxy.addr, options);
    await until(`the client to use ${ends}`, () => client.way === ends);
    const id = client.socket.id;
    assert.equal(client.socket.recovered, false);
    await client.subscribe({ rooms: ["all", "agent_states", "agent:7"] });
    await server.publish({ type: "tick", n: 1 }, { type: "tick", n: 2, agentId: "7" });
    await until("three events", () => client.numbers.length === 3);

    await away(client, proxy, () => server.publish({ type: "tick", n: 3, agentId: "7" }, { type: "tick", n: 4 }));
    assert.equal(client.socket.recovered, true);
    assert.equal(client.socket.id, id);
    await server.publish({ type: "tick", n: 5 });
    await until("the last", () => client.numbers.includes(5));
    assert.deepEqual(client.numbers.toSorted(), [1, 2, 2, 3, 3, 4, 5]);
    assert.equal((await client.had("connection_established")).recovered, true);
    assert.equal(client.all("gap").length, 0);
  });

  test(`${name}: a client that is cut again and again while events come has each of them once`, async () => {
    const server = await daemon();
    const proxy = await proxied(server);
    const client = await Client.to(proxy.addr, options);
    await client.subscribe({ rooms: ["all"] });
    // Polling takes a connection for each answer, which has a few events and a head.
    const [least, most] = ends === "polling" ? [200, 800] : [1000, 20_000];
    const cuts = 5;
    proxy.budget = () => (proxy.resets <= cuts ? least + Math.floor(Math.random() * (most - least)) : undefined);
    const pump = new Pump(server);
    proxy.reset();
    await until(`${cuts} cuts; there were ${proxy.resets}`, () => proxy.resets > cuts && client.socket.connected);
    await pump.stop();
    await until(`all ${pump.last} of ${client.numbers.length}`, () => client.numbers.at(-1) === pump.last);
    assertWhole(client.numbers, pump.last, client.life.join(", "));
    assert.equal(client.all("gap").length, 0);
  });
}

/** A daemon, and a client of it behind a proxy that has had the first event. */
async function withTheFirst() {
  const server = await daemon();
  const proxy = await proxied(server);
  const client = await Client.to(proxy.addr);
  await client.subscribe({ rooms: ["all"] });
  await server.publish({ type: "tick", n: 1 });
  await until("the first", () => client.numbers.length === 1);
  return { server, proxy, client };
}

test("arrays and filters are as they were, and a room that was left is not entered again", async () => {
  const server = await daemon();
  const proxy = await proxied(server);
  const client = await Client.to(proxy.addr);
  await client.subscribe({ rooms: ["performance_metrics"], metricFilters: ["memory"] });
  await client.subscribe({ rooms: ["all"] });
  assert.deepEqual((await client.ask("unsubscribe", ["all"])).unsubscribed, ["all"]);
  const memory = (n) => metric(n, { metricName: "memory" });
  await server.publish(memory(1), memory(2), memory(3));
  assert.equal((await client.had("performance_metrics_batch")).length, 3);
  await away(client, proxy, () => server.publish(memory(4), metric(5), memory(6), { type: "tick", n: 1 }));
  assert.equal(client.socket.recovered, true);
  assert.deepEqual((await client.had("performance_metrics_batch")).map(({ value }) => value), [4, 6]);
  assert.equal(client.numbers.length, 0);
});

test("a subscription that is changed goes on where it was, and so it does after a cut", async () => {
  const server = await daemon();
  const proxy = await proxied(server);
  const client = await Client.to(proxy.addr);
  await client.subscribe({ rooms: ["all"] });
  await server.publish({ type: "tick", n: 1, agentId: "a" });
  await until("the first", () => client.numbers.length === 1);
  await away(client, proxy, () => server.publish({ type: "tick", n: 2, agentId: "b" }));
  await until("the second", () => client.numbers.length === 2);
  await client.ask("subscribe", { rooms: ["all"], agentFilters: ["b"] });
  await away(client, proxy, () => server.publish({ type: "tick", n: 3, agentId: "a" }, { type: "tick", n: 4, agentId: "b" }));
  assert.equal(client.socket.recovered, true);
  await until("the fourth", () => client.numbers.includes(4));
  assert.deepEqual(client.numbers, [1, 2, 4]);
});

test("a room that was left and entered again begins where it was entered", async () => {
  const { server, proxy, client } = await withTheFirst();
  await client.ask("unsubscribe", ["all"]);
  await server.publish({ type: "tick", n: 2 });
  await client.ask("subscribe", ["all"]);
  await away(client, proxy, () => server.publish({ type: "tick", n: 3 }));
  assert.equal(client.socket.recovered, true);
  await until("the third", () => client.numbers.includes(3));
  assert.deepEqual(client.numbers, [1, 3]);
});

test("a client that had a snapshot gets no second one", async () => {
  const server = await daemon(CONFIG.replace("[rooms.agent_states]", '[rooms.agent_states]\nkey = "agentId"\nsnapshot = true'));
  const proxy = await proxied(server);
  const states = [1, 2, 3].map((agent) => ({ ...EVENTS.agent_state, agentId: String(agent) }));
  await server.publish(...states);
  const client = await Client.to(proxy.addr);
  await client.subscribe({ rooms: ["agent_states"] });
  await until("the snapshot", () => client.all("agent_state").length === 3);
  await until("where it leads to", () => client.all("position").length === 1);
  const next = { ...EVENTS.agent_state, agentId: "4" };
  await away(client, proxy, () => server.publish(next));
  assert.equal(client.socket.recovered, true);
  await until("the next", () => client.all("agent_state").length === 4);
  await client.ask("ping");
  assert.deepEqual(client.all("agent_state").map(([{ agentId }]) => agentId), ["1", "2", "3", "4"]);
});

test("what history no longer has is told as a gap", async () => {
  const server = await daemon();
  const proxy = await proxied(server);
  const client = await Client.to(proxy.addr);
  await client.subscribe({ rooms: ["short"] });
  await server.publish({ type: "short", n: 1 });
  await client.had("short");
  await away(client, proxy, () => server.publish(...[2, 3, 4, 5, 6, 7, 8].map((n) => ({ type: "short", n }))));
  const gap = await client.had("gap");
  assert.equal(gap.room, "short");
  assert.equal(gap.missed, 4);
  assert.equal(gap.reason, "history_expired");
  await until("the rest", () => client.all("short").length === 4);
  assert.deepEqual(client.all("short").map(([{ n }]) => n), [1, 6, 7, 8]);
  assert.ok(client.log.findIndex(([name]) => name === "gap") < client.log.findIndex(([, event]) => event?.n === 6));
});

test("a client that says that it leaves is not recovered, nor one whose time is over, nor where it is switched off", async () => {
  for (const [setting, doing] of [
    ['recovery = "2m"', async (client) => {
      client.socket.disconnect();
      client.socket.connect();
    }],
    ['recovery = "1s"', async (client, proxy) => {
      proxy.cut();
      proxy.reset();
      await new Promise((resolve) => setTimeout(resolve, 1500));
      proxy.heal();
    }],
    ['recovery = "off"', async (client, proxy) => proxy.reset()],
  ]) {
    const server = await daemon(CONFIG.replace("watch = false", `watch = false\n[socketio]\n${setting}`));
    const proxy = await proxied(server);
    const client = await Client.to(proxy.addr);
    const id = client.socket.id;
    await client.subscribe({ rooms: ["all"] });
    await server.publish({ type: "tick", n: 1 });
    await client.had("tick");
    const args = client.all("tick")[0];
    assert.equal(args.length, setting.includes("off") ? 1 : 2, "positions are told where they are of use");
    await doing(client, proxy);
    await until(`the client to be back, with ${setting}`, () => connects(client) === 2);
    assert.ok(!client.socket.recovered, setting);
    assert.notEqual(client.socket.id, id);
    await client.had("connection_established");
    await server.publish({ type: "tick", n: 2 });
    assert.equal(typeof (await client.ask("ping")).timestamp, "number");
    assert.deepEqual(client.numbers, [1], "it is in no room");
    await endAll();
  }
});

test("an orderly restart of the daemon is a connection that was cut", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  await client.subscribe({ rooms: ["all"] });
  await server.publish({ type: "tick", n: 1 });
  await client.had("tick");
  await server.kill("SIGTERM");
  await until("the end", () => client.life.length >= 2);
  assert.equal(client.all("closing").length, 1);
  await server.run();
  await server.publish({ type: "tick", n: 2 });
  await until("the client to be back", () => connects(client) === 2);
  assert.equal(client.socket.recovered, true);
  await client.ask("subscribe", ["all"]);
  await server.publish({ type: "tick", n: 3 });
  await until("the last", () => client.numbers.includes(3));
  assert.deepEqual(client.numbers, [1, 2, 3]);
  assert.equal(client.all("gap").length, 0);
});

for (const [name, { options }] of Object.entries(WAYS)) {
  test(`${name}: after a crash a client has what was published before it was back, and a gap for what is unknown`, async () => {
    const server = await daemon();
    const proxy = await proxied(server);
    const client = await Client.to(proxy.addr, options);
    await settled(client);
    // As the documents have it; one message for each room, as components do.
    client.socket.on("connect", () => {
      if (client.socket.recovered) return;
      client.socket.emit("subscribe", "all");
      client.socket.emit("subscribe", "short");
    });
    await client.subscribe({ rooms: ["all", "short"] });
    await server.publish({ type: "tick", n: 1 });
    await client.had("tick");
    proxy.cut();
    await server.kill("SIGKILL");
    await server.run();
    await server.publish({ type: "tick", n: 2 });
    proxy.reset();
    proxy.heal();
    await until("the client to be back", () => connects(client) === 2);
    assert.equal(client.socket.recovered, false);
    await until("its rooms", () => client.all("subscription_confirmed").length === 3);
    await server.publish({ type: "tick", n: 3 });
    await until("the last", () => client.numbers.includes(3));
    assert.deepEqual(client.numbers, [1, 2, 3]);
    const gaps = client.all("gap").map(([{ room, reason, missed }]) => [room, reason, missed]);
    assert.deepEqual(gaps.toSorted(), [["all", "epoch_changed", null], ["short", "epoch_changed", null]]);
    const [gap] = client.log.filter(([what]) => what === "gap");
    assert.ok(client.log.indexOf(gap) < client.log.findIndex(([, event]) => event?.n === 2), "the gap comes first");
  });
}

test("a client whose session is forgotten resumes the rooms that it subscribes to again, and begins now in others", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  await client.subscribe({ rooms: ["all", "agent:7"] });
  await server.publish({ type: "tick", n: 1 });
  await client.had("tick");
  client.socket.disconnect();
  await server.publish({ type: "tick", n: 2, agentId: "9" });
  client.socket.connect();
  await until("a new session", () => connects(client) === 2);
  assert.equal(client.socket.recovered, false);
  // New to the client, although there are positions of rooms that it has not subscribed to yet.
  await client.ask("subscribe", ["agent:9"]);
  await client.ask("subscribe", ["all"]);
  await until("what it missed", () => client.numbers.includes(2));
  await client.ask("ping");
  assert.deepEqual(client.numbers, [1, 2]);
  assert.equal(client.all("gap").length, 0);
  // Left and entered again, it begins where it is entered.
  await client.ask("unsubscribe", ["all", "agent:9"]);
  await server.publish({ type: "tick", n: 3 });
  await client.ask("subscribe", ["all"]);
  await server.publish({ type: "tick", n: 4 });
  await until("the fourth", () => client.numbers.includes(4));
  assert.deepEqual(client.numbers, [1, 2, 4]);
});

test("a client that begins anew says nothing of where it was before", async () => {
  const { server, proxy, client } = await withTheFirst();
  client.socket.disconnect();
  client.socket.connect();
  await until("a new session", () => connects(client) === 2);
  await client.had("connection_established");
  assert.equal(client.socket.recovered, false);

  // What it says when it comes back: its engine is made right after this event.
  const said = [];
  const note = ({ data }) => said.push(data);
  client.socket.io.on("reconnect_attempt", () => queueMicrotask(() => client.socket.io.engine.on("packetCreate", note)));
  await away(client, proxy, () => {});
  assert.equal(client.socket.recovered, false, "it was in no room yet");
  const connect = said.find((data) => typeof data === "string" && data.startsWith("0"));
  assert.equal(JSON.parse(connect.slice(1)).offset, "");

  await client.subscribe({ rooms: [{ room: "all", from: "start" }] });
  said.length = 0;
  await away(client, proxy, () => server.publish({ type: "tick", n: 2 }));
  await until("the second", () => client.numbers.includes(2));
  assert.deepEqual(client.numbers, [1, 1, 2]);
});

test("a room that all are to be in is entered by who comes back, and by who has left it is not", async () => {
  const config = (rooms) => CONFIG.replace("watch = false", `watch = false\n[socketio]\nauto_join = ${JSON.stringify(rooms)}`);
  const server = await daemon(config(["agent_states"]));
  const proxy = await proxied(server);
  const client = await Client.to(proxy.addr);
  await client.had("subscription_confirmed");
  await client.ask("unsubscribe", ["agent_states"]);
  await server.configure(config(["agent_states", "all"]));
  const answer = await fetch(`http://${server.admin}/api/v1/config/reload`, { method: "POST" });
  assert.equal(answer.status, 200, await answer.text());
  await away(client, proxy, () => {});
  assert.equal(client.socket.recovered, true);
  assert.deepEqual((await client.had("subscription_confirmed")).subscriptions, ["all"]);
  await server.publish(EVENTS.agent_state, { type: "tick", n: 1 });
  await client.had("tick");
  assert.equal(client.all("agent_state").length, 1);
});

test("a client that knows no recovery comes back as a new one", async () => {
  const server = await daemon();
  const proxy = await proxied(server);
  const client = await Client.to(proxy.addr, { library: OLDEST });
  await client.subscribe({ rooms: ["all"] });
  const id = client.socket.id;
  await away(client, proxy, () => server.publish({ type: "tick", n: 1 }));
  assert.notEqual(client.socket.id, id);
  await client.had("connection_established");
  await client.subscribe({ rooms: ["all"] });
  await server.publish({ type: "tick", n: 2 });
  assert.equal((await client.had("tick")).n, 2);
});
