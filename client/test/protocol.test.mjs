// The state machine alone: messages in; messages, effects and positions out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Protocol } from "../client/protocol.js";

/** A room that is subscribed to, as the daemon confirmed it. */
function subscribed(confirmed = { epoch: "e1", head: 4, offset: 4 }, wish = {}, at = null) {
  const protocol = new Protocol();
  protocol.want("r", wish, at);
  const [asked] = protocol.flush();
  const effects = protocol.receive({ type: "subscribed", id: asked.id, rooms: [{ room: "r", ...confirmed }] });
  return { protocol, asked, effects };
}

const event = (offset, more = {}) => ({ type: "event", room: "r", offset, seq: 100 + offset, data: { n: offset }, ...more });
const position = (protocol) => Object.fromEntries(protocol.positions()).r;
const delivered = (effects) => effects.flatMap((it) => (it.type === "events" ? it.events.map(({ n }) => n) : []));
const wanted = (protocol) => protocol.flush().map(({ type, rooms }) => [type, rooms]);

test("what is wanted is asked for once, and what is left is given up", () => {
  const protocol = new Protocol();
  protocol.want("a", { from: { last: 5 }, where: { x: 1 }, every: "2s", snapshot: true });
  protocol.want("b", {});
  const [message] = protocol.flush();
  assert.deepEqual(JSON.parse(JSON.stringify(message)), { type: "subscribe", id: 1, rooms: [{ from: { last: 5 }, where: { x: 1 }, every: "2s", snapshot: true, room: "a" }, { room: "b" }] });
  assert.deepEqual(protocol.flush(), []);
  protocol.leave("a");
  assert.deepEqual(wanted(protocol), [["unsubscribe", ["a"]]]);
  assert.deepEqual(protocol.flush(), []);
});

test("who leaves and comes back before anything is sent has sent nothing; afterwards, the new subscription replaces the old", () => {
  const protocol = new Protocol();
  protocol.want("r", {});
  protocol.leave("r");
  assert.deepEqual(protocol.flush(), []);
  const it = subscribed();
  it.protocol.leave("r");
  it.protocol.want("r", { from: "start" });
  const [again] = it.protocol.flush();
  assert.equal(again.type, "subscribe");
  assert.deepEqual(it.protocol.receive(event(5)), [], "of the subscription that was replaced");
  it.protocol.receive({ type: "subscribed", id: again.id, rooms: [{ room: "r", epoch: "e1", head: 5, offset: 0 }] });
  assert.deepEqual(delivered(it.protocol.receive(event(5))), [5]);
});

test("events move the position, doubles are left out, other rooms are ignored", () => {
  const { protocol } = subscribed();
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 4 });
  const [effect] = protocol.receive(event(5, { skipped: 2 }));
  assert.deepEqual(effect, { type: "events", room: "r", events: [{ n: 5 }], offsets: [5], seqs: [105], source: "live", skipped: 2 });
  assert.deepEqual(protocol.receive(event(5)), []);
  assert.deepEqual(protocol.receive({ ...event(6), room: "other" }), []);
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 5 });
});

test("batches: consecutive offsets, given offsets, a position beyond the last event, an overlap", () => {
  const { protocol } = subscribed();
  const batch = (offset, ns, more) => protocol.receive({ type: "batch", room: "r", offset, data: ns.map((n) => ({ n })), ...more });
  const [whole] = batch(7, [5, 6, 7], { seqs: [1, 2, 3], replay: true });
  assert.deepEqual([whole.offsets, whole.seqs, whole.source], [[5, 6, 7], [1, 2, 3], "replay"]);
  const [sparse] = batch(20, [9, 12], { offsets: [9, 12], seqs: [5, 6], skipped: 9 });
  assert.deepEqual([sparse.offsets, sparse.skipped, position(protocol).offset], [[9, 12], 9, 20]);
  const [rest] = batch(22, [19, 20, 21, 22], { seqs: [1, 2, 3, 4] });
  assert.deepEqual([delivered([rest]), rest.offsets, rest.seqs], [[21, 22], [21, 22], [3, 4]]);
  assert.deepEqual(batch(22, [21, 22]), []);
});

test("a new connection asks to go on where the application is", () => {
  const { protocol } = subscribed();
  protocol.receive(event(5));
  protocol.receive({ type: "position", room: "r", offset: 9 });
  protocol.begin();
  const [message] = protocol.flush();
  assert.deepEqual(message.rooms[0].from, { after: "e1:9" });
  assert.deepEqual(protocol.receive(event(10)), [], "not confirmed yet");
  protocol.receive({ type: "subscribed", id: message.id, rooms: [{ room: "r", epoch: "e1", head: 12, offset: 9, resumed: true }] });
  assert.deepEqual(delivered(protocol.receive(event(10))), [10]);
});

