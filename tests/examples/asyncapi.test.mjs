// docs/asyncapi.yaml: is AsyncAPI, says what docs/protocol.md says, and what the daemon says and takes.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import Ajv from "ajv";
import WebSocket from "ws";
import { parse } from "yaml";
import { Daemon, repository, until } from "../../client/test/harness.mjs";

const document = parse(await readFile(join(repository, "docs/asyncapi.yaml"), "utf8"));
const protocol = await readFile(join(repository, "docs/protocol.md"), "utf8");
const { messages } = document.components;
const SENT = ["subscribe", "unsubscribe", "ping"];
/** What only a stream has: its request, and blocks that are no messages of the protocol. */
const STREAM = ["streamRequest", "retry", "moved", "raw"];
const isOfTheProtocol = (name) => !STREAM.includes(name);

/**
 * Checks of every message, closed: a client ignores fields that it does not know, but what the daemon has must stand in the
 * document.
 */
const checks = (() => {
  const close = (schema) => {
    if (Array.isArray(schema)) return schema.map(close);
    if (typeof schema !== "object" || schema === null) return schema;
    const closed = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, close(value)]));
    if (schema.properties && schema.additionalProperties === undefined) closed.additionalProperties = false;
    return closed;
  };
  const ajv = new Ajv({ allErrors: true, strict: true, strictRequired: false, strictTypes: false, validateFormats: false });
  const { schemas: definitions } = close(document.components);
  const rooted = (schema) => JSON.parse(JSON.stringify({ ...close(schema), definitions }).replaceAll("#/components/schemas/", "#/definitions/"));
  const compile = (schema) => ajv.compile(rooted(schema));
  const resolved = ({ $ref, ...own }) => ($ref ? $ref.slice(2).split("/").reduce((at, key) => at[key], document) : own);
  const all = Object.fromEntries(Object.entries(messages).filter(([, { payload }]) => payload).map(([name, { payload }]) => [name, compile(payload)]));
  // The fields of a stream's blocks, by what is in them.
  all.blocks = Object.fromEntries(Object.entries(document.channels.stream.messages)
    .map(([name, message]) => [name, compile(resolved(message).headers)]));
  all.query = compile(document.components.schemas.query);
  return all;
})();

function check(message) {
  const valid = isOfTheProtocol(message.type) && Object.hasOwn(messages, message.type) ? checks[message.type] : undefined;
  assert.ok(valid, `no such message: ${JSON.stringify(message)}`);
  assert.ok(valid(message), `${JSON.stringify(message)}\n${JSON.stringify(valid.errors, null, 1)}`);
}

test("it is AsyncAPI 3, and everything that it refers to is there", () => {
  const schema = createRequire(import.meta.url)(`@asyncapi/specs/schemas/${document.asyncapi}-without-$id.json`);
  const valid = new Ajv({ strict: false, validateFormats: false }).compile({ ...schema, $schema: undefined });
  assert.ok(valid(document), JSON.stringify(valid.errors, null, 1));
  const references = JSON.stringify(document).matchAll(/"\$ref":"#\/(.*?)"/g);
  let count = 0;
  for (const [, path] of references) {
    assert.ok(path.split("/").reduce((at, key) => at?.[key], document), path);
    count += 1;
  }
  assert.ok(count > 50);
  const used = new Set(Object.values(document.operations).flatMap(({ messages, reply }) => [...messages, ...(reply?.messages ?? [])]).map(({ $ref }) => $ref.split("/").at(-1)));
  assert.deepEqual([...used].sort(), Object.keys(messages).sort(), "every message belongs to an operation");
});

test("its own examples are right", () => {
  for (const [name, { examples }] of Object.entries(messages)) {
    assert.ok(examples?.length, name);
    for (const { payload, headers } of examples) {
      if (isOfTheProtocol(name)) {
        assert.equal(payload.type, name);
        check(payload);
      } else {
        assert.ok(checks.blocks[name](headers), `${name}: ${JSON.stringify(checks.blocks[name].errors)}`);
        assert.ok(!payload || checks[name](payload), name);
      }
    }
  }
});

