// broadcastd and the official Socket.IO server under the same load, by turns, each alone on a core.
//
//   node benches/socketio/compare.mjs --help
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Fleet } from "./load.mjs";
import { DAEMON, SERVERS, Server } from "./server.mjs";

const HELP = `Usage: node compare.mjs [OPTIONS]

Prints one JSON line for each run and a table of medians. Ends with 1 if anything was lost, doubled or otherwise wrong.

  --clients COUNT      in one room [1000]
  --rate COUNT         events a second of 250 bytes, one at a time [20]
  --seconds SECONDS    of each measurement [5]
  --rounds COUNT       of runs that take turns [3]
  --full-speed         as many events as go through as well, 64 at most on their way to all clients
  --idle COUNT,COUNT   clients that wait while the server's memory is looked at, or "none" [1000,5000]
  --servers NAME,…     of ${Object.keys(SERVERS).join(", ")} [broadcastd,official]
  --daemon PATH        broadcastd [the release build]
  --no-isolate         stay in the system's network and with its congestion control
`;

/** Clients of which memory is not counted, since the first ones pay for what all share. */
const FIRST = 100;
/** For how long everything runs before it is measured, at full speed: connections, caches and compilers. No longer than the measurement. */
const WARM_MS = 1500;
/** Events that are on their way to somebody at most, and that are written together, at full speed. */
const AHEAD = 64;
const AT_ONCE = 8;
/** How long servers have to put their memory in order. No longer than the measurement. */
const REST_MS = 1000;
const rest = (seconds) => sleep(Math.min(REST_MS, seconds * 1000));
const [SERVER_CORE, LOAD_CORE] = [0, 1];
const INSIDE = "BROADCASTD_COMPARE_INSIDE";

class Usage extends Error {}

