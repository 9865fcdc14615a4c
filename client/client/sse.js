// Carries messages over Server-Sent Events, where WebSockets do not get through. One stream takes one `where`, `every` and
// `from` for all its rooms, so rooms that differ in them have streams of their own. It is read by `fetch`, not by
// EventSource: a refusal has a status and a text, and it works where there is no EventSource (Node).

/** A block larger than this is no message of the daemon. */
const BLOCK_CHARS = 1 << 25;
/** Rooms that the daemon takes in one stream. */
const STREAM_ROOMS = 64;

/**
 * @typedef {import("./websocket.js").Transport} Transport
 * @typedef {import("./websocket.js").Ears} Ears
 * @typedef {{ rooms: Set<string>, abort: AbortController }} Stream
 */

/** @param {unknown} value */
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/**
 * @param {string} url
 * @param {typeof globalThis.fetch} fetch
 * @param {Ears} ears
 * @returns {Transport}
 */
export function openSse(url, fetch, ears) {
  /** @type {Set<Stream>} */
  const streams = new Set();
  let over = false;
  const close = () => {
    over = true;
    for (const { abort } of streams) abort.abort();
  };
  /** @param {import("./websocket.js").Failure} failure */
  const fail = (failure) => {
    if (over) return;
    close();
    ears.closed(failure);
  };

  /** @param {any} message */
  const subscribe = ({ id, rooms }) => {
    /** @type {Map<string, any[]>} */
    const groups = new Map();
    for (const room of rooms) {
      const { from, where, every, snapshot } = room;
      // Where each room was is told for all of them together.
      const key = JSON.stringify([where, every, snapshot, from?.after ? "after" : from]);
      groups.set(key, [...(groups.get(key) ?? []), room]);
    }
    for (const group of groups.values()) for (let n = 0; n < group.length; n += STREAM_ROOMS) open(id, group.slice(n, n + STREAM_ROOMS));
  };

  /**
   * @param {unknown} id
   * @param {any[]} group
   */
  const open = async (id, group) => {
    const [{ from, where, every, snapshot }] = group;
    /** @type {Stream} */
    const stream = { rooms: new Set(group.map(({ room }) => room)), abort: new AbortController() };
    streams.add(stream);
    const target = new URL(url);
    for (const room of stream.rooms) target.searchParams.append("room", room);
    const at = from?.after ? { last_event_id: group.map((room) => room.from.after).join() } : { from };
    for (const [name, value] of Object.entries({ where, every, snapshot, ...at })) {
      if (value !== undefined) target.searchParams.append(name, text(value));
    }
    try {
      const answer = await fetch(target.href, { headers: { accept: "text/event-stream" }, cache: "no-store", signal: stream.abort.signal });
      if (!answer.ok) return await refused(answer, id, group, stream);
      if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || !answer.body) {
        return fail({ status: answer.status, reason: "the answer is no event stream: is this broadcastd?" });
      }
      ears.message({ type: "welcome" });
      await read(answer.body, (data) => take(data, stream, id));
      fail({ reason: "the stream ended" });
    } catch (error) {
      if (streams.has(stream)) fail({ reason: /** @type {Error} */ (error).message });
    }
  };

  /**
   * @param {string | undefined} data
   * @param {Stream} stream
   * @param {unknown} id
   */
  const take = (data, stream, id) => {
    if (over || !streams.has(stream)) return;
    ears.heard();
    if (data === undefined) return;
    const message = JSON.parse(data);
    if (message.type === "subscribed") message.id = id;
    // A room that was left stays in the stream until the stream ends; it may be in another one already.
    if (!message.room || stream.rooms.has(message.room)) ears.message(message);
  };

  /**
   * What is wrong with the request is the rooms' fault, everything else the connection's. A stream is refused for one room of
   * it, and which one is not told: the halves are tried.
   * @param {Response} answer
   * @param {unknown} id
   * @param {any[]} group
   * @param {Stream} stream
   */
  const refused = async (answer, id, group, stream) => {
    const { status, headers } = answer;
    const body = await answer.text();
    const isProblem = headers.get("content-type")?.includes("json");
    const { detail = `status ${status}`, hint } = isProblem ? JSON.parse(body) : { detail: body.trim().slice(0, 500) || undefined };
    if (status === 400 || (status === 404 && !isProblem)) {
      streams.delete(stream);
      const rooms = group.filter(({ room }) => stream.rooms.has(room));
      const half = rooms.length >> 1;
      if (half) for (const part of [rooms.slice(0, half), rooms.slice(half)]) open(id, part);
      else for (const { room } of rooms) {
        const error = { code: status === 404 ? "unknown_room" : "bad_field", message: detail, hint };
        ears.message({ type: "subscribed", id, rooms: [{ room, error }] });
      }
      return;
    }
    const seconds = Number(headers.get("retry-after"));
    fail({ status, reason: detail, hint, retryAfter: seconds > 0 ? seconds * 1000 : undefined });
  };

  /** @param {string[]} rooms */
  const leave = (rooms) => {
    for (const stream of streams) {
      for (const room of rooms) stream.rooms.delete(room);
      if (stream.rooms.size) continue;
      streams.delete(stream);
      stream.abort.abort();
    }
  };

  /** @param {any} message */
  const send = (message) => {
    // A room that is asked for again leaves the stream that it was in.
    leave(message.rooms.map((/** @type {any} */ it) => it.room ?? it));
    if (message.type === "subscribe") subscribe(message);
  };
  return { send, ping: false, close };
}

/**
 * Cuts a stream into blocks and gives the data of each. Comments and blocks without data give nothing: they are heard. The
 * blocks' ids are not needed, since they are the positions that the messages have.
 * @param {ReadableStream<Uint8Array>} body
 * @param {(data: string | undefined) => void} take
 */
async function read(body, take) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  /** @type {string | undefined} */
  let block;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = /** @type {string} */ (lines.pop());
    if (rest.length > BLOCK_CHARS) throw new Error("a block without an end");
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (!line) {
        take(block);
        block = undefined;
      } else if (line.startsWith(":")) take(undefined);
      else if (line.startsWith("data:")) {
        const content = line.slice(line[5] === " " ? 6 : 5);
        block = block === undefined ? content : `${block}\n${content}`;
      }
    }
  }
}
