// The official Socket.IO server as a service would use it: each NDJSON line that comes over TCP is emitted, under its type,
// to the room of that name. It says where it listens in the words of broadcastd. SIGUSR2 has it collect its garbage.
import { createServer as createHttp } from "node:http";
import { createServer as createTcp } from "node:net";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

/** Longer than any event of the load; more without an end of line is not one. */
const LINE_BYTES = 1 << 20;

const { values } = parseArgs({ options: { recovery: { type: "boolean", default: false } } });

const http = createHttp();
const io = new Server(http, values.recovery ? { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } } : {});
io.on("connection", (socket) => {
  socket.on("subscribe", ({ rooms }, ack) => {
    socket.join(rooms);
    ack?.({ subscriptions: rooms, timestamp: Date.now() });
  });
  socket.on("ping", (ack) => ack?.({ timestamp: Date.now() }));
});

/** The room that events of a type are for, as in the daemon's configuration. */
const ROOM = { agent_state: "agent_states" };

const ingest = createTcp((socket) => {
  let begun = "";
  socket.setEncoding("utf8");
  socket.on("error", (error) => console.error(`official: a producer's connection: ${error.message}`));
  socket.on("data", (text) => {
    const lines = (begun + text).split("\n");
    begun = lines.pop();
    if (begun.length > LINE_BYTES) return socket.destroy(new Error(`a line of more than ${LINE_BYTES} bytes`));
    for (const line of lines) {
      const event = JSON.parse(line);
      io.to(ROOM[event.type]).emit(event.type, event);
    }
  });
});

const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
console.log(`listening clients 127.0.0.1:${await listen(http)}`);
console.log(`listening ingest 127.0.0.1:${await listen(ingest)}`);
console.log("ready");

process.on("SIGUSR2", () => {
  globalThis.gc?.();
  console.log("collected");
});
process.on("SIGTERM", () => process.exit(0));