test("it has what docs/protocol.md has: messages, codes, reasons", () => {
  const section = (title) => protocol.split(`\n## ${title}\n`)[1].split("\n## ")[0];
  const titles = (title) => [...section(title).matchAll(/^### `(\w+)`$/gm)].map(([, name]) => name);
  assert.deepEqual(titles("Messages of a client").filter((name) => name !== "auth").sort(), SENT.toSorted());
  const daemons = Object.keys(messages).filter((name) => !SENT.includes(name) && isOfTheProtocol(name));
  assert.deepEqual(titles("Messages of the daemon").sort(), daemons.sort());
  const table = (text) => [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, word]) => word).slice(1).sort();   // without the head
  assert.deepEqual(table(section("Errors")), document.components.schemas.code.enum.toSorted());
  const gap = section("Messages of the daemon").split("### `gap`")[1].split("###")[0];
  assert.deepEqual(table(gap), messages.gap.payload.properties.reason.enum.toSorted());
  // The messages that are printed there, whole.
  const printed = [...protocol.matchAll(/^ {4}(\{"type":"(?:\w+)".*\})$/gm)].map(([, line]) => line.replaceAll(/,?…/g, "").replaceAll("{}", '{"type":"x"}'));
  assert.ok(printed.length >= 12, printed.length);
  for (const line of printed) check(JSON.parse(line));
});

const CONFIG = `
[server]
heartbeat = "1s"
watch = false
[limits.client]
messages = { rate = "1000/s", burst = 1000 }
[sources.alerts]
enabled = false
[sources.system]
every = "off"
[rooms.all]
types = ["*"]
[rooms.short]
types = ["short"]
history = { events = 3 }
[rooms.batched]
types = ["batched"]
buffer = { events = 3, flush_interval = "10m" }
[rooms.keyed]
types = ["keyed"]
key = "k"
history = { events = 3 }
[rooms.going]
types = ["going"]
`;

/** Connects; `heard` is what has come. Each message is held against the document as it comes. */
async function connect(daemon) {
  const socket = new WebSocket(daemon.url, "broadcastd.v1");
  const heard = [];
  const wrong = [];
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    heard.push(message);
    try {
      check(message);
    } catch (error) {
      wrong.push(error);
    }
  });
  const send = (message) => socket.send(typeof message === "string" ? message : JSON.stringify(message));
  const hear = (type, also = () => true) => until(type, () => {
    if (wrong.length) throw wrong[0];
    return heard.find((message) => (message.type === type || !(type in messages)) && also(message));
  });
  await hear("welcome");
  return { socket, heard, send, hear };
}

