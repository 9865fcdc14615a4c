// A small server that speaks broadcastd.v1 over WebSocket and SSE, and can refuse, cut and go away at will. It is for what the
// real daemon does not do on demand: a proxy without WebSockets, a snapshot cut between pages, a status of choice.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const PAGE = 2;

export class StandIn {
  /** room -> { epoch, log: [{ offset, seq, data }], key } */
  rooms = new Map();
  sessions = new Set();
  /** Of every SSE request, its query. */
  asked = [];
  websockets = true;
  /** Answers requests for /sse in its place, if it gives something: { status, headers, body }. */
  refuse = () => undefined;
  #seq = 0;

  static async start() {
    const it = new StandIn();
    it.http = createServer((request, response) => it.#request(request, response));
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "broadcastd.v1" });
    it.http.on("upgrade", (request, socket, head) => {
      if (!it.websockets) return void socket.end("HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      sockets.handleUpgrade(request, socket, head, (ws) => it.#websocket(ws));
    });
    await new Promise((resolve) => it.http.listen(0, "127.0.0.1", resolve));
    it.url = `ws://127.0.0.1:${it.http.address().port}/ws`;
    return it;
  }

  room(name) {
    if (!this.rooms.has(name)) this.rooms.set(name, { epoch: `e${this.rooms.size}`, log: [] });
    return this.rooms.get(name);
  }

  async publish(...events) {
    for (const data of events) {
      for (const name of data.agentId ? ["all", `agent:${data.agentId}`] : ["all"]) {
        const { log } = this.room(name);
        const entry = { offset: log.length + 1, seq: (this.#seq += 1), data };
        log.push(entry);
        for (const session of this.sessions) session.tell(name, entry);
      }
    }
  }

  /** Ends every connection without a word. */
  cut() {
    for (const session of [...this.sessions]) session.end();
  }

  end() {
    this.cut();
    this.http.closeAllConnections();
    return new Promise((resolve) => this.http.close(resolve));
  }

  #websocket(ws) {
    const session = new Session(this, (message) => ws.send(JSON.stringify(message)), () => ws.terminate());
    ws.on("close", () => this.sessions.delete(session));
    ws.on("message", (data) => {
      const message = JSON.parse(data);
      if (message.type === "subscribe") session.subscribe(message.id, message.rooms);
      if (message.type === "unsubscribe") for (const room of message.rooms) session.at.delete(room);
      if (message.type === "ping") ws.send(JSON.stringify({ type: "pong" }));
    });
    ws.send(JSON.stringify({ type: "welcome", protocol: "broadcastd.v1", client: "1", heartbeat: 25_000 }));
  }

  #request(request, response) {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    response.setHeader("access-control-allow-origin", "*");
    if (pathname === "/api/v1/health") return response.end("{}");
    if (pathname !== "/sse") return response.writeHead(404).end();
    this.asked.push(searchParams);
    const refusal = this.refuse(searchParams);
    if (refusal) return response.writeHead(refusal.status, refusal.headers).end(refusal.body);
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    response.write(": hello\r\nretry: 1000\n\n");
    const session = new Session(this, (message) => {
      const id = [...session.at].map(([room, at]) => `${this.room(room).epoch}:${at}`).join();
      // Cut in the middle, so that a reader has to put blocks together; two data lines, as the standard allows.
      const text = JSON.stringify(message, null, 1).split("\n");
      const block = `id: ${id}\n${[text[0], text.slice(1).join("")].map((line) => `data: ${line}\n`).join("")}\n`;
      response.write(block.slice(0, 9));
      response.write(block.slice(9));
    }, () => request.socket.destroy());
    const beat = setInterval(() => response.write(":\n\n"), 100);
    request.socket.on("close", () => {
      clearInterval(beat);
      this.sessions.delete(session);
    });
    const last = new Map((searchParams.get("last_event_id") ?? "").split(",").map((position) => position.split(":")));
    const word = searchParams.get("from") ?? "now";
    const given = word.startsWith("{") ? JSON.parse(word) : word;
    session.subscribe(undefined, searchParams.getAll("room").map((room) => {
      const { epoch } = this.room(room);
      const from = last.has(epoch) ? { after: `${epoch}:${last.get(epoch)}` } : given;
      return { room, from, snapshot: searchParams.get("snapshot") === "true" };
    }));
  }
}

class Session {
  /** room -> the last offset that was sent */
  at = new Map();
  constructor(server, send, end) {
    Object.assign(this, { server, send, end });
    server.sessions.add(this);
  }

  subscribe(id, rooms) {
    const answers = rooms.map(({ room, from = "now", snapshot }) => {
      if (room.startsWith("no")) return { room, error: { code: "unknown_room", message: "no room has this name" } };
      const { epoch, log } = this.server.room(room);
      const head = log.length;
      if (snapshot && !from.after) return { room, epoch, head, snapshot: true };
      const [resumed, offset] = from.after?.split(":") ?? ["", from === "start" ? 0 : head];
      return { room, epoch, head, offset: Number(offset), ...(resumed === epoch ? { resumed: true } : {}) };
    });
    for (const { room, error, offset, head } of answers) if (!error) this.at.set(room, offset ?? head);
    this.send({ type: "subscribed", id, rooms: answers });
    for (const { room, error, offset, head, snapshot } of answers) {
      if (snapshot) this.#snapshot(room, head);
      else if (!error) for (const entry of this.server.room(room).log.slice(offset)) this.tell(room, entry, { replay: true });
    }
  }

  #snapshot(room, head) {
    const newest = new Map(this.server.room(room).log.map(({ data }) => [data.agentId, data]));
    const events = [...newest.values()];
    for (let n = 0; n < events.length && this.server.sessions.has(this); n += PAGE) {
      const more = n + PAGE < events.length;
      this.send({ type: "snapshot", room, data: events.slice(n, n + PAGE), ...(more ? { more } : { offset: head }) });
      if (more && this.server.cutSnapshots-- > 0) return this.end();
    }
  }

  tell(room, { offset, seq, data }, more) {
    if (!this.at.has(room)) return;
    this.at.set(room, offset);
    this.send({ type: "event", room, offset, seq, data, ...more });
  }
}
