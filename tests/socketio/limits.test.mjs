// Who may connect, and how much: origins, CORS and limits hold for Socket.IO as they do for WebSocket.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { CONFIG, Client, WAYS, daemon, endAll, until } from "./harness.mjs";

afterEach(endAll);

const with_ = (more) => CONFIG.replace("watch = false", `watch = false\n${more}`);
const figures = async (server) => (await fetch(`http://${server.admin}/metrics`)).text();

for (const [name, { options }] of Object.entries(WAYS)) {
  test(`${name}: a page of another origin gets nothing`, async () => {
    const server = await daemon(with_('allowed_origins = ["https://good.example"]'));
    const good = await Client.to(server.clients, { ...options, extraHeaders: { origin: "https://good.example" } });
    assert.equal(typeof (await good.ask("ping")).timestamp, "number");
    const bad = new Client(server.clients, { ...options, extraHeaders: { origin: "https://evil.example" }, reconnection: false });
    await until("a refusal", () => bad.life.length > 0);
    assert.ok(bad.life[0].startsWith("connect_error"), bad.life[0]);
    assert.match(await figures(server), /broadcastd_handshakes_refused_total\{reason="origin"\} [1-9]/);
  });

  test(`${name}: one client more than may be is refused, and let in when another leaves`, async () => {
    const server = await daemon(with_("[limits]\nclients = 2"));
    const clients = [await Client.to(server.clients, options), await Client.to(server.clients, options)];
    const third = new Client(server.clients, options);
    await until("a refusal", () => third.life.some((what) => what.startsWith("connect_error")));
    assert.ok(!third.life.includes("connect"));
    clients[0].socket.disconnect();
    await until("its turn", () => third.life.includes("connect"));
  });

  test(`${name}: a client that emits too fast is told so`, async () => {
    const server = await daemon(with_('[limits.client]\nmessages = { rate = "1/m", burst = 5 }'));
    const client = await Client.to(server.clients, options);
    const answers = await Promise.all(Array.from({ length: 12 }, () => client.ask("ping")));
    const refused = answers.filter((answer) => answer.code === "rate_limited");
    assert.ok(refused.length >= 6 && refused.length <= 8, `${refused.length} of 12 were refused`);
    assert.deepEqual(client.life, ["connect"]);
  });

  test(`${name}: a client that emits too much at once is closed`, async () => {
    const server = await daemon(with_('[limits.client]\nmessage_size = "4KiB"'));
    const client = await Client.to(server.clients, { ...options, reconnection: false });
    assert.equal((await client.ask("nothing", "x".repeat(3000))).code, "unknown_type");
    client.socket.emit("nothing", "x".repeat(5000));
    await until("the end", () => client.life.some((what) => what.startsWith("disconnect")));
  });
}

test("sixty components that subscribe at once all get their rooms", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients);
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => client.ask("subscribe", `agent:${n}`)));
  assert.deepEqual(answers.map(({ subscriptions }) => subscriptions), answers.map((_, n) => [`agent:${n}`]));
  assert.equal(client.all("subscription_error").length, 0);
});

test("a room that is subscribed to too fast is named with the time after which it is taken", async () => {
  const server = await daemon(with_('[limits.client]\nsubscriptions = { rate = "50/s", burst = 5 }'));
  const client = await Client.to(server.clients);
  const confirmed = new Set();
  const subscribe = async (room) => {
    for (;;) {
      const answer = await client.ask("subscribe", room);
      if (answer.subscriptions) return confirmed.add(room);
      assert.deepEqual([answer.code, answer.room], ["rate_limited", room]);
      assert.ok(answer.retry_after >= 1 && answer.retry_after <= 20, answer.retry_after);
      await new Promise((resolve) => setTimeout(resolve, answer.retry_after));
    }
  };
  await Promise.all(Array.from({ length: 30 }, (_, n) => subscribe(`agent:${n}`)));
  assert.equal(confirmed.size, 30);
  const refused = client.all("subscription_error");
  assert.ok(refused.length > 0 && refused.every(([error]) => error.room && error.retry_after), `${refused.length} were refused`);
  // In one message, rooms that are too much are refused alone, and later ones are told to wait longer.
  const before = refused.length;
  await client.ask("subscribe", Array.from({ length: 10 }, (_, n) => `agent:more${n}`));
  const waits = client.all("subscription_error").slice(before).map(([{ retry_after: after }]) => after);
  assert.ok(waits.length >= 5, `${waits}`);
  assert.deepEqual(waits, waits.toSorted((a, b) => a - b));
  assert.deepEqual(client.life, ["connect"]);
});

test("rooms of one client are limited", async () => {
  const server = await daemon(with_("[limits.client]\nrooms = 2"));
  const client = await Client.to(server.clients);
  const answer = await client.ask("subscribe", { rooms: ["agent:1", "agent:2", "agent:3"] });
  assert.deepEqual(answer.subscriptions, ["agent:1", "agent:2"]);
  assert.equal(answer.errors[0].room, "agent:3");
  assert.equal(answer.errors[0].code, "limit");
});

test("a client that does nothing but err is closed", async () => {
  const server = await daemon();
  const client = await Client.to(server.clients, { reconnection: false });
  for (let n = 0; n < 16; n += 1) client.socket.emit("nothing");
  await until("the end", () => client.life.some((what) => what.startsWith("disconnect")));
  assert.ok(client.all("error").length >= 15);
});

test("answers to pages carry what a browser wants to see of CORS, with credentials", async () => {
  const server = await daemon(with_('allowed_origins = ["https://good.example"]'));
  const origin = "https://good.example";
  const url = `http://${server.clients}/socket.io/?EIO=4&transport=polling`;
  const before = await fetch(url, {
    method: "OPTIONS",
    headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" },
  });
  assert.ok(before.status === 200 || before.status === 204, `${before.status}`);
  assert.match(before.headers.get("access-control-allow-methods") ?? "", /POST/);
  assert.match(before.headers.get("access-control-allow-headers") ?? "", /content-type/i);
  const opened = await fetch(url, { headers: { origin } });
  const { sid } = JSON.parse((await opened.text()).slice(1));
  const posted = await fetch(`${url}&sid=${sid}`, { method: "POST", headers: { origin, "content-type": "text/plain;charset=UTF-8" }, body: "40" });
  const polled = await fetch(`${url}&sid=${sid}`, { headers: { origin } });
  const unknown = await fetch(`${url}&sid=AAAAAAAAAAAAAAAAAAAA`, { headers: { origin } });
  assert.deepEqual([opened, posted, polled, unknown].map(({ status }) => status), [200, 200, 200, 400]);
  for (const answer of [before, opened, posted, polled, unknown]) {
    assert.equal(answer.headers.get("access-control-allow-origin"), origin);
    assert.equal(answer.headers.get("access-control-allow-credentials"), "true");
    assert.match(answer.headers.get("vary") ?? "", /origin/i);
  }
  const evil = await fetch(url, { headers: { origin: "https://evil.example" } });
  assert.equal(evil.status, 403);
  assert.equal(evil.headers.get("access-control-allow-origin"), null);
});