test("a gap is a position; a connection that ends before the gap was told hears of it again", () => {
  const { protocol } = subscribed({ epoch: "e2", head: 3, offset: 0 }, {}, { epoch: "e1", offset: 9 });
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 9 });
  protocol.begin();
  const [message] = protocol.flush();
  assert.deepEqual(message.rooms[0].from, { after: "e1:9" });
  protocol.receive({ type: "subscribed", id: message.id, rooms: [{ room: "r", epoch: "e2", head: 3, offset: 0 }] });
  const gap = { type: "gap", room: "r", first: 1, offset: 0, missed: null, reason: "epoch_changed", epoch: "e2" };
  assert.deepEqual(protocol.receive(gap), [{ type: "gap", room: "r", first: 1, offset: 0, missed: null, reason: "epoch_changed" }]);
  assert.deepEqual(position(protocol), { epoch: "e2", offset: 0 });
  assert.deepEqual(delivered(protocol.receive(event(1))), [1]);
});

test("a snapshot is given whole, and is begun anew if it was cut", () => {
  const { protocol } = subscribed({ epoch: "e1", head: 9, snapshot: true }, { snapshot: true });
  const page = (data, more) => ({ type: "snapshot", room: "r", data, ...more });
  assert.deepEqual(protocol.receive(page([{ n: 1 }], { more: true })), []);
  assert.equal(position(protocol), undefined);
  protocol.begin();
  const [message] = protocol.flush();
  assert.equal(message.rooms[0].from, undefined);
  protocol.receive({ type: "subscribed", id: message.id, rooms: [{ room: "r", epoch: "e1", head: 9, snapshot: true }] });
  protocol.receive(page([{ n: 1 }], { more: true }));
  assert.deepEqual(protocol.receive(page([{ n: 2 }], { offset: 9 })), [{ type: "snapshot", room: "r", events: [{ n: 1 }, { n: 2 }], offset: 9, isPart: false }]);
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 9 });
  assert.deepEqual(delivered(protocol.receive(event(10))), [10]);
});

test("a snapshot after a gap: the position stays behind the gap until the snapshot is whole", () => {
  const { protocol } = subscribed({ epoch: "e1", head: 90, snapshot: true }, {}, { epoch: "e1", offset: 3 });
  assert.equal(protocol.receive({ type: "gap", room: "r", first: 4, offset: 60, missed: 57, reason: "history_expired" }).length, 1);
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 3 });
  protocol.receive({ type: "snapshot", room: "r", data: [], offset: 90 });
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 90 });
});

test("a gap that is made good: its keys are no whole snapshot, and the position comes with the last of them", () => {
  const { protocol } = subscribed({ epoch: "e1", head: 90, offset: 3 }, {}, { epoch: "e1", offset: 3 });
  const [gap] = protocol.receive({ type: "gap", room: "r", first: 4, last: 60, missed: 57, reason: "history_expired", snapshot: true });
  assert.equal(gap.offset, 60);
  assert.deepEqual(protocol.receive({ type: "snapshot", room: "r", data: [{ n: 40 }], more: true }), []);
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 3 });
  const [page] = protocol.receive({ type: "snapshot", room: "r", data: [{ n: 50 }], offset: 60 });
  assert.deepEqual(page, { type: "snapshot", room: "r", events: [{ n: 40 }, { n: 50 }], offset: 60, isPart: true });
  assert.deepEqual(position(protocol), { epoch: "e1", offset: 60 });
  assert.deepEqual(delivered(protocol.receive(event(61))), [61]);
});

test("one refused room leaves the others alone, and is asked again on the next connection", () => {
  const protocol = new Protocol();
  protocol.want("r", {});
  protocol.want("typo", {});
  const [message] = protocol.flush();
  const error = { code: "unknown_room", message: "no room has this name", hint: "did you mean r?" };
  const effects = protocol.receive({ type: "subscribed", id: message.id, rooms: [{ room: "r", epoch: "e", head: 0, offset: 0 }, { room: "typo", error }] });
  assert.deepEqual(effects.map(({ type }) => type), ["ready", "refused"]);
  assert.deepEqual(effects[1], { type: "refused", room: "typo", error });
  assert.deepEqual(protocol.flush(), []);
  protocol.leave("typo");
  assert.deepEqual(protocol.flush(), [], "the daemon does not have it");
  protocol.want("typo", {});
  protocol.begin();
  assert.equal(protocol.flush()[0].rooms.length, 2);
});

