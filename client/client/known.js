// The client of the Socket.IO service that broadcastd replaces: its names, arguments and callbacks. New code takes BroadcastClient.

import { BroadcastClient, encodeValue } from "../client.js";
import { checkWish, must } from "./protocol.js";

/** The callback that events of each type go to. @type {Record<string, string>} */
const CALLBACKS = {
  agent_state: "onAgentState",
  performance_metric: "onPerformanceMetrics",
  workflow_execution: "onWorkflowUpdate",
  memory_timeline: "onMemoryTimeline",
  system_alert: "onSystemAlert",
};

const SUBSCRIBE = "subscribe({ rooms, agentFilters?, metricFilters?, updateFrequency? })";
/** Between two deliveries, in milliseconds: what the daemon takes. Shorter waits mean no wait. */
const [SHORTEST, LONGEST] = [250, 60_000];

/**
 * @typedef {{ ask: string, options: any, stop?: () => void, ready?: boolean }} Entry
 *   A room that is wanted. `ask` names its options, `stop` is there while the client is subscribed to it.
 */

/**
 * The old client's surface. Events go to the callback of their type, whatever room they come from; `onPerformanceMetrics` gets
 * an array, all others one event. An event in two subscribed rooms arrives once for each, as it did there.
 */
export class UniversalAIWebSocketClient {
  /** @type {any} */ #options;
  /** @type {any} */ #handlers;
  /** @type {BroadcastClient} */ #client;
  /** @type {Map<string, Entry>} */ #rooms = new Map();
  /** Confirmed, and not reported yet. @type {string[]} */ #confirmed = [];
  #begun = false;
  #connected = false;

