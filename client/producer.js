// Events from a program to broadcastd. Nothing here throws, waits, or grows without bound: a program must not notice whether the
// daemon is there. What could not be given is counted (`stats()`).
//
//     import { broadcastAgentState, startStreaming } from "broadcastd-client/producer";
//     startStreaming(5000);                                        // this process's CPU and memory
//     broadcastAgentState({ agentId: "42", status: "busy", currentTask: "reading" });
//
// Events wait in a queue of at most 10,000; when it is full the oldest is dropped, since the newest says most. They go out in
// batches, one at a time, each within a deadline. A batch that certainly did not arrive is sent again; one of which that cannot
// be known (the daemon hung, the connection broke half-way) is not, and counts as lost: no event arrives twice.

const BATCH_EVENTS = 500;
const BATCH_CHARS = 256 * 1024;
/** How long a first event waits for others to go with it. */
const LINGER_MS = 20;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 5000;
/** Workflows that are remembered; then the oldest is forgotten. */
const WORKFLOWS = 1000;

/**
 * @typedef {import("./types/producer.d.ts").ProducerOptions} ProducerOptions
 * @typedef {{ sent: number, rejected: any[], rest?: string[], lost?: number, error?: string, retryAfter?: number }} Outcome
 *   `rest` certainly did not arrive and can be sent again.
 * @typedef {{ send(lines: string[], deadline: number): Promise<Outcome>, close(): void }} Wire
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
  /** @type {Map<string, any>} */ #workflows = new Map();
  #sample = sampler();

  /** @param {ProducerOptions} [options] */
  constructor(options = {}) {
    this.#options = options;
    const to = String(options.to ?? process?.env?.BROADCASTD_INGEST ?? "http://127.0.0.1:9998");
    this.#wire = wireTo(to, (error) => this.#refused(error));
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
    return this.send({ type: "agent_state", agentId: this.#options.agentId, resourceUsage: { cpu, memory, activeConnections: 0 }, ...fields });
  }

  /** @param {any} fields */
  broadcastPerformanceMetric(fields) {
    return this.send({ type: "performance_metric", agentId: this.#options.agentId, category: "agent", unit: "count", ...fields });
  }

  /** @param {any} fields */
  broadcastWorkflowUpdate(fields) {
    return this.send({ type: "workflow_execution", agentId: this.#options.agentId, ...fields });
  }

  /** @param {any} fields */
  broadcastMemoryTimeline(fields) {
    return this.send({ type: "memory_timeline", agentId: this.#options.agentId, action: "created", importance: 0.5, tags: [], ...fields });
  }

  /** @param {any} fields */
  broadcastSystemAlert(fields) {
    return this.send({ type: "system_alert", severity: "info", component: this.#options.agentId ?? "application", ...fields });
  }

  /**
   * Begins an execution of a workflow; returns its id, which the other calls take.
   * @param {string} workflowId
   * @param {any} [fields]
   */
  startWorkflow(workflowId, fields = {}) {
    const { executionId = globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`, ...rest } = fields ?? {};
    this.#workflows.set(executionId, { stage: "start", ...rest, workflowId, executionId });
    for (const [oldest] of this.#workflows) {
      if (this.#workflows.size <= WORKFLOWS) break;
      this.#workflows.delete(oldest);
    }
    this.#workflow(executionId, { status: "running", progress: 0 });
    return executionId;
  }

  /**
   * @param {string} executionId
   * @param {number} progress 0 to 100
   * @param {any} [fields] `stage` stays what it was unless it is given
   */
  updateWorkflowProgress(executionId, progress, fields) {
    const known = this.#workflows.get(executionId);
    if (known && fields?.stage) known.stage = fields.stage;
    return this.#workflow(executionId, { status: "running", progress, ...fields });
  }

  /**
   * @param {string} executionId
   * @param {any} [result]
   */
  completeWorkflow(executionId, result) {
    return this.#workflow(executionId, { status: "completed", progress: 100, result }, true);
  }

  /**
   * @param {string} executionId
   * @param {any} error
   */
  failWorkflow(executionId, error) {
    return this.#workflow(executionId, { status: "failed", error: String(error?.message ?? error) }, true);
  }

  /**
   * Sends this process's CPU and memory every so often, until `stopStreaming`. Does not keep the process running.
   * @param {number} [intervalMs]
   */
  startStreaming(intervalMs = 5000) {
    this.stopStreaming();
    const sample = sampler();
    this.#streaming = unref(setInterval(() => {
      const { cpu, memory } = sample();
      this.broadcastPerformanceMetric({ metricName: "process.cpu", value: cpu, unit: "percent" });
      this.broadcastPerformanceMetric({ metricName: "process.memory", value: memory, unit: "MB" });
    }, intervalMs));
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
    this.#wire.close();
    return flushed;
  }

  /**
   * @param {string} executionId
   * @param {any} fields
   * @param {boolean} [isLast]
   */
  #workflow(executionId, fields, isLast = false) {
    const known = this.#workflows.get(executionId) ?? { workflowId: executionId, executionId, stage: "unknown" };
    if (isLast) this.#workflows.delete(executionId);
    return this.broadcastWorkflowUpdate({ ...known, ...fields });
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
      for (const it of rejected) this.#refused(it);
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
  #refused(error) {
    this.#stats.rejected += error.count ?? 1;
    this.#say(error);
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
 * @param {(error: any) => void} refused
 * @returns {Wire}
 */
function wireTo(to, refused) {
  try {
    return /^https?:/.test(to) ? new HttpWire(to) : new LineWire(to, refused);
  } catch (error) {
    const failure = `${to}: ${error}`;
    return { send: async (rest) => ({ sent: 0, rejected: [], rest, error: failure }), close() {} };
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

  close() {}
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

/** Lines on one connection: `tcp://HOST:PORT` or `unix:PATH`. What the kernel took counts as sent. */
class LineWire {
  /** @type {any} */ #socket = null;
  #to;
  #refused;
  /** @param {string} to @param {(error: any) => void} refused */
  constructor(to, refused) {
    this.#to = to.startsWith("unix:") ? { path: to.slice(5).replace(/^\/\/\//, "/") } : address(to);
    this.#refused = refused;
  }

  /**
   * @param {string[]} lines
   * @param {number} deadline
   * @returns {Promise<Outcome>}
   */
  async send(lines, deadline) {
    const { connect } = await import("node:net");
    return new Promise((resolve) => {
      const socket = (this.#socket ??= this.#listen(connect(this.#to)));
      let begun = false;
      const over = (/** @type {Outcome} */ outcome) => {
        clearTimeout(timer);
        for (const name of ["error", "close"]) socket.off(name, fail);
        socket.off("connect", write);
        if (outcome.error !== undefined) {
          this.#socket = null;
          socket.destroy();
        }
        resolve(outcome);
      };
      const fail = (/** @type {any} */ error) => {
        const message = error?.message || "the connection ended";
        over(begun ? { sent: 0, rejected: [], lost: lines.length, error: message } : { sent: 0, rejected: [], rest: lines, error: message });
      };
      const write = () => {
        begun = true;
        socket.write(lines.join(""), (/** @type {any} */ error) => (error ? fail(error) : over({ sent: lines.length, rejected: [] })));
      };
      const timer = setTimeout(() => fail(new Error(`not taken within ${deadline} ms`)), deadline);
      for (const name of ["error", "close"]) socket.on(name, fail);
      if (socket.connecting) socket.once("connect", write);
      else write();
    });
  }

  /** Reads the daemon's answers, so that they do not pile up, and notes when it goes. @param {any} socket */
  #listen(socket) {
    const gone = () => {
      if (this.#socket === socket) this.#socket = null;
      socket.end();
    };
    let rest = "";
    socket.setEncoding("utf8").setNoDelay(true);
    socket.on("error", gone).on("end", gone).on("close", gone);
    socket.on("data", (/** @type {string} */ data) => {
      const lines = (rest + data).split("\n");
      rest = (lines.pop() ?? "").slice(0, 65_536);
      for (const line of lines) {
        const { error } = parse(line);
        if (error) this.#refused(error);
      }
    });
    socket.unref(); // an idle connection does not keep the program running
    return socket;
  }

  close() {
    this.#socket?.end();
    this.#socket = null;
  }
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
  void common?.close();
  common = new Producer(options);
  return common;
}

/** @type {Producer["broadcastAgentState"]} */
export const broadcastAgentState = (fields) => shared().broadcastAgentState(fields);
/** @type {Producer["broadcastPerformanceMetric"]} */
export const broadcastPerformanceMetric = (fields) => shared().broadcastPerformanceMetric(fields);
/** @type {Producer["broadcastWorkflowUpdate"]} */
export const broadcastWorkflowUpdate = (fields) => shared().broadcastWorkflowUpdate(fields);
/** @type {Producer["broadcastMemoryTimeline"]} */
export const broadcastMemoryTimeline = (fields) => shared().broadcastMemoryTimeline(fields);
/** @type {Producer["broadcastSystemAlert"]} */
export const broadcastSystemAlert = (fields) => shared().broadcastSystemAlert(fields);
/** @type {Producer["startWorkflow"]} */
export const startWorkflow = (workflowId, fields) => shared().startWorkflow(workflowId, fields);
/** @type {Producer["updateWorkflowProgress"]} */
export const updateWorkflowProgress = (executionId, progress, fields) => shared().updateWorkflowProgress(executionId, progress, fields);
/** @type {Producer["completeWorkflow"]} */
export const completeWorkflow = (executionId, result) => shared().completeWorkflow(executionId, result);
/** @type {Producer["failWorkflow"]} */
export const failWorkflow = (executionId, error) => shared().failWorkflow(executionId, error);
/** @type {Producer["startStreaming"]} */
export const startStreaming = (intervalMs) => shared().startStreaming(intervalMs);
export const stopStreaming = () => shared().stopStreaming();
/** @type {Producer["flush"]} */
export const flush = (timeoutMs) => shared().flush(timeoutMs);
/** @type {Producer["close"]} */
export const close = (timeoutMs) => shared().close(timeoutMs);
export const stats = () => shared().stats();