test("what the daemon says is what it has, whatever is asked", async (context) => {
  const daemon = await Daemon.start(CONFIG);
  context.after(() => daemon.end());
  const { heard, send, hear } = await connect(daemon);
  const asked = async (rooms, id) => {
    const message = { type: "subscribe", id, rooms };
    check(message);
    send(message);
    return hear("subscribed", (answer) => answer.id === id);
  };
  const { rooms: [, nobody] } = await asked(["all", "nobody"], 1);
  assert.equal(nobody.error.code, "unknown_room");
  await asked({ room: "batched" }, "two");
  await daemon.publish({ type: "batched", n: 1 }, { type: "batched", n: 2 }, { type: "batched", n: 3 });
  await hear("event", ({ room }) => room === "all");
  await hear("batch", ({ room, data }) => room === "batched" && data.length === 3);
  // Passed over by a condition, and told with the heartbeat.
  await asked([{ room: "going", where: { n: [100] } }], 3);
  await daemon.publish({ type: "going", n: 1 });
  await hear("position", ({ room }) => room === "going");
  await daemon.publish({ type: "going", n: 100 });
  await hear("event", ({ room }) => room === "going");
  // Replayed, resumed, missing.
  const { rooms: [{ epoch }] } = await asked([{ room: "short", from: { last: 2 } }], 4);
  await daemon.publish(...Array.from({ length: 10 }, (_, n) => ({ type: "short", n })));
  await hear("event", ({ room, offset }) => room === "short" && offset === 10);
  await asked([{ room: "short", from: { after: `${epoch}:2` } }], 5);
  await hear("gap", ({ reason }) => reason === "history_expired");
  const { rooms: [resumed] } = await asked([{ room: "short", from: { after: `${epoch}:9` } }, { room: "all", from: "start" }], 6);
  assert.equal(resumed.resumed, true);
  await hear("batch", ({ room, replay }) => room === "all" && replay);
  await asked([{ room: "all", from: { after: "1a2b:1" } }], 7);
  await hear("gap", (gap) => gap.reason === "epoch_changed" && gap.epoch && gap.missed === null);
  await asked([{ room: "all", from: { since: "-5m" } }, { room: "going", from: { since: 1_700_000_000_000 } },
    { room: "short", from: { since: "2026-11-25T10:00:00.5+01:00" } }], 8);
  // The newest of each key, whole, and again after a gap; at most so often.
  await daemon.publish({ type: "keyed", k: 1 }, { type: "keyed", k: 2 });
  const { rooms: [keyed] } = await asked([{ room: "keyed", snapshot: true }], 9);
  assert.ok(keyed.snapshot && !("offset" in keyed));
  await hear("snapshot", ({ offset }) => offset === 2);
  await daemon.publish(...Array.from({ length: 200 }, (_, k) => ({ type: "keyed", k })));
  // What has not been passed on yet is kept beyond history; then there would be no gap.
  await hear("all of them", ({ room, offset }) => room === "keyed" && offset === 202);
  await asked([{ room: "keyed", snapshot: true, from: { after: `${keyed.epoch}:0` } }], 10);
  await hear("gap", ({ room, snapshot, last }) => room === "keyed" && snapshot && last >= 100);
  await hear("snapshot", ({ more }) => more);
  await asked([{ room: "short", every: "250ms" }], 11);
  // Refusals.
  for (const [id, message, code] of [
    [20, { type: "subscibe" }, "unknown_type"], [21, { type: "unsubscribe", rooms: 5 }, "bad_field"], [22, { type: "auth", token: "x" }, "unsupported"],
  ]) {
    assert.ok(!checks[message.type]?.(message), JSON.stringify(message));
    send({ id, ...message });
    await hear("error", (error) => error.id === id && error.code === code);
  }
  send("not JSON");
  await hear("error", ({ code }) => code === "bad_message");
  send({ type: "ping", id: "p" });
  await hear("pong", ({ id }) => id === "p");
  send({ type: "unsubscribe", id: 30, rooms: ["short"] });
  await hear("unsubscribed", ({ id }) => id === 30);
  // A room that is taken away, and the end.
  await daemon.configure(CONFIG.replace(/\[rooms\.going\]\n.*\n/, ""));
  const reloaded = await fetch(`http://${daemon.listen.admin[0]}/api/v1/config/reload`, { method: "POST" });
  assert.equal(reloaded.status, 200, await reloaded.text());
  await hear("unsubscribed", ({ reason }) => reason === "room_closed");
  const ended = daemon.kill("SIGTERM");
  await hear("closing", ({ code, retry_after: after }) => code === 1001 && after > 0);
  await ended;
  const types = new Set(heard.map(({ type }) => type));
  const unheard = Object.keys(messages).filter((type) => !SENT.includes(type) && isOfTheProtocol(type) && !types.has(type));
  assert.deepEqual(unheard, []);
});

