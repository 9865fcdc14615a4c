// The state machine of a client of broadcastd.v1: messages come in; what to send, what to deliver, and positions come out.
// Pure: no sockets, no timers, no clock, no handlers. client.js gives it a connection, websocket.js and sse.js carry it.

/** The protocol's name, and the WebSocket subprotocol. */
export const PROTOCOL = "broadcastd.v1";

/** Room objects of one `subscribe` are kept under this many characters: a message may have 64 KiB, a character 3 bytes. */
const SUBSCRIBE_CHARS = 20_000;
/** And this many rooms: half of what the daemon lets a client subscribe to at once. */
const SUBSCRIBE_ROOMS = 256;

/** What is too much at once is asked for again after this long, unless the daemon says when. */
const LATER_MS = 1000;

/**
 * @typedef {{ epoch: string, offset: number }} Position
 * @typedef {{ from?: unknown, where?: unknown, every?: unknown, snapshot?: boolean }} Wish What a subscription asks for.
 * @typedef {{ room: string, error: { code: string, message: string, hint?: string, retry_after?: number } }} Refusal
 * @typedef {(
 *   { type: "welcome", heartbeat?: number, client?: string }
 *   | { type: "ready", room: string, resumed: boolean, head: number }
 *   | { type: "events", room: string, events: any[], offsets: number[], seqs: (number | null)[], source: "live" | "replay", skipped: number }
 *   | { type: "snapshot", room: string, events: any[], offset: number, isPart: boolean }
 *   | { type: "gap", room: string, first: number, offset: number, missed: number | null, reason: string }
 *   | ({ type: "refused" } & Refusal)
 *   | { type: "later", after: number }
 *   | { type: "error", code: string, message: string, hint?: string }
 *   | { type: "closing", code: number, reason: string, retryAfter?: number }
 * )} Effect What the caller is to do.
 */

/**
 * Throws a `TypeError` unless an argument fits.
 * @param {unknown} fits
 * @param {string} rule What it must be.
 * @param {any} value
 * @param {string} call The right call.
 * @returns {asserts fits}
 */
export function must(fits, rule, value, call) {
  if (fits) return;
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 100)) : Array.isArray(value) ? "a list" : value && typeof value === "object" ? "an object" : String(value);
  throw new TypeError(`${rule}, not ${shown}: call ${call}`);
}

/** @param {any} it */
const isObject = (it) => typeof it === "object" && !Array.isArray(it);

/**
 * Throws for arguments that are no subscription: the daemon could refuse the other rooms of the message with them.
 * @param {string} call
 * @param {any} room
 * @param {any} options
 */
export function checkWish(call, room, options) {
  must(room && typeof room === "string", 'a room must be a name such as "agent:42"', room, call);
  must(options && isObject(options), "options must be an object", options, call);
  const { from = "now", where = "", every = "", snapshot = true } = options;
  must(from === "now" || from === "start" || isObject(from), '`from` must be "now", "start" or an object', from, call);
  must(typeof where === "string" || isObject(where), "`where` must be a condition or an object", where, call);
  must(typeof (every ?? "") === "string" || (Number.isFinite(every) && every >= 0), '`every` must be "2s" or milliseconds', every, call);
  must(typeof (snapshot ?? true) === "boolean", "`snapshot` must be true or false", snapshot, call);
  const { length } = JSON.stringify([room, from, where, every]);
  must(length < SUBSCRIBE_CHARS, `a room with its options must be under ${SUBSCRIBE_CHARS} characters`, length, call);
}

/** One room that is wanted. */
class Subscription {
  /**
   * @param {Wish} wish
   * @param {Position | null} at
   */
  constructor(wish, at) {
    this.wish = wish;
    /** The position to go on from, if there is one: what the application has had, never more. */
    this.at = at;
    /** @type {"new" | "later" | "asked" | "on" | "off"} not sent yet, to be sent again later, sent, confirmed, refused or ended */
    this.phase = "new";
    /** The `id` of the request that asked for it. */
    this.ask = 0;
    /** The epoch of what comes now, and the last offset of it that came. */
    this.epoch = "";
    this.seen = -1;
    /** @type {any[] | null} pages of a snapshot that is not whole yet */
    this.pages = null;
    /** Whether they are of the keys in a gap only. */
    this.isPart = false;
  }