  /**
   * @param {any} [options] options, and callbacks if they are not kept apart
   * @param {any} [handlers] callbacks
   */
  constructor(options = {}, handlers = {}) {
    this.#options = options;
    this.#handlers = handlers;
    const { serverUrl, autoConnect = true, retryAttempts, retryDelay, subscriptions, debug, ...rest } = options;
    this.#client = new BroadcastClient(serverUrl, {
      ...rest,
      debug: debug === true ? (/** @type {unknown[]} */ ...words) => console.log(...words) : debug,
      retry: { min: retryDelay, attempts: retryAttempts },
      onState: (state) => this.#turned(state),
      onError: (error) => this.#failed(error.room ? "onSubscriptionError" : "onError", error),
    });
    if (subscriptions) this.subscribe(subscriptions);
    if (autoConnect) this.connect();
  }

  /** The client beneath: its state, positions, and everything that the old one could not do. */
  get client() {
    return this.#client;
  }

  isConnected() {
    return this.#connected;
  }

  getConnectionStatus() {
    const { client, attempt } = this.#client.state;
    return { connected: this.#connected, socketId: client, reconnectAttempts: attempt };
  }

  connect() {
    if (!this.#begun) {
      this.#begun = true;
      for (const [room, entry] of this.#rooms) this.#join(room, entry);
    }
    this.#client.connect();
  }

  disconnect() {
    this.#client.close();
  }

  ping() {
    this.#client.ping();
  }

  /**
   * Before `connect` and while there is no connection, rooms are kept until there is one.
   * @param {any} preferences `{ rooms, agentFilters?, metricFilters?, updateFrequency? }`, or rooms alone: a name, or
   *   `{ room, … }` with a subscription's options, or a list of them
   */
  subscribe(preferences) {
    for (const { room, options } of wishesOf(preferences)) {
      const ask = JSON.stringify([options.where, options.every, options.snapshot]);
      const before = this.#rooms.get(room);
      if (before?.ask === ask) {
        if (before.ready && this.#connected) this.#confirm(room);
        continue;
      }
      // Other filters take over where the ones before them were.
      const after = before && this.#client.positions()[room];
      before?.stop?.();
      const entry = { ask, options: after ? { ...options, from: { after } } : options };
      this.#rooms.set(room, entry);
      if (this.#begun) this.#join(room, entry);
    }
  }

  /** @param {any} rooms a name or a list of names */
  unsubscribe(rooms) {
    const names = [rooms?.rooms ?? rooms].flat();
    for (const room of names) checkWish("unsubscribe(rooms)", room, {});
    for (const room of names) {
      this.#rooms.get(room)?.stop?.();
      this.#rooms.delete(room);
    }
  }

  /** @param {string} room @param {Entry} entry */
  #join(room, entry) {
    const take = (/** @type {any[]} */ events) => this.#take(events);
    const onReady = () => {
      entry.ready = true;
      this.#confirm(room);
    };
    entry.stop = this.#client.subscribe(room, null, { ...entry.options, onBatch: take, onSnapshot: take, onReady });
  }

  /** One confirmation for all rooms that are confirmed together. @param {string} room */
  #confirm(room) {
    if (this.#confirmed.push(room) > 1) return;
    queueMicrotask(() => this.#call("onSubscriptionConfirmed", { subscriptions: this.#confirmed.splice(0), timestamp: Date.now() }));
  }

  /** @param {any[]} events */
  #take(events) {
    const metrics = events.filter(({ type }) => type === "performance_metric");
    if (metrics.length) this.#call("onPerformanceMetrics", metrics);
    for (const event of events) if (event.type !== "performance_metric") this.#call(CALLBACKS[event.type], event);
  }

  /** @param {import("../types/client.d.ts").ClientState} state */
  #turned({ state, reason, hint, retryIn }) {
    const was = this.#connected;
    this.#connected = state === "open";
    if (this.#connected && !was) this.#call("onConnect");
    if (this.#connected) return;
    if (was) this.#call("onDisconnect", reason ?? "closed by the client");
    else if (reason && (retryIn !== undefined || state === "closed")) this.#failed("onError", { code: "connection", message: reason, hint });
  }

  /** @param {string} callback @param {any} error */
  #failed(callback, error) {
    const told = { ...error, error: error.message, timestamp: Date.now() };
    if (!this.#call(callback, told)) console.warn("broadcastd:", told);
  }

  /**
   * Whether there is such a callback. One that throws harms no other.
   * @param {string} callback
   * @param {...any} values
   */
  #call(callback, ...values) {
    const owner = this.#handlers?.[callback] ? this.#handlers : this.#options;
    try {
      owner[callback]?.(...values);
    } catch (error) {
      queueMicrotask(() => { throw error; });
    }
    return Boolean(owner[callback]);
  }
}

/**
 * Each room with its options. Throws a `TypeError` if one of them is none: then nothing was subscribed to.
 * @param {any} given
 * @returns {{ room: string, options: any }[]}
 */
function wishesOf(given) {
  const isWhole = given?.rooms !== undefined;
  const { rooms, agentFilters, metricFilters, updateFrequency = 0 } = isWhole ? given : { rooms: given };
  const agents = valuesOf("agentFilters", agentFilters);
  const metrics = valuesOf("metricFilters", metricFilters);
  const filters = [
    agents && `(!has(agentId) || agentId in ${agents})`,
    metrics && `(!has(metricName) || metricName in ${metrics} || category in ${metrics})`,
  ].filter(Boolean);
  must(Number.isFinite(updateFrequency) && updateFrequency >= 0, "`updateFrequency` must be milliseconds", updateFrequency, SUBSCRIBE);
  const pace = updateFrequency < SHORTEST ? undefined : Math.min(updateFrequency, LONGEST);
  return [rooms].flat().map((it) => {
    const { room, where, every = pace, ...rest } = typeof it === "string" ? { room: it } : it ?? {};
    const own = typeof where === "object" && where && filters.length
      ? Object.entries(where).map(([field, value]) => `${field} ${Array.isArray(value) ? "in" : "=="} ${JSON.stringify(value)}`).join(" && ")
      : where;
    const options = { ...rest, every, where: filters.length ? [own && `(${own})`, ...filters].filter(Boolean).join(" && ") : own };
    checkWish(SUBSCRIBE, room, options);
    return { room, options };
  });
}

/**
 * A filter's values as a condition has them, in one order, so that clients who want the same share a view.
 * @param {string} name
 * @param {any} filter
 */
function valuesOf(name, filter) {
  const values = [filter ?? []].flat();
  for (const it of values) must(typeof it === "string" || Number.isInteger(it), `\`${name}\` must be a list of strings`, it, SUBSCRIBE);
  return values.length && `[${[...new Set(values.map((it) => JSON.stringify(it)))].sort().join(", ")}]`;
}

/**
 * Agents and alerts; connections and errors are written to the console.
 * @param {string | URL} [serverUrl]
 * @param {any} [options] those of UniversalAIWebSocketClient
 */
export function createBasicClient(serverUrl, options = {}) {
  const told = {
    onConnect: () => console.log("broadcastd: connected"),
    onDisconnect: (/** @type {string} */ reason) => console.log("broadcastd: disconnected:", reason),
    onError: (/** @type {any} */ error) => console.error("broadcastd:", error),
  };
  return new UniversalAIWebSocketClient({ subscriptions: ["agent_states", "system_alerts"], ...told, ...options, serverUrl });
}

/**
 * Agents, metrics and alerts: `onUpdate` gets `agent_state`, `performance_metrics` or `system_alert` and what came, metrics as
 * an array. Of other rooms in `options`, it gets each event's type and the event.
 * @param {string | URL} serverUrl
 * @param {(type: any, data: any) => void} onUpdate
 * @param {any} [options]
 */
export function createMonitoringClient(serverUrl, onUpdate, options = {}) {
  must(typeof onUpdate === "function", "a callback must be a function", onUpdate, "createMonitoringClient(serverUrl, (type, data) => …)");
  const handlers = Object.fromEntries(Object.entries(CALLBACKS).map(([type, name]) => {
    const told = type === "performance_metric" ? "performance_metrics" : type;
    return [name, (/** @type {any} */ data) => onUpdate(told, data)];
  }));
  return new UniversalAIWebSocketClient({ subscriptions: ["agent_states", "performance_metrics", "system_alerts"], ...options, serverUrl }, handlers);
}

/**
 * One workflow: `onUpdate` gets each `workflow_execution` of it, once.
 * @param {string | URL} serverUrl
 * @param {string} workflowId
 * @param {(update: any) => void} onUpdate
 * @param {any} [options]
 */
export function createWorkflowClient(serverUrl, workflowId, onUpdate, options = {}) {
  must(typeof onUpdate === "function", "a callback must be a function", onUpdate, "createWorkflowClient(serverUrl, workflowId, (update) => …)");
  const subscriptions = [`workflow:${encodeValue(workflowId)}`];
  return new UniversalAIWebSocketClient({ subscriptions, ...options, serverUrl, onWorkflowUpdate: onUpdate });
}
