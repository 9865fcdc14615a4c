// A client of broadcastd: rooms in, events out, over as many connections as it takes.
//
//     import { BroadcastClient } from "http://127.0.0.1:9999/client.js";
//     const client = new BroadcastClient("ws://127.0.0.1:9999/ws");
//     const stop = client.subscribe("agent:42", (event) => console.log(event));
//
// What is said to the daemon, and where every room stands, is client/protocol.js; this file owns the connection, its timers and
// the application's handlers. Types: types/client.d.ts.

import { iterate } from "./client/iterate.js";
import { checkWish, must, Protocol } from "./client/protocol.js";
import { SOCKET } from "./client/served.js";
import { openSse } from "./client/sse.js";
import { openWebSocket } from "./client/websocket.js";

export { createBasicClient, createMonitoringClient, createWorkflowClient, UniversalAIWebSocketClient } from "./client/known.js";

/** Until the daemon says how often it sends something, and how long an answer may take. */
const HEARTBEAT_MS = 25_000;
const PONG_MS = 10_000;
/** A timer that is so late means that the page or the machine slept; how often that is looked at. */
const SLEPT_MS = 2000;
const LOOK_MS = 5000;
/** After a fallback that worked, WebSockets are tried again at the first reconnect after this long. */
const FALLBACK_MS = 300_000;
/** How often positions are written to `options.storage` while events come. */
const SAVE_MS = 1000;
const STORED = 1000;

const SUBSCRIBE = "subscribe(room, handler, { from, where, every, snapshot, … })";
/** What the daemon says as well (src/origin.rs). */
const NULL = 'serve the page over HTTP and not in a sandbox: files and sandboxed frames have the origin "null", which only "*" covers';
const NO_WEBSOCKET = "there is no WebSocket here: take Node 22, node --experimental-websocket, or options.WebSocket";

/**
 * @typedef {import("./types/client.d.ts").ClientOptions} ClientOptions
 * @typedef {import("./types/client.d.ts").ClientState} ClientState
 * @typedef {import("./types/client.d.ts").BroadcastError} BroadcastError
 * @typedef {import("./client/websocket.js").Failure} Failure
 * @typedef {import("./client/protocol.js").Effect} Effect
 * @typedef {{ handler: Function | null | undefined, options: any }} Listener
 */

