// Carries messages over Server-Sent Events, where WebSockets do not get through. One stream takes one `where`, `every` and
// `from` for all its rooms, so rooms that differ in them have streams of their own. It is read by `fetch`, not by
// EventSource: a refusal has a status and a text, and it works where there is no EventSource (Node).

/** A block larger than this is no message of the daemon. */
const BLOCK_CHARS = 1 << 25;

/**
 * @typedef {import("./websocket.js").Transport} Transport
 * @typedef {import("./websocket.js").Ears} Ears
 * @typedef {{ id: string, ask: string, rooms: string[] }} Kept A stream's last id, what was asked for on it, and its rooms.
 */

/** @param {unknown} value */
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** What one stream can have only one of. @param {any} room */
const asked = ({ where, every, snapshot }) => JSON.stringify([where, every, snapshot]);

/**
 * @param {string} url
 * @param {typeof globalThis.fetch} fetch
 * @param {Kept[]} kept the streams of the connection before: their ids go on exactly. Is kept up to date.
 * @param {Ears} ears
 * @returns {Transport}
 */
export function openSse(url, fetch, kept, ears) {
  const before = kept.splice(0);
  const abort = new AbortController();
  const close = () => abort.abort();
  /** @param {import("./websocket.js").Failure} failure */
  const fail = (failure) => {
    if (abort.signal.aborted) return;
    close();
    ears.closed(failure);
  };

  /** @param {any} message */
  const subscribe = ({ id, rooms }) => {
    /** @type {Map<unknown, any[]>} */
    const groups = new Map();
    for (const room of rooms) {
      const ask = asked(room);
      const held = room.from?.after && before.find((it) => it.id && it.ask === ask && it.rooms.includes(room.room));
      const key = held || ask + text(room.from);
      groups.set(key, [...(groups.get(key) ?? []), room]);
    }
    for (const [key, group] of groups) stream(id, group, typeof key === "string" ? "" : /** @type {Kept} */ (key).id);
  };

  /**
   * @param {unknown} ask
   * @param {any[]} group
   * @param {string} after
   */
  const stream = async (ask, group, after) => {
    const [{ from, where, every, snapshot }] = group;
    /** @type {Kept} */
    const own = { id: after, ask: asked(group[0]), rooms: group.map(({ room }) => room) };
    const gone = new AbortController();
    streams.set(own, gone);
    kept.push(own);
    const target = new URL(url);
    const put = (/** @type {string} */ name, /** @type {unknown} */ value) => value === undefined || target.searchParams.append(name, text(value));
    for (const room of own.rooms) put("room", room);
    for (const [name, value] of Object.entries({ where, every, snapshot })) put(name, value);
    if (after) put("last_event_id", after);
    else put("from", from);
    abort.signal.addEventListener("abort", () => gone.abort(), { once: true });
    try {
      const answer = await fetch(target.href, { headers: { accept: "text/event-stream" }, cache: "no-store", signal: gone.signal });
      if (!answer.ok) return await refused(answer, ask, own.rooms);
      if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || !answer.body) {
        return fail({ status: answer.status, reason: "the answer is no event stream: is this broadcastd?" });
      }
      ears.message({ type: "welcome" });
      await read(answer.body, (block) => take(block, own, ask));
      fail({ reason: "the stream ended" });
    } catch (error) {
      if (!gone.signal.aborted) fail({ reason: /** @type {Error} */ (error).message });
    }
  };

  /**
   * @param {{ id?: string, data?: string }} block
   * @param {Kept} own
   * @param {unknown} ask
   */
  const take = (block, own, ask) => {
    if (!streams.has(own)) return;
    ears.heard();
    if (block.data !== undefined) {
      const message = JSON.parse(block.data);
      if (message.type === "subscribed") message.id = ask;
      // A room that was left stays in the stream until the stream ends; it may be in another one already.
      if (!message.room || own.rooms.includes(message.room)) ears.message(message);
    }
    if (block.id !== undefined) own.id = block.id;
  };

  /**
   * What is wrong with the request is the rooms' fault; everything else is the connection's.
   * @param {Response} answer
   * @param {unknown} id
   * @param {string[]} rooms
   */
  const refused = async (answer, id, rooms) => {
    const { status } = answer;
    const { code = "bad_field", detail, hint } = await answer.json().catch(() => ({}));
    const message = detail ?? `status ${status}`;
    if (status === 400 || status === 422) return ears.message({ type: "error", id, code, message, hint });
    const seconds = Number(answer.headers.get("retry-after"));
    fail({ status, reason: message, hint, retryAfter: seconds > 0 ? seconds * 1000 : undefined });
  };

  /** @param {any} message */
  const unsubscribe = ({ rooms }) => {
    for (const [own, gone] of streams) {
      own.rooms = own.rooms.filter((room) => !rooms.includes(room));
      if (own.rooms.length) continue;
      streams.delete(own);
      kept.splice(kept.indexOf(own), 1);
      gone.abort();
    }
  };

  /** @type {Map<Kept, AbortController>} */
  const streams = new Map();
  const send = (/** @type {any} */ message) => {
    // A room that is asked for again leaves the stream that it was in.
    const rooms = message.rooms.map((/** @type {any} */ it) => it.room ?? it);
    unsubscribe({ rooms });
    if (message.type === "subscribe") subscribe(message);
  };
  return { send, ping: false, close };
}

/**
 * Cuts a stream into blocks. Comments count as heard: they are the daemon's heartbeat.
 * @param {ReadableStream<Uint8Array>} body
 * @param {(block: { id?: string, data?: string }) => void} take
 */
async function read(body, take) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  /** @type {{ id?: string, data?: string }} */
  let block = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = /** @type {string} */ (lines.pop());
    if (rest.length > BLOCK_CHARS) throw new Error("a block without an end");
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      const [name] = line.split(":", 1);
      const content = line.slice(name.length + (line[name.length + 1] === " " ? 2 : 1));
      if (!line) {
        take(block);
        block = {};
      } else if (!name) take({});
      else if (name === "data") block.data = block.data === undefined ? content : `${block.data}\n${content}`;
      else if (name === "id") block.id = content;
    }
  }
}