test("what the document refuses of a subscription the daemon refuses, and the other way round", async (context) => {
  const daemon = await Daemon.start(CONFIG);
  context.after(() => daemon.end());
  const { send, hear } = await connect(daemon);
  const wanted = (room) => ({ type: "subscribe", rooms: [room] });
  const all = { room: "all" };
  const good = ["all", all, { ...all, from: "now" }, { ...all, from: "start" }, { ...all, from: { last: 0 } }, { ...all, from: { since: "-90s" } },
    { ...all, from: { after: "18c2f:7" } }, { ...all, where: "has(n)" }, { ...all, where: { n: 1, type: ["a", "b"] } }, { ...all, every: "2s" },
    { room: "keyed", snapshot: true }, { room: "keyed", snapshot: false, every: "250ms" }];
  const bad = [7, {}, { room: 7 }, { ...all, from: "later" }, { ...all, from: {} }, { ...all, from: { last: -1 } }, { ...all, from: { last: "3" } },
    { ...all, from: { since: "5 minutes" } }, { ...all, from: { after: "18c2f" } }, { ...all, from: { after: 5 } }, { ...all, from: { last: 1, since: "-1s" } },
    { ...all, fron: "now" }, { ...all, where: 5 }, { ...all, every: "soon" }, { ...all, every: 2 }, { ...all, snapshot: "yes" }, { ...all, where: [] }, { ...all, where: {} }, { ...all, room: "x".repeat(201) }];
  for (const [index, room] of [...good, ...bad].entries()) {
    const message = { ...wanted(room), id: index };
    send(message);
    const answer = await hear("an answer", ({ id }) => id === index);
    const isTaken = answer.type === "subscribed" && !answer.rooms[0].error;
    assert.equal(isTaken, index < good.length, `${JSON.stringify(room)}: ${JSON.stringify(answer)}`);
    assert.equal(checks.subscribe(message), isTaken, `${JSON.stringify(room)}\n${JSON.stringify(checks.subscribe.errors)}`);
  }
});

/** A stream, each of whose blocks is held against the document as it comes. `kinds` is what they were, one after the other. */
async function listen(daemon, query, headers = {}) {
  const ending = new AbortController();
  const response = await fetch(`${daemon.url.replace(/^ws:(.*)\/ws$/, "http:$1/sse")}?${query}`, { headers, signal: ending.signal });
  assert.equal(response.status, 200);
  const stream = { kinds: [], messages: [], lastId: undefined, wrong: undefined, ended: false, end: () => ending.abort() };
  const isRaw = new URLSearchParams(query).get("raw") === "1";
  const take = (block) => {
    const fields = {};
    for (const line of block.split("\n").filter((line) => !line.startsWith(":"))) {
      const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line);
      assert.ok(!(name in fields), block);
      fields[name] = name === "retry" ? Number(value) : value;
    }
    const { data, ...own } = fields;
    if (!Object.keys(fields).length) return;
    stream.lastId = own.id ?? stream.lastId;
    const message = data === undefined ? undefined : JSON.parse(data);
    // Bare events are told from what is said of them by the field `event`.
    const isEvent = isRaw && message && !own.event;
    const kind = isEvent ? "raw" : message ? message.type : "retry" in own ? "retry" : "moved";
    stream.kinds.push(kind);
    if (message) {
      stream.messages.push(message);
      isEvent ? assert.ok(checks.raw(message), data) : check(message);
    }
    assert.ok(checks.blocks[kind], `no such block: ${block}`);
    assert.ok(checks.blocks[kind](own), `${block}\n${JSON.stringify(checks.blocks[kind].errors)}`);
  };
  (async () => {
    let text = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (text + chunk).split("\n\n");
      text = blocks.pop();
      blocks.forEach(take);
    }
    stream.ended = true;
  })().catch((error) => { stream.wrong = error.name === "AbortError" ? undefined : error; });
  stream.hear = (kind, also = () => true) => until(kind, () => {
    if (stream.wrong) throw stream.wrong;
    return kind === "the end" ? stream.ended : stream.kinds.includes(kind) && (stream.messages.some(also) || kind === "moved");
  });
  return stream;
}

