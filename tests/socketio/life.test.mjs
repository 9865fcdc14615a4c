// What a connection lives through: heartbeats, silence, events of any size, reloads, operators.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { CLIENTS, CONFIG, Client, EVENTS, Proxy, WAYS, daemon, endAll, ending, undisturbed, until } from "./harness.mjs";

afterEach(endAll);

const with_ = (more) => CONFIG.replace("watch = false", `watch = false\n${more}`);
const clients = async (server) => (await (await fetch(`http://${server.admin}/api/v1/clients`)).json()).clients;

for (const library of CLIENTS) {
  for (const [name, { options, ends }] of Object.entries(WAYS)) {
    test(`client ${library.version}, ${name}: heartbeats come as often as they are to`, async () => {
      // Were one missed, or sent late, the next would be far off.
      const server = await daemon(with_('[socketio]\nping_interval = "100ms"\nping_timeout = "30s"'));
      const client = await Client.to(server.clients, { library, ...options });
      await until(`the client to use ${ends}`, () => client.way === ends);
      let pings = 0;
      client.socket.io.engine.on("packet", ({ type }) => (pings += type === "ping"));
      await until("several heartbeats", () => pings >= 5);
      assert.deepEqual(client.life, ["connect"]);
    });

    test(`client ${library.version}, ${name}: a silent client is gone, and one that answers is not`, () => undisturbed(async () => {
      // An answer that the machine delays for a second is none.
      const server = await daemon(with_('[socketio]\nping_interval = "100ms"\nping_timeout = "1s"\nrecovery = "off"'));
      const proxy = await Proxy.to(server.clients);
      ending(() => proxy.end());
      const client = await Client.to(proxy.addr, { library, ...options });
      const other = await Client.to(server.clients, { library, ...options });
      await until(`the clients to use ${ends}`, () => client.way === ends && other.way === ends);
      proxy.cut();
      await until("the client to be gone", async () => (await clients(server)).length === 1);
      assert.deepEqual(other.life, ["connect"]);
    }));

    test(`client ${library.version}, ${name}: events of any size and any letters arrive as they are`, async () => {
      const server = await daemon();
      const client = await Client.to(server.clients, { library, ...options });
      await client.subscribe({ rooms: ["all"] });
      const texts = ["", "\u001e\u0000\u001f", "\u{1f600}\u2028é\"\\", "0{}", "x".repeat(700_000), "é".repeat(30_000)];
      for (const [index, text] of texts.entries()) await server.publish({ type: "text", n: index, text, timestamp: 1 });
      for (const [index, text] of texts.entries()) {
        assert.deepEqual(await client.had("text"), { type: "text", n: index, text, timestamp: 1 });
      }
      assert.deepEqual(client.life, ["connect"]);
    });
  }
}

test("a reload that takes a room away tells its clients, and leaves them connected", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  await client.subscribe({ rooms: ["system_alerts", "agent_states"] });
  await server.configure(CONFIG.replace('[rooms.system_alerts]\ntypes = ["system_alert"]\n', ""));
  const answer = await fetch(`http://${server.admin}/api/v1/config/reload`, { method: "POST" });
  assert.equal(answer.status, 200, await answer.text());
  const told = await client.had("unsubscription_confirmed");
  assert.deepEqual([told.unsubscribed, told.reason], [["system_alerts"], "room_closed"]);
  await server.publish(EVENTS.agent_state);
  await client.had("agent_state");
  assert.deepEqual(client.life, ["connect"]);
});

for (const [name, { options, ends }] of Object.entries(WAYS)) {
  test(`${name}: a client that an operator closes is told so, and stays away until it is told to come`, async () => {
    const server = await daemon();
    const client = await Client.to(server.clients, options);
    await until(`the client to use ${ends}`, () => client.way === ends);
    const [{ id }] = await clients(server);
    const answer = await fetch(`http://${server.admin}/api/v1/clients/${id}`, { method: "DELETE" });
    assert.ok(answer.ok, await answer.text());
    await until("the end", () => client.life.length === 2);
    assert.equal(client.life[1], "disconnect: io server disconnect");
    assert.equal((await client.had("closing")).code, 4000);
    client.socket.connect();
    await client.had("connection_established");
    assert.equal(client.socket.recovered, false);
  });

  test(`${name}: a client of a daemon that stops is told so, and nobody waits`, () => undisturbed(async () => {
    const server = await daemon();
    const client = await Client.to(server.clients, { ...options, reconnection: false });
    await until(`the client to use ${ends}`, () => client.way === ends);
    await client.subscribe({ rooms: ["all"] });
    const begun = Date.now();
    await server.kill("SIGTERM");
    await until("the end", () => client.life.length > 1);
    // One that polls is told with its next poll, which must have begun before the daemon accepts nobody any more.
    assert.equal(client.all("closing")[0]?.[0].code, 1001, client.life.join());
    // A client that does not answer a close is waited for for five seconds.
    assert.ok(Date.now() - begun < 4000, `${Date.now() - begun} ms`);
  }));
}
