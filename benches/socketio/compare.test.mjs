// The comparison, briefly: it says what it says it does, and what goes wrong is counted.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { Fleet, Times, event } from "./load.mjs";
import { SERVERS } from "./server.mjs";

const daemon = process.env.BROADCASTD ?? join(import.meta.dirname, "..", "..", "target", "debug", "broadcastd");
const compare = (...args) =>
  spawnSync(process.execPath, [join(import.meta.dirname, "compare.mjs"), "--daemon", daemon, ...args], { encoding: "utf8" });

test("every server delivers everything once, and a line and a row say what it took", () => {
  const names = Object.keys(SERVERS);
  const { status, stdout, stderr } = compare(
    "--clients", "20", "--rate", "100", "--seconds", "0.3", "--rounds", "1", "--full-speed", "--idle", "120", "--servers", names.join());
  assert.equal(status, 0, stderr);
  const lines = stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  assert.equal(lines.length, 3 * names.length, stdout);
  for (const line of lines) {
    assert.ok(Object.values(line.wrong).every((count) => count === 0), JSON.stringify(line));
    if (line.scenario === "paced") assert.equal(line.deliveries, 20 * 30);
    if (line.scenario === "full-speed") assert.ok(line.deliveries >= 20 * 64, JSON.stringify(line));
    if (line.scenario === "idle") assert.ok(line.resident_mib_120 > 1);
    else assert.ok(line.cpu_us_per_delivery > 0.01 && line.p50_ms <= line.p99_ms, JSON.stringify(line));
  }
  for (const name of names) assert.match(stdout, new RegExp(`^scenario .* ${name}`, "m"));
});

test("what is lost, doubled, changed or never published is counted", () => {
  const fleet = new Fleet({});
  fleet.clients.push({}, {});
  fleet.producer = { write() {} };
  fleet.publish(5);
  let next = 0;
  for (const n of [0, 1, 1, 4]) next = fleet.deliver(n, next);
  assert.equal(next, 5);
  assert.equal(fleet.complete, 0, "the other client has had nothing");
  assert.equal(fleet.deliver(5, next), 5);
  fleet.compare({ ...fleet.events[1], status: "offline" });
  fleet.compare(event(7));
  assert.deepEqual(fleet.wrong, { lost: 2, doubled: 1, differ: 2, other: 1, closed: 0 });
  assert.equal(fleet.example, "event 1 came instead of 2");
});

test("events are as long as they are said to be, and times lie in their buckets", () => {
  for (const n of [0, 9, 123_456]) assert.equal(JSON.stringify(event(n)).length + 1, 250);
  const times = new Times();
  for (let n = 1; n <= 1000; n += 1) times.add(n / 10);
  for (const [share, expected] of [[0.5, 50], [0.99, 99], [1, 100]]) {
    assert.ok(Math.abs(times.quantile(share) / expected - 1) < 0.03, `${share}: ${times.quantile(share)}`);
  }
});

test("options that mean nothing are refused", () => {
  for (const [args, says] of [
    [["--clients", "0"], /--clients: 0 is not in 1 to/],
    [["--rate", "x"], /--rate: x/],
    [["--idle", "5"], /--idle: 5 is not in 101 to/],
    [["--servers", "apache"], /apache is none of broadcastd/],
    [["--fast"], /--fast/],
  ]) {
    const { status, stderr } = compare(...args);
    assert.equal(status, 64, stderr);
    assert.match(stderr, says);
  }
  const { status, stderr } = compare("--daemon", "/nonexistent/broadcastd", "--servers", "broadcastd");
  assert.equal(status, 1);
  assert.match(stderr, /no daemon at \/nonexistent\/broadcastd/);
});
