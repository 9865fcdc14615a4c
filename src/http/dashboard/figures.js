// The daemon's figures: its status, and the last ten minutes, which it keeps second by second.

import { getJson, poll } from "./api.js";

const PAUSE = 2000;
/** Seconds that are kept for charts. */
const KEPT = 600;
/** Seconds that a rate is the mean of. */
const STEADY = 5;

/** @typedef {{ at: number } & Record<string, number | null>} Row a second: when it ended (seconds since 1970), and what it had */

/** An answer of `/api/v1/trend` as rows. */
export function rowsOf({ started: _started, next: _next, at, ...columns }) {
  return at.map((ms, n) => ({ at: ms / 1000, ...Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[n]])) }));
}

/** The rows of ten minutes, with the newer ones added. Between two processes stands a row without values, where lines end. */
export function extend(rows, newer, isOther) {
  const seam = isOther && rows.length && newer.length ? [Object.fromEntries(Object.keys(newer[0]).map((name) => [name, name === "at" ? rows.at(-1).at + 0.5 : null]))] : [];
  const last = isOther ? (rows.at(-1)?.at ?? 0) : -Infinity;
  const all = [...rows, ...seam, ...newer.filter(({ at }) => at > last)];
  const first = (all.at(-1)?.at ?? 0) - KEPT - 1;
  return all.filter(({ at }) => at >= first);
}

const mean = (rows, name) => {
  const values = rows.map((row) => row[name]).filter((value) => value !== null);
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
};

export class Figures {
  #next = 0;
  #watchers = new Set();

  constructor() {
    /** @type {Row[]} the last ten minutes */
    this.history = [];
    /** Figures of this moment; null until the daemon has answered. */
    this.now = null;
    /** The daemon's status, as its API tells it. */
    this.status = null;
    /** When its process started, in milliseconds since 1970. */
    this.started = null;
    /** Why there is nothing newer, and when the last answer came; null while the daemon answers. */
    this.trouble = null;
    this.answered = Date.now();
  }

  start() {
    poll((signal) => this.#look(signal), PAUSE, (told) => this.#take(told), (error) => {
      this.trouble = { error, since: this.answered };
      this.#tell();
    });
  }

  async #look(signal) {
    const trend = (after) => getJson(`api/v1/trend?after=${after}`, signal);
    const [status, part] = await Promise.all([getJson("api/v1/websocket/status", signal), trend(this.#next)]);
    // Another process numbers its seconds anew.
    return { status, trend: this.#next && part.started !== this.started ? await trend(0) : part };
  }

  #take({ status, trend }) {
    const isOther = this.started !== null && this.started !== trend.started;
    this.history = extend(this.history, rowsOf(trend), isOther);
    [this.started, this.#next, this.status] = [trend.started, trend.next, status];
    [this.trouble, this.answered] = [null, Date.now()];
    const rows = this.history.slice(-STEADY);
    const newest = (name) => this.history.at(-1)?.[name] ?? NaN;
    const told = (name) => rows.findLast((row) => row[name] !== null)?.[name] ?? NaN;
    this.now = {
      in: mean(rows, "in"),
      own: mean(rows, "own"),
      out: mean(rows, "sent"),
      rejected: mean(rows, "rejected"),
      rejectedTotal: status.events.rejected,
      p50: told("age_p50_seconds"),
      p99: told("age_p99_seconds"),
      cpu: mean(rows, "cpu_percent"),
      memory: newest("memory_bytes"),
      clients: status.connectedClients,
      transports: status.transports,
      blocked: newest("blocked"),
      producers: status.producers,
      rooms: status.activeRooms,
      backlog: status.bufferStatus.backlogBytes,
      history: status.bufferStatus.historyBytes,
    };
    this.#tell();
  }

  #tell() {
    for (const watcher of this.#watchers) watcher(this);
  }

  /** Calls with every answer, and when none comes. Returns what ends it. */
  watch(watcher) {
    this.#watchers.add(watcher);
    if (this.now) watcher(this);
    return () => this.#watchers.delete(watcher);
  }
}