test("what a stream says is what it has", async (context) => {
  const daemon = await Daemon.start(CONFIG);
  context.after(() => daemon.end());
  const all = await listen(daemon, "room=all&room=keyed&room=batched&snapshot=0");
  await all.hear("subscribed");
  await daemon.publish({ type: "keyed", k: 1 }, { type: "batched", n: 1 }, { type: "batched", n: 2 }, { type: "batched", n: 3 });
  await all.hear("batch");
  await all.hear("event", ({ room }) => room === "keyed");
  const keyed = await listen(daemon, "room=keyed&snapshot=1&event=type");
  await keyed.hear("snapshot");
  const filtered = await listen(daemon, `room=all&from=start&where=${encodeURIComponent("n == 100")}`);
  await filtered.hear("moved");
  filtered.end();
  const raw = await listen(daemon, "room=all&from=start&raw=1");
  await raw.hear("raw", ({ n }) => n === 3);
  // It goes on where it was, which history no longer has.
  const short = await listen(daemon, "room=short&event=room");
  await short.hear("subscribed");
  short.end();
  await daemon.publish(...Array.from({ length: 10 }, (_, n) => ({ type: "short", n })));
  const header = { "Last-Event-ID": short.lastId };
  assert.ok(checks.blocks.streamRequest(header));
  const resumed = await listen(daemon, "room=short", header);
  await resumed.hear("gap", ({ reason }) => reason === "history_expired");
  const going = await listen(daemon, "room=going&room=all");
  await going.hear("subscribed");
  await daemon.configure(CONFIG.replace(/\[rooms\.going\]\n.*\n/, ""));
  assert.equal((await fetch(`http://${daemon.listen.admin[0]}/api/v1/config/reload`, { method: "POST" })).status, 200);
  await going.hear("unsubscribed");
  const ended = daemon.kill("SIGTERM");
  await going.hear("closing", ({ code }) => code === 1001);
  await going.hear("the end");
  await ended;
  const heard = new Set([all, keyed, filtered, raw, resumed, going].flatMap(({ kinds }) => kinds));
  assert.deepEqual(Object.keys(checks.blocks).filter((kind) => kind !== "streamRequest" && !heard.has(kind)), []);
});

test("what the document refuses of a stream's request the daemon refuses, and the other way round", async (context) => {
  const daemon = await Daemon.start(CONFIG);
  context.after(() => daemon.end());
  const address = daemon.url.replace(/^ws:(.*)\/ws$/, "http:$1/sse");
  const good = ["", "from=now", "from=start", "from=last:10", "from=since:-5m", "from=since:1700000000000", "from=since:2026-11-25T10:00:00Z",
    "from=after:18c2f:7", "where=n%3D%3D1", "every=2s", "snapshot=0", "raw=1", "event=room", "event=type", "last_event_id=18c2f:7,18c30:9", "lastEventId=18c2f:7", "access_token=x&_=1"];
  const bad = ["from=later", "from=last:-1", "from=last:x", "from=since:soon", "from=after:18c2f", "every=soon", "snapshot=yes", "raw=2",
    "event=all", "last_event_id=18c2f", "last_event_id=18c2f:7,", `room=${"x".repeat(201)}`, `where=${"x".repeat(4097)}`];
  for (const [index, more] of [...good, ...bad].entries()) {
    const ending = new AbortController();
    const query = `room=all&${more}`;
    const { status } = await fetch(`${address}?${query}`, { signal: ending.signal });
    ending.abort();
    const fields = new URLSearchParams(query);
    const request = { ...Object.fromEntries(fields), room: fields.getAll("room") };
    assert.equal(status, index < good.length ? 200 : 400, query);
    assert.equal(checks.query(request), index < good.length, `${query}\n${JSON.stringify(checks.query.errors)}`);
  }
  // A schema knows no misspellings.
  assert.equal((await fetch(`${address}?room=all&fron=now`)).status, 400);
});