/** A value as it stands in a room's name: `agent:{agentId}` of the agent `a/b` is `agent:a%2Fb`. @param {string | number} value */
export function encodeValue(value) {
  must(typeof value === "string" || typeof value === "number", "a value must be a string or a number", value, "encodeValue(value)");
  // eslint-disable-next-line no-control-regex
  return String(value).replace(/[%/:*\u0000-\u001f\u007f]/g, (it) => `%${it.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}

export class BroadcastClient {
  /** @type {URL} */
  #url;
  /** @type {ClientOptions} */
  #options;
  #protocol = new Protocol();
  /** @type {Map<string, { ask: string, at?: import("./client/protocol.js").Position, listeners: Set<Listener> }>} */
  #rooms = new Map();
  /** @type {ClientState} */
  #state = { state: "idle", transport: null, attempt: 0 };
  /** @type {Set<(state: ClientState) => void>} */
  #watchers = new Set();

  /** @type {import("./client/websocket.js").Transport | null} */
  #transport = null;
  /** Whatever a connection started is void once this is another one's. */
  #session = 0;
  #flushing = false;
  #attempt = 0;
  #everOpen = false;
  #openedAt = 0;
  #fallbackUntil = 0;
  /** When the daemon said to come back. @type {number | undefined} */
  #retryAfter;

  #heartbeat = HEARTBEAT_MS;
  #heard = 0;
  /** Questions in a row that were not answered. */
  #probes = 0;
  #next = 0;
  #due = 0;
  /** @type {any} */ #pulse;
  /** @type {any} */ #retry;
  /** @type {any} */ #later;
  /** @type {any} */ #save;

  /** What is gone on from after a reload of the page. @type {Map<string, import("./client/protocol.js").Position>} */
  #stored = new Map();
  /** @type {[any, string, (event: any) => void][]} */
  #listening = [];

  /**
   * @param {string | URL} [url]
   * @param {ClientOptions} [options]
   */
  constructor(url, options = {}) {
    const at = new URL(url ?? SOCKET ?? "/ws", globalThis.document?.baseURI ?? globalThis.location?.href);
    at.protocol = at.protocol.replace("http", "ws");
    if (at.pathname.endsWith("/")) at.pathname += "ws";
    this.#url = at;
    this.#options = options;
    if (options.onState) this.#watchers.add(options.onState);
    this.#load();
  }

  /** The connection's state now. */
  get state() {
    return this.#state;
  }

  /** @param {(state: ClientState) => void} watcher */
  onState(watcher) {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  /** Where every room stands: `{ "agent:42": "18c30:4" }`. */
  positions() {
    return Object.fromEntries(this.#protocol.positions().map(([room, { epoch, offset }]) => [room, `${epoch}:${offset}`]));
  }

  /**
   * @param {string} room
   * @param {Function | null | undefined} handler
   * @param {any} [options]
   * @returns {() => void}
   */
  subscribe(room, handler, options = {}) {
    checkWish(SUBSCRIBE, room, options);
    must(!handler || typeof handler === "function", "a handler must be a function or null", handler, SUBSCRIBE);
    const { from, where, snapshot, signal } = options;
    const every = typeof options.every === "number" ? `${Math.round(options.every)}ms` : options.every;
    const ask = JSON.stringify([where, every, snapshot]);
    let entry = this.#rooms.get(room);
    if (entry && entry.ask !== ask) {
      throw new Error(`${room} is subscribed to with other options (where, every, snapshot): a second client can have both`);
    }
    if (!entry) {
      // A board that begins with a snapshot has nothing to go on from after a reload.
      const at = snapshot ? undefined : this.#stored.get(room);
      entry = { ask, at, listeners: new Set() };
      this.#rooms.set(room, entry);
      this.#stored.delete(room);
      this.#protocol.want(room, { from, where, every, snapshot }, at);
      this.#flush();
    }
    const { at, listeners } = entry;
    /** @type {Listener} */
    const listener = { handler, options };
    listeners.add(listener);
    if (this.#protocol.isConfirmed(room)) queueMicrotask(() => listeners.has(listener) && this.#call(options.onReady, { room, resumed: false }));
    const stop = () => {
      if (!listeners.delete(listener) || listeners.size) return;
      this.#rooms.delete(room);
      // Left before anything came of it (React mounts twice): the next one may go on from there.
      if (this.#protocol.leave(room) === at && at) this.#stored.set(room, at);
      this.#flush();
    };
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    if (this.#state.state === "idle") this.connect();
    return stop;
  }

  /**
   * @param {string} room
   * @param {any} [options]
   */
  room(room, options = {}) {
    checkWish("room(room, { from, where, every, snapshot, … })", room, options);
    return { [Symbol.asyncIterator]: () => iterate(this, room, options) };
  }

  /** Connects, or goes on at once where it waits. The first subscription does it by itself. */
  connect() {
    if (this.#transport) return;
    this.#listen();
    this.#stop();
    const { transport = "auto" } = this.#options;
    const isFallback = transport === "auto" && (!this.#WebSocket || Date.now() < this.#fallbackUntil);
    this.#open(transport === "sse" || isFallback ? "sse" : "websocket");
  }

  /** Ends the connection and stays away until `connect`. Subscriptions and positions stay. */
  close() {
    this.#stop();
    this.#store();
    for (const [target, name, heard] of this.#listening.splice(0)) target.removeEventListener(name, heard);
    this.#become({ state: "closed" });
  }

  /** Asks the daemon for a sign of life. Without one in time, the client connects again. */
  ping() {
    if (this.#state.state !== "open") return;
    this.#probes = 0;
    this.#probe();
  }

  get #WebSocket() {
    return this.#options.WebSocket ?? globalThis.WebSocket;
  }

  get #fetch() {
    return this.#options.fetch ?? globalThis.fetch?.bind(globalThis);
  }

  /** The same daemon's other addresses. @param {string} path @param {boolean} [bare] */
  #beside(path, bare) {
    const at = new URL(this.#url);
    at.protocol = at.protocol.replace("ws", "http");
    at.pathname = at.pathname.replace(/\/[^/]*$/, path);
    if (bare) at.search = "";
    return at.href;
  }

  /**
   * @param {"websocket" | "sse"} kind
   * @returns {void}
   */
  #open(kind) {
    const session = ++this.#session;
    const isOurs = () => session === this.#session;
    this.#become({ state: "connecting", transport: kind });
    this.#protocol.begin();
    this.#retryAfter = undefined;
    this.#heartbeat = this.#options.heartbeat ?? HEARTBEAT_MS;
    /** @type {import("./client/websocket.js").Ears} */
    const ears = {
      heard: () => {
        this.#heard = Date.now();
        this.#probes = 0;
      },
      message: (message) => {
        this.#debug("←", message);
        for (const effect of this.#protocol.receive(message)) if (isOurs()) this.#carryOut(effect, kind);
      },
      closed: (failure) => isOurs() && this.#lost(failure, kind),
    };
    try {
      if (kind === "sse") {
        this.#transport = openSse(this.#beside("/sse"), this.#fetch, ears);
        this.#flush(); // not before this turn's other subscriptions, which share its stream
        if (!this.#rooms.size) return this.#opened(undefined, kind);
      } else {
        if (!this.#WebSocket) throw new Error(NO_WEBSOCKET);
        this.#transport = openWebSocket(this.#url.href, this.#WebSocket, ears);
      }
    } catch (error) {
      return void this.#lost({ reason: /** @type {Error} */ (error).message }, kind);
    }
    const { connectTimeout = 10_000 } = this.#options;
    this.#pulse = setTimeout(() => this.#lost({ reason: `no answer within ${connectTimeout} ms` }, kind), connectTimeout);
  }

  /** Sends what the daemon does not know yet, at the end of this turn: whoever leaves and comes back at once costs nothing. */
  #flush() {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (this.#state.state === "open" || this.#transport?.ping === false) this.#send();
    });
  }

  #send() {
    for (const message of this.#protocol.flush()) {
      this.#debug("→", message);
      this.#transport?.send(message);
    }
  }

  /**
   * @param {Effect} effect
   * @param {"websocket" | "sse"} kind
   */
  #carryOut(effect, kind) {
    switch (effect.type) {
      case "welcome":
        return this.#opened(effect.heartbeat, kind, effect.client);
      case "events":
        this.#deliver(effect);
        return this.#changed();
      case "snapshot": {
        const { room, events, offset, isPart } = effect;
        const meta = { room, offset, seq: null, source: "snapshot" };
        for (const it of this.#listeners(room)) {
          const { onSnapshot } = it.options;
          // What only makes a gap good is not the whole state: to the handler it is so many changes.
          if (onSnapshot && !isPart) this.#call(onSnapshot, events, { room, offset });
          else for (const event of events) this.#call(it.handler, event, meta);
        }
        return this.#changed();
      }
      case "gap": {
        const { type, ...gap } = effect;
        for (const it of this.#listeners(gap.room)) this.#call(it.options.onGap, gap);
        this.#call(this.#options.onGap, gap);
        return this.#changed();
      }
      case "ready":
        for (const it of this.#listeners(effect.room)) this.#call(it.options.onReady, { room: effect.room, resumed: effect.resumed });
        return this.#changed();
      case "refused": {
        const error = { ...effect.error, room: effect.room };
        for (const it of this.#listeners(effect.room)) this.#call(it.options.onError, error);
        return this.#failed(error);
      }
      case "error":
        return this.#failed({ code: effect.code, message: effect.message, hint: effect.hint });
      case "later": // too many subscriptions at once: of several answers the last one says when there is room for all
        clearTimeout(this.#later);
        this.#later = setTimeout(() => {
          this.#protocol.again();
          this.#flush();
        }, effect.after);
        return;
      case "closing":
        this.#retryAfter = effect.retryAfter;
    }
  }

  /** @param {string} room @returns {Listener[]} */
  #listeners(room) {
    return [...(this.#rooms.get(room)?.listeners ?? [])];
  }

  /** @param {Effect & { type: "events" }} effect */
  #deliver({ room, events, offsets, seqs, source, skipped }) {
    const listeners = this.#rooms.get(room)?.listeners;
    for (const it of this.#listeners(room)) {
      const { onBatch } = it.options;
      if (!listeners?.has(it)) continue;
      if (onBatch && (events.length > 1 || !it.handler)) {
        this.#call(onBatch, events, { room, offset: offsets.at(-1), offsets, seqs, source, skipped });
        continue;
      }
      for (let n = 0; n < events.length && listeners?.has(it); n += 1) {
        this.#call(it.handler, events[n], { room, offset: offsets[n], seq: seqs[n], source });
      }
    }
  }

  /** A handler that throws harms neither the others nor the position. @param {Function | null | undefined} handler @param {...any} values */
  #call(handler, ...values) {
    try {
      handler?.(...values);
    } catch (error) {
      const report = globalThis.reportError ?? ((/** @type {unknown} */ it) => queueMicrotask(() => { throw it; }));
      report(error);
    }
  }

  /** @param {BroadcastError} error */
  #failed(error) {
    this.#debug("error", error);
    if (this.#options.onError) this.#call(this.#options.onError, error);
    else console.warn(`broadcastd: ${error.room ? `${error.room}: ` : ""}${error.message}${error.hint ? ` (${error.hint})` : ""}`);
  }

  /**
   * @param {number | undefined} heartbeat
   * @param {"websocket" | "sse"} kind
   * @param {string} [client]
   */
  #opened(heartbeat, kind, client) {
    if (heartbeat && !this.#options.heartbeat) this.#heartbeat = heartbeat;
    this.#heard = Date.now();
    this.#probes = 0;
    if (this.#state.state !== "open") {
      this.#openedAt = this.#heard;
      if (kind === "websocket") this.#everOpen = true;
      else this.#fallbackUntil = this.#everOpen ? 0 : this.#heard + FALLBACK_MS;
      this.#become({ state: "open", transport: kind, client });
    }
    this.#send();
    this.#beat(this.#heartbeat);
  }

  /** Something is to be done after so long; until then, now and then a look at whether this slept. @param {number} wait */
  #beat(wait) {
    this.#next = Date.now() + wait;
    this.#doze();
  }

  #doze() {
    clearTimeout(this.#pulse);
    const wait = Math.min(LOOK_MS, Math.max(0, this.#next - Date.now()));
    this.#due = Date.now() + wait;
    this.#pulse = setTimeout(() => this.#check(), wait);
  }

  #check() {
    const now = Date.now();
    // Whoever slept has not seen yet what came meanwhile: a question from before is asked again, once.
    const slept = now - this.#due > SLEPT_MS;
    const quiet = now - this.#heard;
    if (!slept && now < this.#next) return this.#doze();
    if (!this.#transport?.ping && !this.#rooms.size) return this.#beat(this.#heartbeat); // no stream, no sign of life
    if (this.#probes > (slept ? 1 : 0)) return void this.#lost({ reason: `nothing was heard for ${quiet} ms` }, this.#state.transport ?? "websocket");
    if (slept || quiet >= this.#heartbeat) this.#probe();
    else this.#beat(this.#heartbeat - quiet);
  }

  /** Asks for an answer. Over SSE nothing can be asked; the daemon's next heartbeat must come. */
  #probe() {
    this.#probes += 1;
    if (!this.#transport?.ping) return this.#beat(this.#heartbeat);
    this.#transport.send({ type: "ping" });
    this.#beat(Math.min(this.#heartbeat, this.#options.pongTimeout ?? PONG_MS));
  }

  /**
   * @param {Failure} failure
   * @param {"websocket" | "sse"} kind
   * @returns {Promise<void>}
   */
  async #lost(failure, kind) {
    const wasOpen = this.#state.state === "open";
    const after = failure.retryAfter ?? this.#retryAfter;
    this.#stop();
    this.#store();
    this.#debug("lost", failure);
    if (wasOpen) {
      // A connection that ends as soon as it stands has not ended the trouble.
      if (Date.now() - this.#openedAt >= (this.#options.retry?.stable ?? 5000)) this.#attempt = 0;
    } else if (after === undefined) {
      const session = this.#session;
      const answers = failure.status !== undefined || (await this.#answers());
      if (session !== this.#session) return;
      const { transport = "auto" } = this.#options;
      if (answers && kind === "websocket" && transport === "auto" && !this.#everOpen) return this.#open("sse");
      failure.hint ??= answers ? this.#hint() : `nothing answers at ${this.#url.host}: is the daemon running?`;
    }
    this.#wait(failure, after);
  }

  /** Whether anything answers HTTP there. A page may not read it, and need not. */
  async #answers() {
    const look = (/** @type {RequestMode} */ mode) => {
      const signal = AbortSignal.timeout(this.#options.connectTimeout ?? 10_000);
      return this.#fetch?.(this.#beside("/api/v1/health", true), { mode, signal, cache: "no-store" });
    };
    return Boolean(await look("cors")?.catch(() => look("no-cors")).catch(() => null));
  }

  /** A script is told nothing of a refused handshake: what it is likely to be. */
  #hint() {
    if (!this.#WebSocket) return NO_WEBSOCKET;
    const { origin } = globalThis; // of a file or a sandboxed frame "null", whatever `location.origin` says
    const add = origin === "null" ? `add "*" to server.allowed_origins, or ${NULL}` : `add "${origin}" to server.allowed_origins in broadcast.toml, if its log says so`;
    const page = origin ? `${add}; or ` : "";
    return `${this.#url.host} answers, but refuses the connection: ${page}look for a proxy that drops the Upgrade header`;
  }

  /**
   * @param {Failure} failure
   * @param {number | undefined} after
   */
  #wait({ reason, code, status, hint }, after) {
    const { min = 500, max = 30_000, attempts = Infinity } = this.#options.retry ?? {};
    const told = { reason, code, status, hint };
    if (this.#attempt >= attempts) return this.#become({ ...told, state: "closed" });
    const retryIn = Math.round(after ?? Math.random() * Math.min(max, min * 2 ** this.#attempt));
    this.#attempt += 1;
    this.#retryAfter = after;
    this.#retry = setTimeout(() => this.connect(), retryIn);
    this.#become({ ...told, state: "waiting", retryIn });
  }

  /** Ends the connection and every timer of it. */
  #stop() {
    this.#session += 1;
    clearTimeout(this.#pulse);
    clearTimeout(this.#retry);
    clearTimeout(this.#later);
    this.#transport?.close();
    this.#transport = null;
  }

  /** @param {Partial<ClientState> & Pick<ClientState, "state">} state */
  #become(state) {
    this.#state = { transport: null, attempt: this.#attempt, ...state };
    this.#debug("state", this.#state);
    for (const watcher of [...this.#watchers]) this.#call(watcher, this.#state);
  }

  /** Sleeping tabs, networks that come back, pages that are kept for the back button. */
  #listen() {
    if (this.#listening.length || !globalThis.addEventListener) return;
    const { document } = globalThis;
    /** @type {(target: any, name: string, heard: (event: any) => void) => void} */
    const on = (target, name, heard) => {
      target.addEventListener(name, heard);
      this.#listening.push([target, name, heard]);
    };
    const wake = () => {
      this.ping();
      if (this.#state.state === "waiting" && this.#retryAfter === undefined) this.connect();
    };
    on(globalThis, "online", wake);
    if (!document) return;
    on(document, "visibilitychange", () => (document.visibilityState === "visible" ? wake() : this.#store()));
    on(document, "freeze", () => this.#store());
    on(document, "resume", wake);
    // What came after the positions are stored would come again to the page that is next.
    on(globalThis, "pagehide", () => {
      if (this.#state.state === "closed") return;
      this.#stop();
      this.#store();
      this.#become({ state: "waiting", reason: "the page is hidden" });
    });
    on(globalThis, "pageshow", (event) => event.persisted && this.#state.state === "waiting" && this.connect());
  }

  get #storageKey() {
    return this.#options.storageKey ?? `broadcastd ${this.#url.href}`;
  }

  #load() {
    try {
      this.#stored = new Map(JSON.parse(this.#options.storage?.getItem(this.#storageKey) ?? "[]"));
    } catch (error) {
      this.#debug("storage", error);
    }
  }

  #changed() {
    if (this.#options.storage) this.#save ??= setTimeout(() => this.#store(), SAVE_MS);
  }

  #store() {
    clearTimeout(this.#save);
    this.#save = undefined;
    try {
      // Rooms of the page before that this one has not come to yet stay, but not for ever.
      const at = [...this.#stored, ...this.#protocol.positions()].slice(-STORED);
      this.#options.storage?.setItem(this.#storageKey, JSON.stringify(at));
    } catch (error) {
      this.#debug("storage", error);
    }
  }

  /** @param {...unknown} words */
  #debug(...words) {
    const { debug } = this.#options;
    if (debug) (typeof debug === "function" ? debug : console.debug)("broadcastd", ...words);
  }
}
