// Upgrades while events come, clients that stand still, and a thousand of them.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { CLIENTS, CONFIG, Client, Pump, Still, WAYS, assertWhole, daemon, endAll, until } from "./harness.mjs";

afterEach(endAll);

const FROM_START = { rooms: [{ room: "all", from: "start" }] };

for (const library of CLIENTS) {
  test(`client ${library.version}: an upgrade while events come loses none and doubles none`, async () => {
    const server = await daemon(CONFIG.replace("watch = false", "watch = false\n[limits.client]\nmessages = { rate = \"10000/s\", burst = 10000 }"));
    const pump = new Pump(server);
    const clients = [];
    for (let n = 0; n < 40; n += 1) {
      const client = new Client(server.clients, { library });
      // As early as it can be: what is emitted before it has connected is sent right after.
      client.socket.emit("subscribe", FROM_START);
      client.asks = 0;
      client.answers = 0;
      clients.push(client);
    }
    const ended = () => clients.every((client) => client.way === "websocket");
    // The other direction as well: questions that are asked before, during and after the upgrade are answered once.
    await until(`all to use websocket: ${clients.map((client) => client.way)}`, () => {
      for (const client of clients.filter((client) => client.asks - client.answers < 5)) {
        client.asks += 1;
        client.socket.emit("ping", () => (client.answers += 1));
      }
      return ended();
    });
    await pump.stop();
    for (const [index, client] of clients.entries()) {
      await until(`all ${pump.last} of ${client.numbers.length}; ${client.life}`, () => client.log.length > pump.last && client.numbers.at(-1) === pump.last);
      assertWhole(client.numbers, pump.last, `client ${index}`);
      await until(`${client.asks} answers, of which ${client.answers} came`, () => client.answers >= client.asks);
      assert.equal(client.answers, client.asks);
      assert.deepEqual(client.life, ["connect"]);
    }
  });
}

for (const [name, { options, ends }] of Object.entries(WAYS)) {
  test(`${name}: a client that stands still is caught up with all that history has`, async () => {
    const server = await daemon();
    const still = await Still.to(server.clients);
    const client = await Client.to(still.addr, options);
    await until(`the client to use ${ends}`, () => client.way === ends);
    await client.subscribe({ rooms: ["all"] });
    still.hold();
    const padding = "x".repeat(1000);
    const other = await Client.to(server.clients, { transports: ["websocket"] });
    await other.subscribe({ rooms: ["all"] });
    for (let n = 0; n < 10_000; n += 500) {
      await server.publish(...Array.from({ length: 500 }, (_, index) => ({ type: "tick", n: n + index + 1, padding })));
    }
    await until("others to have all of it", () => other.numbers.at(-1) === 10_000);
    assert.ok(client.numbers.length < 10_000, "it stands still");
    still.release();
    await until(`the rest after ${client.numbers.length}; ${client.life}`, () => client.numbers.at(-1) === 10_000);
    assertWhole(client.numbers, 10_000, client.life.join());
    assert.deepEqual(client.life, ["connect"]);
  });

  test(`${name}: what history no longer has is told to a client that stood still`, async () => {
    const server = await daemon(CONFIG.replace('history = { events = 200000, bytes = "256MiB" }', "history = { events = 100 }"));
    const still = await Still.to(server.clients);
    const client = await Client.to(still.addr, options);
    await until(`the client to use ${ends}`, () => client.way === ends);
    await client.subscribe({ rooms: ["all"] });
    still.hold();
    const padding = "x".repeat(2000);
    // How much sockets hold is the system's affair: until the daemon says that it has by far more unsent than it keeps.
    let total = 0;
    await until("the client to fall behind history", async () => {
      await server.publish(...Array.from({ length: 500 }, (_, index) => ({ type: "tick", n: total + index + 1, padding })));
      total += 500;
      const { clients } = await (await fetch(`http://${server.admin}/api/v1/clients`)).json();
      return clients[0].lag_events > 5000;
    });
    still.release();
    await until(`the last after ${client.numbers.length}; ${client.life}`, () => client.numbers.at(-1) === total);
    const gaps = client.all("gap").map(([gap]) => gap);
    assert.ok(gaps.length > 0, "history moved on without it");
    const missed = gaps.reduce((sum, gap) => sum + gap.missed, 0);
    assert.equal(client.numbers.length + missed, total);
    assert.equal(new Set(client.numbers).size, client.numbers.length, "nothing came twice");
    // Each gap stands where its events are missing.
    let last = 0;
    for (const [name, event] of client.log) {
      if (name === "gap") last += event.missed;
      if (name === "tick") assert.equal(event.n, (last += 1));
    }
  });
}

test("a thousand clients, half of them polling, have every event once", async () => {
  const server = await daemon();
  const clients = [];
  for (let n = 0; n < 1000; n += 50) {
    const some = Array.from({ length: 50 }, (_, index) => {
      const transports = index % 2 ? ["polling"] : ["websocket"];
      const client = new Client(server.clients, { transports });
      client.socket.emit("subscribe", { rooms: ["all"] });
      return client;
    });
    for (const client of some) await client.had("subscription_confirmed");
    clients.push(...some);
  }
  for (let n = 0; n < 100; n += 10) {
    await server.publish(...Array.from({ length: 10 }, (_, index) => ({ type: "tick", n: n + index + 1 })));
  }
  for (const [index, client] of clients.entries()) {
    await until(`client ${index} to have all of it, not ${client.numbers.length}; ${client.life}`, () => client.numbers.length >= 100);
    assertWhole(client.numbers, 100, `client ${index}`);
    assert.deepEqual(client.life, ["connect"]);
  }
  const { transports } = await (await fetch(`http://${server.admin}/api/v1/websocket/status`)).json();
  assert.deepEqual([transports.polling, transports.socketio], [500, 500]);
});
