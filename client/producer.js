// Events from a program to broadcastd.
//
//     import { broadcastAgentState, startStreaming } from "broadcastd-client/producer";
//     startStreaming(5000);                                        // this process's CPU and memory
//     broadcastAgentState({ agentId: "42", status: "busy", currentTask: "reading" });
//
// A call with wrong arguments throws a `TypeError` that shows the right call. A daemon that is away, hangs or refuses an event
// never makes a call throw or wait: `stats()` counts what became of the events.
//
// Events wait in a queue of at most 10,000. A full queue drops its oldest event. They go out in batches, one at a time, each
// within a deadline. A batch that certainly did not arrive is sent again. One that may have arrived (the daemon hung, the
// connection broke half-way) counts as lost: no event arrives twice.

import { check, integrationsOf, textOf } from "./client/integrations.js";

const BATCH_EVENTS = 500;
const BATCH_CHARS = 256 * 1024;
/** How long a first event waits for others to go with it. */
const LINGER_MS = 20;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 5000;

/**
 * @typedef {import("./types/producer.d.ts").ProducerOptions} ProducerOptions
 * @typedef {{ sent: number, rejected: any[], rest?: string[], lost?: number, error?: string, retryAfter?: number }} Outcome
 *   `rest` certainly did not arrive and can be sent again.
 * @typedef {{ send(lines: string[], deadline: number): Promise<Outcome> }} Wire
 */

/** @type {any} */
const process = /** @type {any} */ (globalThis).process;

/** A queue before one wire to the daemon. */
export class Producer {
  /** @type {ProducerOptions} */ #options;
  /** @type {Wire} */ #wire;
  /** @type {string[]} */ #queue = [];
  #chars = 0;
  #stats = { sent: 0, rejected: 0, dropped: 0, lost: 0, invalid: 0 };
  #running = false;
  #failures = 0;
  #closed = false;
  /** @type {any} */ #timer;
  /** @type {any} */ #streaming;
  /** @type {Set<() => void>} */ #idle = new Set();
  #sample = sampler();

  /** @param {ProducerOptions} [options] */
  constructor(options = {}) {
    check("Producer(options)", [options], "new Producer({ to?, agentId?, queue?, queueChars?, deadline?, onError? })");
    this.#options = options;
    const to = String(options.to ?? process?.env?.BROADCASTD_INGEST ?? "http://127.0.0.1:9998");
    this.#wire = wireTo(to);
  }

