// Watches a run from its beginning to its end: watch.mjs [RUN]. README.md beside this file.
import { EventSchemas } from "@ag-ui/core/schemas";
import { BroadcastClient, encodeValue } from "../../client/client.js";

const runId = process.argv[2] ?? "r1";
const client = new BroadcastClient("ws://127.0.0.1:9999/ws");
const texts = new Map();                                     // message or tool call -> what there is of it
let state = {};

for await (const sent of client.room(`run:${encodeValue(runId)}`, { from: "start", queue: 10_000 })) {
  const event = EventSchemas.parse(sent);
  const id = event.toolCallId ?? event.messageId;
  switch (event.type) {
    case "TEXT_MESSAGE_START":
    case "REASONING_MESSAGE_START":
      texts.set(id, `${event.role}: `);
      break;
    case "TOOL_CALL_START":
      texts.set(id, `${event.toolCallName}(`);
      break;
    case "TEXT_MESSAGE_CONTENT":
    case "REASONING_MESSAGE_CONTENT":
    case "TOOL_CALL_ARGS":
      texts.set(id, texts.get(id) + event.delta);
      break;
    case "TEXT_MESSAGE_END":
    case "REASONING_MESSAGE_END":
      console.log(texts.get(id));
      break;
    case "TOOL_CALL_RESULT":
      console.log(`${texts.get(id)}) = ${event.content}`);
      break;
    case "STATE_SNAPSHOT":
      state = event.snapshot;
      break;
    case "STATE_DELTA":
      // Enough for a flat state; the operations are JSON Patch (RFC 6902), for which there are libraries.
      for (const { path, value } of event.delta) state[path.slice(1)] = value;
      break;
    case "RUN_STARTED":
      console.log(event.type, event.runId);
      break;
    case "RUN_FINISHED":
      console.log(`state: ${JSON.stringify(state)}`);
      console.log(event.type, event.runId);
      client.close();
      process.exit(0);
      break;
    case "RUN_ERROR":
      console.error(event.message);
      process.exit(1);
  }
}