  /** @param {number} offset */
  moveTo(offset) {
    this.seen = offset;
    // Before the snapshot is whole the application has nothing: a drop now must begin where this began.
    if (!this.pages) this.at = { epoch: this.epoch, offset };
  }
}

/** Everything that is wanted of one daemon, over any number of connections. */
export class Protocol {
  /** @type {Map<string, Subscription>} */
  #wanted = new Map();
  /** Rooms that the other side of this connection has been asked for. @type {Set<string>} */
  #told = new Set();
  #ids = 0;

  /**
   * Wants a room, from `at` if that is given. Wanting it again begins anew.
   * @param {string} room
   * @param {Wish} wish
   * @param {Position | null} [at]
   */
  want(room, wish, at = null) {
    this.#wanted.set(room, new Subscription(wish, at));
  }

  /**
   * Gives a room up, and tells where it stood.
   * @param {string} room
   */
  leave(room) {
    const at = this.#wanted.get(room)?.at;
    this.#wanted.delete(room);
    return at;
  }

  /** @param {string} room */
  isConfirmed(room) {
    return this.#wanted.get(room)?.phase === "on";
  }

  /** A new connection: nothing has been asked for on it. */
  begin() {
    this.#told.clear();
    for (const it of this.#wanted.values()) it.phase = "new";
  }

  /** What was too much at once may be asked for again. */
  again() {
    for (const it of this.#wanted.values()) if (it.phase === "later") it.phase = "new";
  }

  /**
   * What must be sent for the other side to know what is wanted.
   * @returns {{ type: string, id: number, rooms: any[] }[]}
   */
  flush() {
    const messages = [];
    const left = [...this.#told].filter((room) => !this.#wanted.has(room));
    if (left.length) messages.push({ type: "unsubscribe", id: ++this.#ids, rooms: left });
    for (const room of left) this.#told.delete(room);
    let message = null;
    let chars = 0;
    for (const [room, it] of this.#wanted) {
      if (it.phase !== "new") continue;
      const from = it.at ? { after: `${it.at.epoch}:${it.at.offset}` } : it.wish.from;
      const asked = { ...it.wish, room, from };
      const length = JSON.stringify(asked).length + 1;
      if (!message || chars + length > SUBSCRIBE_CHARS || message.rooms.length >= SUBSCRIBE_ROOMS) {
        message = { type: "subscribe", id: ++this.#ids, rooms: /** @type {any[]} */ ([]) };
        messages.push(message);
        chars = 0;
      }
      chars += length;
      message.rooms.push(asked);
      it.phase = "asked";
      it.ask = message.id;
      this.#told.add(room);
    }
    return messages;
  }

  /**
   * Takes a message of the daemon. Unknown types and fields are ignored, as the protocol demands.
   * @param {any} message
   * @returns {Effect[]}
   */
  receive(message) {
    const { type, room, offset } = message;
    switch (type) {
      case "welcome":
        return [{ type, heartbeat: message.heartbeat, client: message.client }];
      case "subscribed":
        return message.rooms.flatMap((/** @type {any} */ answer) => this.#answered(message.id, answer));
      case "unsubscribed":
        if (message.reason) return message.rooms.flatMap((/** @type {string} */ name) => this.#ended(name, message.reason));
        return (message.refused ?? []).flatMap((/** @type {Refusal} */ refusal) => this.#notLeft(refusal));
      case "closing":
        return [{ type, code: message.code, reason: message.reason, retryAfter: message.retry_after }];
      case "error":
        return this.#failed(message);
    }
    const it = this.#wanted.get(room);
    if (it?.phase !== "on") return []; // of a subscription that was left or replaced meanwhile
    switch (type) {
      case "event":
        return this.#events(it, room, message, [message.data], [offset], [message.seq ?? null]);
      case "batch": {
        const count = message.data.length;
        const offsets = message.offsets ?? message.data.map((/** @type {any} */ _, /** @type {number} */ n) => offset - count + 1 + n);
        return this.#events(it, room, message, message.data, offsets, message.seqs ?? message.data.map(() => null));
      }
      case "snapshot":
        return this.#page(it, room, message);
      case "gap":
        if (message.epoch) it.epoch = message.epoch;
        if (message.snapshot) {
          // What changed in it follows, and leads to a position; of an epoch that changed it is everything.
          it.isPart = !it.pages;
          it.pages ??= [];
        } else it.moveTo(offset);
        return [{ type, room, first: message.first, offset: offset ?? message.last, missed: message.missed ?? null, reason: message.reason }];
    }
    if (offset !== undefined) it.moveTo(offset); // "position", and whatever else may carry one
    return [];
  }

  /** @returns {[room: string, position: Position][]} where every room stands */
  positions() {
    const known = [];
    for (const [room, { at }] of this.#wanted) if (at) known.push(/** @type {[string, Position]} */ ([room, at]));
    return known;
  }

  /**
   * @param {Subscription} it
   * @param {string} room
   * @param {any} message
   * @param {any[]} events
   * @param {number[]} offsets
   * @param {(number | null)[]} seqs
   * @returns {Effect[]}
   */
  #events(it, room, message, events, offsets, seqs) {
    // The daemon gives no offset twice; that a double is left out here costs one comparison.
    const isNew = (/** @type {any} */ _, /** @type {number} */ n) => offsets[n] > seen;
    const seen = it.seen;
    if (message.offset > seen) it.moveTo(message.offset);
    if (offsets[0] <= seen) [events, seqs, offsets] = [events.filter(isNew), seqs.filter(isNew), offsets.filter((offset) => offset > seen)];
    if (!events.length) return [];
    return [{ type: "events", room, events, offsets, seqs, source: message.replay ? "replay" : "live", skipped: message.skipped ?? 0 }];
  }

  /**
   * @param {Subscription} it
   * @param {string} room
   * @param {any} message
   * @returns {Effect[]}
   */
  #page(it, room, { data, offset }) {
    const events = (it.pages ??= []);
    for (const event of data) events.push(event);
    if (offset === undefined) return [];
    const isPart = it.isPart;
    it.pages = null;
    it.isPart = false;
    it.moveTo(offset);
    return [{ type: "snapshot", room, events, offset, isPart }];
  }

  /**
   * @param {unknown} id
   * @param {any} answer
   * @returns {Effect[]}
   */
  #answered(id, { room, error, epoch, offset, head, resumed = false, snapshot }) {
    const it = this.#wanted.get(room);
    if (it?.phase !== "asked" || it.ask !== id) return [];
    if (error) return this.#refused(room, it, error);
    it.phase = "on";
    it.epoch = epoch;
    it.seen = -1;
    it.pages = snapshot ? [] : null;
    it.isPart = false;
    if (offset !== undefined) {
      // Whoever asked to go on and cannot is told by a gap what is missing. Until it comes, the old position stands: if the
      // connection ends between the two, the gap is told again.
      if (resumed || !it.at) it.moveTo(offset);
      else it.seen = offset;
    }
    return [{ type: "ready", room, resumed, head }];
  }

  /**
   * @param {string} room
   * @param {Subscription} it
   * @param {{ code: string, message: string, hint?: string }} error
   * @returns {Effect[]}
   */
  #refused(room, it, error) {
    this.#told.delete(room);
    const isLater = error.code === "rate_limited";
    it.phase = isLater ? "later" : "off";
    return isLater ? later(error) : [{ type: "refused", room, error }];
  }

  /** A room that was left is still sent, because leaving it was too much at once. @param {Refusal} refusal @returns {Effect[]} */
  #notLeft({ room, error }) {
    if (error.code !== "rate_limited" || this.#wanted.has(room)) return [];
    this.#told.add(room);
    return later(error);
  }

  /**
   * @param {string} room
   * @param {string} reason
   * @returns {Effect[]}
   */
  #ended(room, reason) {
    const it = this.#wanted.get(room);
    if (it?.phase !== "on") return [];
    it.at = null;
    return this.#refused(room, it, { code: reason, message: "the daemon ended the subscription" });
  }

  /**
   * @param {any} message
   * @returns {Effect[]}
   */
  #failed({ id, code, message, hint, retry_after }) {
    const error = { code, message, hint, retry_after };
    /** @type {Effect[]} */
    const effects = [];
    for (const [room, it] of this.#wanted) {
      if (it.phase === "asked" && it.ask === id) effects.push(...this.#refused(room, it, error));
    }
    return effects.length ? effects : [{ type: "error", code, message, hint }];
  }
}

/** To be asked for again once the daemon takes it. @param {Refusal["error"]} error @returns {Effect[]} */
function later({ retry_after: after = LATER_MS }) {
  return [{ type: "later", after }];
}