  /** What became of the events so far. */
  stats() {
    return { queued: this.#queue.length, ...this.#stats };
  }

  /**
   * Puts an event into the queue; false if it is none, or if the producer is closed.
   * @param {any} event
   */
  send(event) {
    const line = this.#closed ? undefined : lineOf(event);
    if (line === undefined) {
      this.#stats.invalid += 1;
      return false;
    }
    this.#queue.push(line);
    this.#chars += line.length;
    this.#trim();
    if (!this.#running && this.#timer === undefined) this.#timer = setTimeout(() => this.#run(), LINGER_MS);
    return true;
  }

  /** @param {any} fields */
  broadcastAgentState(fields) {
    const { cpu, memory } = this.#sample();
    const given = { agentId: this.#options.agentId, resourceUsage: { cpu, memory, activeConnections: 0 } };
    return this.#broadcast("broadcastAgentState({ agentId, status, currentTask?, resourceUsage?, metadata? })", "agent_state", given, fields);
  }

  /** @param {any} fields */
  broadcastPerformanceMetric(fields) {
    const given = { agentId: this.#options.agentId, category: "agent", unit: "count" };
    return this.#broadcast("broadcastPerformanceMetric({ metricName, value, unit?, category?, agentId? })", "performance_metric", given, fields);
  }

  /** @param {any} fields */
  broadcastWorkflowUpdate(fields) {
    const given = { agentId: this.#options.agentId };
    return this.#broadcast("broadcastWorkflowUpdate({ workflowId, executionId, stage, status, progress?, … })", "workflow_execution", given, fields);
  }

  /** @param {any} fields */
  broadcastMemoryTimeline(fields) {
    const given = { agentId: this.#options.agentId, action: "created", importance: 0.5, tags: [] };
    return this.#broadcast("broadcastMemoryTimeline({ memoryId, action?, content?, importance?, tags? })", "memory_timeline", given, fields);
  }

  /** @param {any} fields */
  broadcastSystemAlert(fields) {
    const given = { severity: "info", component: this.#options.agentId ?? "application" };
    return this.#broadcast("broadcastSystemAlert({ severity?, component?, message, details? })", "system_alert", given, fields);
  }

  /**
   * @param {string} workflowId
   * @param {string} executionId
   * @param {string} [agentId]
   */
  startWorkflow(workflowId, executionId, agentId) {
    check("startWorkflow(workflowId, executionId, agentId?)", arguments);
    return this.#workflow({ workflowId, executionId, stage: "initialization", status: "running", progress: 0 }, agentId);
  }

  /**
   * @param {string} workflowId
   * @param {string} executionId
   * @param {string} stage
   * @param {number} progress 0 to 100
   * @param {string} [agentId]
   */
  updateWorkflowProgress(workflowId, executionId, stage, progress, agentId) {
    check("updateWorkflowProgress(workflowId, executionId, stage, progress, agentId?)", arguments);
    const within = Math.min(100, Math.max(0, progress));
    return this.#workflow({ workflowId, executionId, stage, status: "running", progress: within }, agentId);
  }

  /**
   * @param {string} workflowId
   * @param {string} executionId
   * @param {any} [result]
   * @param {string} [agentId]
   */
  completeWorkflow(workflowId, executionId, result, agentId) {
    check("completeWorkflow(workflowId, executionId, result?, agentId?)", arguments);
    return this.#workflow({ workflowId, executionId, stage: "completed", status: "completed", progress: 100, result }, agentId);
  }

  /**
   * Sends a warning as well, of the component `workflow-engine`.
   * @param {string} workflowId
   * @param {string} executionId
   * @param {any} error
   * @param {string} [agentId]
   */
  failWorkflow(workflowId, executionId, error, agentId) {
    check("failWorkflow(workflowId, executionId, error, agentId?)", arguments);
    const told = textOf(error);
    const details = { workflowId, executionId, error: told, agentId: agentId ?? this.#options.agentId };
    const isTaken = this.#workflow({ workflowId, executionId, stage: "failed", status: "failed", error: told }, agentId);
    return this.broadcastSystemAlert({ severity: "warning", component: "workflow-engine", message: `workflow ${workflowId} failed: ${told}`, details }) && isTaken;
  }

  /**
   * Sends this process's CPU and memory every so often, until `stopStreaming`. Does not keep the process running.
   * @param {number} [intervalMs]
   */
  startStreaming(intervalMs) {
    check("startStreaming(intervalMs?)", [intervalMs]);
    this.stopStreaming();
    const sample = sampler();
    this.#streaming = unref(setInterval(() => {
      const { cpu, memory } = sample();
      this.broadcastPerformanceMetric({ metricName: "process.cpu", value: cpu, unit: "percent" });
      this.broadcastPerformanceMetric({ metricName: "process.memory", value: memory, unit: "MB" });
    }, intervalMs ?? 5000));
    return () => this.stopStreaming();
  }

  stopStreaming() {
    clearInterval(this.#streaming);
  }

  /**
   * Resolves when nothing waits any more, or after so long; true if nothing waits.
   * @param {number} [timeoutMs]
   */
  async flush(timeoutMs = this.#options.deadline ?? 2000) {
    if (!this.#running && this.#queue.length) this.#run();
    if (this.#running || this.#queue.length) {
      await new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.#idle.delete(done);
          resolve(undefined);
        };
        const timer = setTimeout(done, timeoutMs);
        this.#idle.add(done);
      });
    }
    return !this.#running && !this.#queue.length;
  }

  /** Flushes and ends; what still waits then is dropped. @param {number} [timeoutMs] */
  async close(timeoutMs) {
    this.stopStreaming();
    const flushed = await this.flush(timeoutMs);
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stats.dropped += this.#queue.length;
    this.#queue = [];
    return flushed;
  }

  /** The old service's name for `close`. */
  destroy() {
    return this.close();
  }

  /**
   * What is `undefined` in `fields` leaves `given` as it is.
   * @param {string} call
   * @param {string} type
   * @param {any} given
   * @param {any} fields
   */
  #broadcast(call, type, given, fields) {
    check("broadcast(fields)", [fields], call);
    const own = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
    return this.send({ ...given, ...own, type });
  }

  /** @param {any} fields @param {string} [agentId] */
  #workflow(fields, agentId) {
    return this.broadcastWorkflowUpdate({ ...fields, agentId: agentId ?? undefined });
  }

  /** Drops the oldest over the bounds. */
  #trim() {
    const { queue = 10_000, queueChars = 16 * 1024 * 1024 } = this.#options;
    while (this.#queue.length > queue || (this.#chars > queueChars && this.#queue.length)) {
      this.#chars -= /** @type {string} */ (this.#queue.shift()).length;
      this.#stats.dropped += 1;
    }
  }

  /** Sends until nothing waits, or the daemon is away: then it is tried again later. */
  async #run() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running = true;
    while (this.#queue.length && !this.#closed) {
      const lines = this.#batch();
      const { sent, rejected, rest = [], lost = 0, error, retryAfter } = await this.#send(lines);
      this.#stats.sent += sent;
      this.#stats.lost += lost;
      for (const it of rejected) {
        this.#stats.rejected += it.count ?? 1;
        this.#say(it);
      }
      this.#queue.unshift(...rest);
      for (const line of rest) this.#chars += line.length;
      this.#trim();
      if (error === undefined) {
        this.#failures = 0;
        continue;
      }
      if (this.#failures === 0) this.#say({ code: "unreachable", message: error });
      this.#failures += 1;
      const wait = retryAfter ?? Math.random() * Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#failures);
      this.#timer = unref(setTimeout(() => this.#run(), wait));
      break;
    }
    this.#running = false;
    if (!this.#queue.length) for (const done of [...this.#idle]) done();
  }

  /** @param {string[]} lines @returns {Promise<Outcome>} */
  async #send(lines) {
    try {
      return await this.#wire.send(lines, this.#options.deadline ?? 2000);
    } catch (error) {
      return { sent: 0, rejected: [], lost: lines.length, error: String(error) };
    }
  }

  #batch() {
    let chars = 0;
    let count = 0;
    while (count < this.#queue.length && count < BATCH_EVENTS && (count === 0 || chars + this.#queue[count].length <= BATCH_CHARS)) {
      chars += this.#queue[count].length;
      count += 1;
    }
    this.#chars -= chars;
    return this.#queue.splice(0, count);
  }

