// Other people's clients of Server-Sent Events against the real daemon, whose connections a proxy resets.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import polyfill from "event-source-polyfill";
import { EventSource } from "eventsource";
import { Daemon, Proxy, repository, until } from "../../client/test/harness.mjs";

const CONFIG = `
[server]
watch = false
[sources.alerts]
enabled = false
[sources.system]
every = "off"
[rooms."agent:{agentId}"]
types = ["*"]
[rooms.keyed]
types = ["state"]
key = "name"
snapshot = true
`;
const CLIENTS = { "eventsource 3": EventSource, "event-source-polyfill": polyfill.EventSourcePolyfill };

let daemon;
const cleanup = [];
before(async () => (daemon = await Daemon.start(CONFIG)));
after(async () => {
  for (const end of cleanup.reverse()) await end();
  await daemon?.end();
});

async function between() {
  const proxy = await Proxy.to(daemon.clients);
  cleanup.push(() => proxy.end());
  return proxy;
}

/** A client of a stream through the proxy, and what it has been given: the messages, and how often it has connected. */
function open(proxy, Client, query) {
  const source = new Client(`http://${proxy.addr}/sse?${query}`);
  cleanup.push(() => source.close());
  const seen = { messages: [], opened: 0, errors: [] };
  const take = ({ data }) => seen.messages.push(JSON.parse(data));
  source.onopen = () => (seen.opened += 1);
  source.onerror = ({ status, code }) => seen.errors.push(status ?? code);
  source.onmessage = take;
  for (const type of ["welcome", "subscribed", "snapshot", "gap"]) source.addEventListener(type, take);
  seen.of = (type) => seen.messages.filter((message) => message.type === type);
  return seen;
}

/** Opens a stream in each client, all at once: each is told another moment to come back. */
const openAll = (proxy, query) => Object.entries(CLIENTS).map(([name, Client]) => ({ name, seen: open(proxy, Client, query(name)) }));

// At once: a client waits for seconds before it comes back.
describe("clients of other people", { concurrency: true }, () => {
  test("clients whose library adds fields to the address come back where they were", async () => {
    const proxy = await between();
    const streams = openAll(proxy, (name) => `room=agent%3A${encodeURIComponent(name)}&access_token=x.y&_=17`);
    for (const { name, seen } of streams) {
      await until(`${name} is subscribed`, () => seen.of("subscribed").length === 1);
      await daemon.publish({ type: "t", agentId: name, n: 1 });
      await until(`${name} has the first`, () => seen.of("event").length === 1);
    }
    proxy.reset();
    for (const { name } of streams) await daemon.publish({ type: "t", agentId: name, n: 2 });
    for (const { name, seen } of streams) {
      await until(`${name} has the second`, () => seen.messages.some((message) => message.type === "batch" || message.data?.n === 2));
      assert.equal(seen.of("subscribed")[1].rooms[0].resumed, true, name);
      assert.deepEqual(seen.of("gap"), [], name);
    }
  });

  test("clients that are cut before their first event miss nothing", async () => {
    const proxy = await between();
    const query = {
      "one room": (name) => `room=agent%3A${name}-a`,
      "two rooms": (name) => `room=agent%3A${name}-a&room=agent%3A${name}-b`,
      "events alone": (name) => `room=agent%3A${name}-a&raw=1`,
      "events alone after an empty snapshot": (name) => `room=agent%3A${name}-a&room=keyed&raw=1`,
    };
    const streams = Object.entries(query).flatMap(([way, of]) =>
      openAll(proxy, (name) => of(encodeURIComponent(name + way))).map(({ name, seen }) => ({ agentId: `${name}${way}-a`, seen })));
    for (const { agentId, seen } of streams) await until(`${agentId} is subscribed`, () => seen.of("subscribed").length === 1);
    proxy.reset();
    for (const { agentId } of streams) await daemon.publish({ type: "t", agentId, n: 1 });
    for (const { agentId, seen } of streams) {
      await until(`${agentId} has its event`, () => JSON.stringify(seen.messages).includes('"n":1'));
      const again = seen.of("subscribed")[1].rooms.find(({ room }) => room === `agent:${agentId}`);
      assert.equal(again.resumed, true, agentId);
      assert.deepEqual(seen.of("gap"), [], agentId);
    }
  });

  test("Python's clients get each event at once", async () => {
    const child = spawn("python3", [join(import.meta.dirname, "streams_test.py")], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, PYTHONPATH: join(repository, "target", "python"), INGEST: daemon.ingest, CLIENTS: daemon.clients },
    });
    const [status] = await once(child, "exit");
    assert.equal(status, 0, "installed by: pip install --target target/python -r tests/page/requirements.txt");
  });
});
