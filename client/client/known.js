// What front ends of the Socket.IO service that broadcastd replaces call by name. New code takes BroadcastClient itself.

import { BroadcastClient, encodeValue } from "../client.js";

/** The rooms of that service. */
const ROOMS = ["agent_states", "performance_metrics", "workflow_executions", "memory_timeline", "system_alerts"];

/** The callback that events of each type go to. @type {Record<string, string>} */
const CALLBACKS = {
  agent_state: "onAgentState",
  performance_metric: "onPerformanceMetrics",
  workflow_execution: "onWorkflowUpdate",
  memory_timeline: "onMemoryTimeline",
  system_alert: "onSystemAlert",
};

/**
 * The old client's surface. Events go to the callback of their type, whatever room they come from; `onPerformanceMetrics` gets
 * an array, all others one event. An event in two subscribed rooms arrives once for each, as it did there.
 */
export class UniversalAIWebSocketClient {
  /** @type {any} */ #options;
  /** @type {BroadcastClient} */ #client;
  /** @type {Map<string, () => void>} */ #stops = new Map();
  #connected = false;

  /**
   * @param {any} [options] options and callbacks
   * @param {any} [callbacks] callbacks, if they are kept apart
   */
  constructor(options = {}, callbacks = {}) {
    this.#options = { ...options, ...callbacks };
    const { serverUrl, autoConnect = true, retryAttempts, retryDelay, subscriptions = [], ...rest } = this.#options;
    this.#client = new BroadcastClient(serverUrl, {
      ...rest,
      retry: { min: retryDelay, attempts: retryAttempts },
      onState: (state) => this.#turned(state),
      onError: (error) => this.#call(error.room ? "onSubscriptionError" : "onError", error),
    });
    this.#wanted = subscriptions;
    if (autoConnect) this.connect();
  }

  /** Subscriptions until the first `connect`. @type {any[]} */
  #wanted;

  /** The client beneath: its state, positions, and everything that the old one could not do. */
  get client() {
    return this.#client;
  }

  isConnected() {
    return this.#connected;
  }

  connect() {
    this.#client.connect();
    this.subscribe(this.#wanted.splice(0));
  }

  disconnect() {
    this.#client.close();
  }

  /** @param {any} rooms a name, or `{ room, … }` with a subscription's options, or a list of them */
  subscribe(rooms) {
    for (const it of [rooms].flat()) {
      const { room, ...options } = typeof it === "string" ? { room: it } : it;
      if (this.#stops.has(room)) continue;
      const take = (/** @type {any[]} */ events) => this.#take(events);
      this.#stops.set(room, this.#client.subscribe(room, null, {
        ...options,
        onBatch: take,
        onSnapshot: take,
        onReady: () => this.#call("onSubscriptionConfirmed", { subscriptions: [room], timestamp: Date.now() }),
      }));
    }
  }

  /** @param {string | string[]} rooms */
  unsubscribe(rooms) {
    for (const room of [rooms].flat()) {
      this.#stops.get(room)?.();
      this.#stops.delete(room);
    }
  }

  /** @param {any[]} events */
  #take(events) {
    const metrics = events.filter(({ type }) => type === "performance_metric");
    if (metrics.length) this.#call("onPerformanceMetrics", metrics);
    for (const event of events) if (event.type !== "performance_metric") this.#call(CALLBACKS[event.type], event);
  }

  /** @param {import("../types/client.d.ts").ClientState} state */
  #turned({ state, reason, hint }) {
    const connected = state === "open";
    if (connected && !this.#connected) this.#call("onConnect");
    if (!connected && this.#connected) this.#call("onDisconnect", reason ?? "closed by the client");
    else if (hint) this.#call("onError", { code: "connection", message: reason, hint });
    this.#connected = connected;
  }

  /**
   * @param {string} callback
   * @param {...any} values
   */
  #call(callback, ...values) {
    this.#options[callback]?.(...values);
  }
}

/**
 * Agents and alerts.
 * @param {string | URL} [serverUrl]
 * @param {any} [options] those of UniversalAIWebSocketClient
 */
export function createBasicClient(serverUrl, options = {}) {
  return new UniversalAIWebSocketClient({ subscriptions: ["agent_states", "system_alerts"], ...options, serverUrl });
}

/**
 * Everything: `onEvent` gets each event's type and the event.
 * @param {string | URL} serverUrl
 * @param {(type: import("../types/client.d.ts").BuiltInEvent["type"], data: any) => void} onEvent
 * @param {any} [options]
 */
export function createMonitoringClient(serverUrl, onEvent, options = {}) {
  const one = (/** @type {any} */ event) => onEvent(event.type, event);
  const callbacks = Object.fromEntries(Object.values(CALLBACKS).map((name) => [name, one]));
  callbacks.onPerformanceMetrics = (/** @type {any} */ metrics) => metrics.forEach(one);
  return new UniversalAIWebSocketClient({ subscriptions: ROOMS, ...options, serverUrl }, callbacks);
}

/**
 * One workflow: `onUpdate` gets each `workflow_execution` of it.
 * @param {string | URL} serverUrl
 * @param {string} workflowId
 * @param {(update: any) => void} onUpdate
 * @param {any} [options]
 */
export function createWorkflowClient(serverUrl, workflowId, onUpdate, options = {}) {
  const subscriptions = [`workflow:${encodeValue(workflowId)}`];
  return new UniversalAIWebSocketClient({ subscriptions, ...options, serverUrl, onWorkflowUpdate: onUpdate });
}