  /** @param {any} error */
  #say(error) {
    try {
      this.#options.onError?.(error);
    } catch {
      // The program's own trouble must not end the sending of its events.
    }
  }
}

/**
 * An address that is none is a daemon that is never there: a typing error must not stop the program either.
 * @param {string} to
 * @returns {Wire}
 */
function wireTo(to) {
  try {
    return /^https?:/.test(to) ? new HttpWire(to) : new LineWire(to);
  } catch (error) {
    const failure = `${to}: ${error}`;
    return { send: async (rest) => ({ sent: 0, rejected: [], rest, error: failure }) };
  }
}

/** POST /events. Each batch is a request on a connection of its own, so that none is sent on one that is dying. */
class HttpWire {
  #url;
  /** @param {string} to */
  constructor(to) {
    this.#url = new URL(to);
    if (this.#url.pathname === "/") this.#url.pathname = "/events";
  }

  /**
   * @param {string[]} lines
   * @param {number} deadline
   * @returns {Promise<Outcome>}
   */
  async send(lines, deadline) {
    const post = process?.versions?.node ? postByNode : postByFetch;
    const answer = await post(this.#url, lines.join(""), deadline);
    if (answer.error !== undefined) {
      const { isCertain, error } = answer;
      return isCertain ? { sent: 0, rejected: [], rest: lines, error } : { sent: 0, rejected: [], lost: lines.length, error };
    }
    const { status, retryAfter } = answer;
    const counts = parse(answer.body);
    const { accepted = 0, rejected = 0, errors = [] } = counts;
    if (status !== 503) {
      if (counts.accepted !== undefined) return { sent: accepted, rejected: spread(errors, rejected) };
      const { code = "http", message = `status ${status}`, hint } = counts.error ?? {};
      return { sent: 0, rejected: [{ code, message, hint, count: lines.length }] };
    }
    // The daemon took the beginning; from the first that it had no room for, all can be sent again.
    const first = errors.find((/** @type {any} */ it) => it.code === "backlog_full" || it.code === "stopping");
    const done = first ? first.line - 1 : accepted + rejected;
    const rest = lines.slice(done);
    const refused = errors.filter((/** @type {any} */ it) => it.line <= done);
    return { sent: accepted, rejected: spread(refused, done - accepted), rest, error: "status 503", retryAfter };
  }
}

/** The first errors are told, the others are a number. @param {any[]} errors @param {number} count */
function spread(errors, count) {
  const told = errors.slice(0, Math.max(0, count));
  return count > told.length ? [...told, { code: "others", message: "more events were refused", count: count - told.length }] : told;
}

/** Failures before which nothing can have been sent. */
const CERTAIN = new Set(["ECONNREFUSED", "ENOENT", "ENOTFOUND", "EAI_AGAIN", "EACCES", "EHOSTUNREACH", "ENETUNREACH"]);

/**
 * @param {URL} url
 * @param {string} body
 * @param {number} deadline
 * @returns {Promise<any>}
 */
async function postByNode(url, body, deadline) {
  const { request } = await import(url.protocol === "https:" ? "node:https" : "node:http");
  return new Promise((resolve) => {
    let connected = false;
    const fail = (/** @type {any} */ error) => resolve({ error: error.message || error.code, isCertain: !connected || CERTAIN.has(error.code) });
    const headers = { "content-type": "application/x-ndjson", "content-length": new TextEncoder().encode(body).length };
    const asked = request(url, { method: "POST", agent: false, headers }, (/** @type {any} */ answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (/** @type {string} */ data) => (text += data)).on("error", fail);
      answer.on("end", () => {
        clearTimeout(timer);
        const seconds = Number(answer.headers["retry-after"]);
        resolve({ status: answer.statusCode, body: text, retryAfter: seconds > 0 ? seconds * 1000 : undefined });
      });
    });
    const timer = setTimeout(() => asked.destroy(new Error(`no answer within ${deadline} ms`)), deadline);
    asked.on("socket", (/** @type {any} */ socket) => socket.once("connect", () => (connected = true)));
    asked.on("error", (/** @type {any} */ error) => {
      clearTimeout(timer);
      fail(error);
    });
    asked.end(body);
  });
}

/**
 * @param {URL} url
 * @param {string} body
 * @param {number} deadline
 * @returns {Promise<any>}
 */
async function postByFetch(url, body, deadline) {
  try {
    const headers = { "content-type": "application/x-ndjson" };
    const answer = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(deadline), keepalive: body.length < 60_000 });
    return { status: answer.status, body: await answer.text() };
  } catch (error) {
    return { error: String(error), isCertain: false }; // a browser does not say at which step it failed
  }
}