function options(args) {
  const { values } = parseArgs({
    args,
    options: {
      clients: { type: "string", default: "1000" },
      rate: { type: "string", default: "20" },
      seconds: { type: "string", default: "5" },
      rounds: { type: "string", default: "3" },
      "full-speed": { type: "boolean", default: false },
      idle: { type: "string", default: "1000,5000" },
      servers: { type: "string", default: "broadcastd,official" },
      daemon: { type: "string", default: DAEMON },
      "no-isolate": { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const number = (name, text, least, most, what = Number.isInteger) => {
    const value = Number(text);
    if (!what(value) || value < least || value > most) throw new Usage(`--${name}: ${text} is not in ${least} to ${most}`);
    return value;
  };
  const servers = values.servers.split(",");
  const unknown = servers.find((name) => !Object.hasOwn(SERVERS, name));
  if (unknown !== undefined) throw new Usage(`--servers: ${unknown} is none of ${Object.keys(SERVERS).join(", ")}`);
  return {
    ...values,
    clients: number("clients", values.clients, 1, 20_000),
    rate: number("rate", values.rate, 1, 1000),
    seconds: number("seconds", values.seconds, 0.1, 600, Number.isFinite),
    rounds: number("rounds", values.rounds, 1, 100),
    idle: values.idle === "none" ? [] : values.idle.split(",").map((count) => number("idle", count, FIRST + 1, 20_000)),
    servers,
  };
}

/** Publishes one event at a time, evenly. */
async function paced(fleet, { rate, seconds }) {
  const begin = performance.now();
  for (let n = 0; n < Math.max(1, Math.round(rate * seconds)); n += 1) {
    const wait = begin + (n * 1000) / rate - performance.now();
    if (wait > 0) await sleep(wait);
    fleet.publish(1);
  }
}

/** Publishes whenever that keeps no more than 64 on their way. */
async function fullSpeed(fleet, ms) {
  const end = performance.now() + ms;
  await new Promise((resolve) => {
    fleet.onComplete = () => {
      while (performance.now() < end && fleet.events.length + AT_ONCE - fleet.complete <= AHEAD) fleet.publish(AT_ONCE);
      if (performance.now() >= end) resolve();
    };
    fleet.onComplete();
    // Where deliveries stop coming, nothing completes, and what is missing is told later.
    setTimeout(resolve, ms + 1000);
  });
  fleet.onComplete = () => {};
}

async function measure(fleet, { seconds }, publish) {
  await fleet.openProducer();
  await fullSpeed(fleet, Math.min(WARM_MS, seconds * 1000));
  await fleet.delivered();
  await rest(seconds);
  const [{ deliveries }, events] = [fleet, fleet.events.length];
  fleet.times = new fleet.times.constructor();
  const before = { wall: performance.now(), server: fleet.server.cpu(), load: process.cpuUsage() };
  await publish();
  await fleet.delivered();
  const cpu = (fleet.server.cpu() - before.server) / 1000;
  const wall = (performance.now() - before.wall) * 1000;
  const { user, system } = process.cpuUsage(before.load);
  const made = fleet.deliveries - deliveries;
  return {
    deliveries: made,
    cpu_us_per_delivery: cpu / made,
    p50_ms: fleet.times.quantile(0.5),
    p99_ms: fleet.times.quantile(0.99),
    events_per_second: ((fleet.events.length - events) / wall) * 1e6,
    server_percent: (cpu / wall) * 100,
    load_percent: ((user + system) / wall) * 100,
  };
}

async function idle(fleet, { idle: counts, seconds }) {
  await fleet.grow(FIRST);
  await rest(seconds);
  const first = await fleet.server.resident();
  const figures = {};
  for (const count of counts.toSorted((a, b) => a - b)) {
    await fleet.grow(count);
    await rest(seconds);
    const resident = await fleet.server.resident();
    figures[`bytes_each_${count}`] = (resident - first) / (count - FIRST);
    figures[`resident_mib_${count}`] = resident / 2 ** 20;
  }
  return figures;
}

const SCENARIOS = {
  paced: async (fleet, chosen) => {
    await fleet.grow(chosen.clients);
    return measure(fleet, chosen, () => paced(fleet, chosen));
  },
  "full-speed": async (fleet, chosen) => {
    await fleet.grow(chosen.clients);
    return measure(fleet, chosen, () => fullSpeed(fleet, chosen.seconds * 1000));
  },
  idle,
};

/** One server, one scenario. Gives what goes into the run's JSON line. */
async function run(name, scenario, chosen) {
  const server = await Server.start(name, { daemon: chosen.daemon, core: chosen.pinned ? SERVER_CORE : undefined });
  const fleet = new Fleet(server);
  try {
    const figures = await SCENARIOS[scenario](fleet, chosen);
    await fleet.settle();
    return { figures, wrong: fleet.wrong, example: fleet.example };
  } finally {
    fleet.end();
    await server.stop();
  }
}

const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Four digits are more than any figure is good for. */
const rounded = (value) => (Number.isInteger(value) ? value : Number(value.toPrecision(4)));

const short = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(value >= 1000 ? 5 : 3));

/** Medians by server, and how many times the first server's the others' are. */
function table(runs, names) {
  const rows = [["scenario", "figure", ...names, ...names.slice(1).map((name) => `${name} / ${names[0]}`)]];
  for (const scenario of new Set(runs.map((run) => run.scenario))) {
    const own = runs.filter((run) => run.scenario === scenario);
    for (const figure of Object.keys(own[0].figures)) {
      const medians = names.map((name) => median(own.filter((run) => run.server === name).map((run) => run.figures[figure])));
      const ratios = medians.slice(1).map((value) => (medians[0] ? `${(value / medians[0]).toPrecision(3)} ×` : ""));
      rows.push([scenario, figure, ...medians.map(short), ...ratios]);
    }
    const faults = names.map((name) =>
      own.filter((run) => run.server === name).flatMap((run) => Object.values(run.wrong)));
    rows.push([scenario, "lost, doubled or wrong", ...faults.map((counts) => String(counts.reduce((sum, count) => sum + count, 0)))]);
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd()).join("\n");
}

async function main(chosen) {
  const congestion = readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "utf8").trim();
  const scenarios = ["paced", ...(chosen["full-speed"] ? ["full-speed"] : []), ...(chosen.idle.length ? ["idle"] : [])];
  const runs = [];
  for (let round = 1; round <= chosen.rounds; round += 1) {
    for (const scenario of scenarios) {
      for (const server of chosen.servers) {
        const { figures, ...found } = await run(server, scenario, chosen);
        runs.push({ server, scenario, figures, ...found });
        const { clients, rate, seconds } = chosen;
        const line = { server, scenario, round, clients, rate, seconds, congestion, pinned: chosen.pinned, ...figures, ...found };
        console.log(JSON.stringify(line, (_, value) => (typeof value === "number" ? rounded(value) : value)));
      }
    }
  }
  console.log(`\n${table(runs, chosen.servers)}`);
  const wrong = runs.filter(({ example }) => example !== undefined);
  for (const { server, scenario, example } of wrong) console.error(`${server}, ${scenario}: ${example}`);
  return wrong.length ? 1 : 0;
}

const has = (program) =>
  (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** Runs this program again on its core and, as root, in a network of its own with cubic or reno: BBR sends from timers, whose
 * time is charged to whichever process they interrupt. */
function inside(chosen) {
  const pinned = has("taskset") && cpus().length > 1;
  const own = [process.execPath, ...process.argv.slice(1)];
  const isolated = process.getuid() === 0 && has("unshare") && has("ip") && !chosen["no-isolate"];
  // Not every kernel allows cubic in a network that is not its first.
  const network = `ip link set lo up || exit
    for name in cubic reno; do { echo $name >/proc/sys/net/ipv4/tcp_congestion_control; } 2>/dev/null && break; done
    exec "$@"`;
  const command = [
    ...(pinned ? ["taskset", "-c", String(LOAD_CORE)] : []),
    ...(isolated ? ["unshare", "--net", "sh", "-c", network, "sh"] : []),
    ...own,
  ];
  if (!isolated) console.error("compare: no network of its own (that needs root): figures hold what the system's settings do");
  const env = { ...process.env, [INSIDE]: pinned ? "pinned" : "free" };
  const { status } = spawnSync(command[0], command.slice(1), { stdio: "inherit", env });
  return status ?? 1;
}

try {
  const chosen = options(process.argv.slice(2));
  const state = process.env[INSIDE];
  if (chosen.help) process.stdout.write(HELP);
  else process.exitCode = state === undefined ? inside(chosen) : await main({ ...chosen, pinned: state === "pinned" });
} catch (error) {
  const usage = error instanceof Usage || error.code?.startsWith("ERR_PARSE_ARGS");
  console.error(`compare: ${error.message}`);
  process.exitCode = usage ? 64 : 1;
}
