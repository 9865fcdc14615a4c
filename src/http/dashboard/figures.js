// The daemon's figures: /metrics, read every other second, and what has changed between two looks.

import { getText, poll } from "./api.js";

const PAUSE = 2000;
/** Looks that are kept for charts: ten minutes. */
const KEPT = 300;
/** Series by room are many, and the rooms' panel has them from the API. */
const isWanted = (line) => line.startsWith("broadcastd_") ? !line.startsWith("broadcastd_room_") || line.startsWith("broadcastd_room_events") : line.startsWith("process_");

/** Sums by name, and the buckets of the event age. */
export function parse(text) {
  const sums = new Map();
  const buckets = new Map();
  for (const line of text.split("\n")) {
    if (!isWanted(line)) continue;
    const space = line.lastIndexOf(" ");
    const value = Number(line.slice(space + 1));
    const brace = line.indexOf("{");
    const name = line.slice(0, brace < 0 ? space : brace);
    if (name === "broadcastd_event_age_seconds_bucket") {
      const bound = /le="([^"]+)"/.exec(line)?.[1];
      buckets.set(bound === "+Inf" ? Infinity : Number(bound), value);
    } else sums.set(name, (sums.get(name) ?? 0) + value);
  }
  return { sums, buckets };
}

/** The bound under which `share` of what came between two looks lies; NaN if nothing came. */
export function quantile(before, after, share) {
  const bounds = [...after.keys()].sort((a, b) => a - b);
  const since = (bound) => after.get(bound) - (before.get(bound) ?? 0);
  const total = bounds.length ? since(bounds.at(-1)) : 0;
  if (!(total > 0)) return NaN;
  let low = 0;
  let under = 0;
  for (const bound of bounds) {
    const here = since(bound);
    if (here >= share * total) {
      if (bound === Infinity) return low;
      return low + (bound - low) * ((share * total - under) / Math.max(1, here - under));
    }
    [low, under] = [bound, here];
  }
  return low;
}

export class Figures {
  constructor() {
    /** @type {{ at: number, in: number, out: number, rejected: number, p99: number, cpu: number, memory: number, clients: number }[]} */
    this.history = [];
    this.now = null;
    this.watchers = new Set();
    this.before = null;
  }

  /** @param {(error: Error | null) => void} state */
  start(state) {
    poll((signal) => getText("metrics", signal), PAUSE, (text) => {
      this.take(parse(text), Date.now());
      state(null);
    }, state);
  }

  take(look, at) {
    const { before } = this;
    this.before = { ...look, at };
    const value = (name) => look.sums.get(name) ?? 0;
    const seconds = before ? (at - before.at) / 1000 : NaN;
    const isSame = before && value("process_start_time_seconds") === (before.sums.get("process_start_time_seconds") ?? 0);
    const speed = (name) => (isSame ? Math.max(0, value(name) - (before.sums.get(name) ?? 0)) / seconds : NaN);
    this.now = {
      at,
      in: speed("broadcastd_ingest_events_total"),
      out: speed("broadcastd_deliveries_total"),
      rejected: speed("broadcastd_ingest_rejected_total"),
      rejectedTotal: value("broadcastd_ingest_rejected_total"),
      gaps: value("broadcastd_gaps_total"),
      p50: isSame ? quantile(before.buckets, look.buckets, 0.5) : NaN,
      p99: isSame ? quantile(before.buckets, look.buckets, 0.99) : NaN,
      cpu: speed("process_cpu_seconds_total") * 100,
      memory: value("process_resident_memory_bytes"),
      clients: value("broadcastd_clients"),
      blocked: value("broadcastd_clients_blocked"),
      producers: value("broadcastd_producers"),
      rooms: value("broadcastd_rooms"),
      backlog: value("broadcastd_backlog_bytes"),
      history: value("broadcastd_history_bytes"),
    };
    if (isSame) this.history.push(this.now);
    if (this.history.length > KEPT) this.history.shift();
    for (const watcher of this.watchers) watcher(this.now);
  }

  /** Calls with every look. Returns what ends it. */
  watch(watcher) {
    this.watchers.add(watcher);
    if (this.now) watcher(this.now);
    return () => this.watchers.delete(watcher);
  }
}