/**
 * Lines, to `tcp://HOST:PORT` or `unix:PATH`. Each batch has a connection of its own: over TCP the daemon answers at the end of
 * the stream.
 */
class LineWire {
  #to;
  /** @param {string} to */
  constructor(to) {
    this.#to = to.startsWith("unix:") ? { path: to.slice(5).replace(/^\/\/\//, "/") } : address(to);
  }

  /**
   * @param {string[]} lines
   * @param {number} deadline
   * @returns {Promise<Outcome>}
   */
  async send(lines, deadline) {
    const { connect } = await import("node:net");
    return new Promise((resolve) => {
      const socket = connect({ ...this.#to, allowHalfOpen: true });
      let begun = false;
      let answer = "";
      const over = (/** @type {Outcome} */ outcome) => {
        clearTimeout(timer);
        socket.destroy();
        resolve(outcome);
      };
      const fail = (/** @type {any} */ { message, code }) => {
        const error = message || code;
        over(begun ? { sent: 0, rejected: [], lost: lines.length, error } : { sent: 0, rejected: [], rest: lines, error });
      };
      const timer = setTimeout(() => fail(new Error(`no answer within ${deadline} ms`)), deadline);
      socket.setEncoding("utf8").on("error", fail).on("data", (/** @type {string} */ data) => (answer += data));
      socket.on("connect", () => {
        begun = true;
        socket.end(lines.join(""));
      });
      socket.on("end", () => over(outcomeOf(answer, lines.length)));
    });
  }
}

/**
 * What the daemon's answers say of a batch. A listener with `ack = "none"` gives none: then what the kernel took counts as sent.
 * @param {string} answer
 * @param {number} count
 * @returns {Outcome}
 */
function outcomeOf(answer, count) {
  const told = answer.split("\n").map(parse);
  const errors = told.flatMap(({ error }) => error ?? []);
  const { accepted = count - errors.length, rejected = errors.length } = told.findLast((it) => it.accepted !== undefined) ?? {};
  return { sent: accepted, rejected: spread(errors, rejected), lost: Math.max(0, count - accepted - rejected) };
}

/** @param {string} to */
function address(to) {
  const { hostname, port } = new URL(to.includes("://") ? to : `tcp://${to}`);
  return { host: hostname.replace(/^\[|\]$/g, "") || "127.0.0.1", port: Number(port) || 9998 };
}

/** @param {string} text @returns {any} */
function parse(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** An event's line, with the time at which it happened; nothing if it is no event. @param {any} event */
function lineOf(event) {
  try {
    if (typeof event?.type !== "string" || Array.isArray(event)) return undefined;
    return `${JSON.stringify({ timestamp: Date.now(), ...event })}\n`;
  } catch {
    return undefined;
  }
}

/** A timer that does not keep the program running, where there is such a thing. @param {any} timer */
function unref(timer) {
  timer?.unref?.();
  return timer;
}

/** CPU in percent of one core since the last look, memory in MB; zeros where that cannot be known. */
function sampler() {
  let last = process?.cpuUsage?.();
  let at = performance.now();
  return () => {
    if (!process?.cpuUsage) return { cpu: 0, memory: 0 };
    const now = performance.now();
    const used = process.cpuUsage(last);
    const cpu = now - at < 1 ? 0 : Math.round((used.user + used.system) / (now - at)) / 10;
    if (now - at >= 1) {
      last = process.cpuUsage();
      at = now;
    }
    return { cpu, memory: Math.round(process.memoryUsage().rss / 104_857.6) / 10 };
  };
}

/** @type {Producer | undefined} */
let common;
/** The producer of the functions below. */
const shared = () => (common ??= new Producer());

/** Gives the functions below a producer with options of one's own. @param {ProducerOptions} options */
export function configure(options) {
  const next = new Producer(options);
  void common?.close();
  common = next;
  return next;
}

/** The producer of the functions below, by the old service's name. */
export const getBroadcastService = () => shared();

/**
 * The old service's groups of calls; without a service, on the producer of the functions below.
 * @param {import("./types/producer.d.ts").Producer} [service]
 * @returns {import("./types/producer.d.ts").BroadcastIntegrations}
 */
export function createBroadcastIntegrations(service) {
  if (service !== undefined && typeof service?.broadcastAgentState !== "function") {
    throw new TypeError("service must be a Producer: call createBroadcastIntegrations(getBroadcastService())");
  }
  return integrationsOf(() => service ?? shared());
}

/** @type {Producer["broadcastAgentState"]} */
export const broadcastAgentState = (...values) => shared().broadcastAgentState(...values);
/** @type {Producer["broadcastPerformanceMetric"]} */
export const broadcastPerformanceMetric = (...values) => shared().broadcastPerformanceMetric(...values);
/** @type {Producer["broadcastWorkflowUpdate"]} */
export const broadcastWorkflowUpdate = (...values) => shared().broadcastWorkflowUpdate(...values);
/** @type {Producer["broadcastMemoryTimeline"]} */
export const broadcastMemoryTimeline = (...values) => shared().broadcastMemoryTimeline(...values);
/** @type {Producer["broadcastSystemAlert"]} */
export const broadcastSystemAlert = (...values) => shared().broadcastSystemAlert(...values);
/** @type {Producer["startWorkflow"]} */
export const startWorkflow = (...values) => shared().startWorkflow(...values);
/** @type {Producer["updateWorkflowProgress"]} */
export const updateWorkflowProgress = (...values) => shared().updateWorkflowProgress(...values);
/** @type {Producer["completeWorkflow"]} */
export const completeWorkflow = (...values) => shared().completeWorkflow(...values);
/** @type {Producer["failWorkflow"]} */
export const failWorkflow = (...values) => shared().failWorkflow(...values);
/** @type {Producer["startStreaming"]} */
export const startStreaming = (...values) => shared().startStreaming(...values);
export const stopStreaming = () => shared().stopStreaming();
/** @type {Producer["flush"]} */
export const flush = (...values) => shared().flush(...values);
/** @type {Producer["close"]} */
export const close = (...values) => shared().close(...values);
export const stats = () => shared().stats();