test("what was too fast is asked for again after what the daemon says; every other error refuses its rooms", () => {
  const protocol = new Protocol();
  protocol.want("r", {});
  protocol.want("late", {});
  const [first] = protocol.flush();
  const error = { code: "rate_limited", message: "too fast", retry_after: 40 };
  const answers = [{ room: "r", epoch: "e", head: 0, offset: 0 }, { room: "late", error }];
  const effects = protocol.receive({ type: "subscribed", id: first.id, rooms: answers });
  assert.deepEqual(effects.map(({ type, after }) => [type, after]), [["ready", undefined], ["later", 40]]);
  protocol.want("other", {});
  assert.deepEqual(protocol.flush()[0].rooms.map(({ room }) => room), ["other"], "its time has not come");
  protocol.again();
  const [second, none] = protocol.flush();
  assert.equal(none, undefined);
  assert.deepEqual(second.rooms.map(({ room }) => room), ["late"]);
  // A whole message that is too much, and a daemon that does not say when.
  assert.deepEqual(protocol.receive({ type: "error", id: second.id, code: "rate_limited", message: "too fast" }), [{ type: "later", after: 1000 }]);
  protocol.again();
  const [third] = protocol.flush();
  assert.deepEqual(protocol.receive({ type: "error", id: third.id, code: "bad_field", message: "no" }).map(({ type }) => type), ["refused"]);
  assert.deepEqual(protocol.receive({ type: "error", code: "bad_message", message: "no" }), [{ type: "error", code: "bad_message", message: "no", hint: undefined }]);
});

test("a room whose leaving was too fast is left again later, unless it is wanted meanwhile", () => {
  for (const isWanted of [false, true]) {
    const { protocol } = subscribed();
    protocol.leave("r");
    const [message] = protocol.flush();
    assert.equal(message.type, "unsubscribe");
    if (isWanted) protocol.want("r", {});
    const error = { code: "rate_limited", message: "too fast", retry_after: 20 };
    const effects = protocol.receive({ type: "unsubscribed", id: message.id, rooms: [], refused: [{ room: "r", error }] });
    assert.deepEqual(effects, isWanted ? [] : [{ type: "later", after: 20 }]);
    protocol.again();
    assert.deepEqual(protocol.flush().map(({ type }) => type), [isWanted ? "subscribe" : "unsubscribe"]);
  }
});

test("a subscription that the daemon ends has no position any more", () => {
  const { protocol } = subscribed();
  assert.deepEqual(protocol.receive({ type: "unsubscribed", id: 7, rooms: ["r"] }), [], "an answer");
  const [effect] = protocol.receive({ type: "unsubscribed", rooms: ["r"], reason: "room_closed" });
  assert.deepEqual([effect.type, effect.error.code], ["refused", "room_closed"]);
  assert.equal(position(protocol), undefined);
  assert.deepEqual(protocol.receive(event(5)), []);
});

test("many rooms are asked for in messages that the daemon takes", () => {
  const protocol = new Protocol();
  for (let n = 0; n < 1000; n += 1) protocol.want(`room-${n}`, { where: `x == "${"y".repeat(n % 7 ? 10 : 4000)}"` });
  const messages = protocol.flush();
  assert.equal(messages.reduce((sum, { rooms }) => sum + rooms.length, 0), 1000);
  for (const message of messages) assert.ok(JSON.stringify(message).length < 21_000 && message.rooms.length <= 1024);
  assert.equal(new Set(messages.map(({ id }) => id)).size, messages.length);
});

test("unknown messages and fields are ignored; an offset beside a room is a position all the same", () => {
  const { protocol } = subscribed();
  for (const message of [{ type: "novelty" }, { type: "pong", id: 1 }, {}]) assert.deepEqual(protocol.receive(message), []);
  protocol.receive({ type: "novelty", room: "r", offset: 77 });
  assert.equal(position(protocol).offset, 77);
});

// Histories at random against the plainest model: a log, connections that end anywhere, and what an application must have seen.
test("whatever ends where, an application has every event once and in order", () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  let state = seed;
  const random = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let history = 0; history < 500; history += 1) {
    const protocol = new Protocol();
    const log = [];
    const seen = [];
    let head = 0;
    protocol.want("r", { from: "start" });
    for (let connection = 0; connection < 8; connection += 1) {
      for (let n = random(20); n > 0; n -= 1) log.push({ n: (head += 1) });
      protocol.begin();
      const [message] = protocol.flush();
      const { from } = message.rooms[0];
      let at = from.after ? Number(from.after.split(":")[1]) : 0;
      const frames = [{ type: "welcome" }, { type: "subscribed", id: message.id, rooms: [{ room: "r", epoch: "e", head, offset: at, resumed: Boolean(from.after) }] }];
      while (at < head) {
        const data = log.slice(at, at + 1 + random(5));
        at += data.length;
        frames.push(data.length === 1 ? { type: "event", room: "r", offset: at, data: data[0] } : { type: "batch", room: "r", offset: at, data });
      }
      const kept = connection === 7 ? frames.length : random(frames.length + 1);
      for (const frame of frames.slice(0, kept)) seen.push(...delivered(protocol.receive(frame)));
    }
    assert.deepEqual(seen, log.map(({ n }) => n), `SEED=${seed}, history ${history}`);
  }
});
