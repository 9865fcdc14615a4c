// A run of an agent, as AG-UI events on one stream of lines: run.mjs [RUN]. README.md beside this file.
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { EventType } from "@ag-ui/core";
import { EventSchemas } from "@ag-ui/core/schemas";

const runId = process.argv[2] ?? "r1";
const threadId = "t1";
const [host, port] = "127.0.0.1:9998".split(":");
const socket = connect(port, host);
const write = (object) => socket.write(`${JSON.stringify(object)}\n`);
let count = 0;

/** Sends an event, as the protocol has it; throws if it is none. */
function emit(type, fields) {
  write(EventSchemas.parse({ type: EventType[type], ...fields }));
  count += 1;
}

/** A text as a model writes it: word by word. */
const tokens = (text) => text.match(/\S+\s*/g);

// Beside the events: what they are routed by, and most do not carry.
write({ $with: { runId, threadId } });

emit("RUN_STARTED", { threadId, runId });
emit("STATE_SNAPSHOT", { snapshot: { city: null, progress: 0 } });
emit("REASONING_START", { messageId: "m0" });
emit("REASONING_MESSAGE_START", { messageId: "m0", role: "reasoning" });
for (const delta of tokens("The user wants the weather. There is a tool for it.")) emit("REASONING_MESSAGE_CONTENT", { messageId: "m0", delta });
emit("REASONING_MESSAGE_END", { messageId: "m0" });
emit("REASONING_END", { messageId: "m0" });

emit("STEP_STARTED", { stepName: "weather" });
emit("TOOL_CALL_START", { toolCallId: "c1", toolCallName: "weather" });
for (const delta of ['{"city"', ':"Berlin"}']) emit("TOOL_CALL_ARGS", { toolCallId: "c1", delta });
emit("TOOL_CALL_END", { toolCallId: "c1" });
emit("TOOL_CALL_RESULT", { messageId: "m1", toolCallId: "c1", content: "7 °C, rain" });
emit("STATE_DELTA", { delta: [{ op: "replace", path: "/city", value: "Berlin" }, { op: "replace", path: "/progress", value: 1 }] });
emit("STEP_FINISHED", { stepName: "weather" });

emit("TEXT_MESSAGE_START", { messageId: "m2", role: "assistant" });
for (const delta of tokens("It is 7 °C and raining in Berlin. Take an umbrella, and shoes that do not mind.")) {
  emit("TEXT_MESSAGE_CONTENT", { messageId: "m2", delta });
}
emit("TEXT_MESSAGE_END", { messageId: "m2" });
emit("RUN_FINISHED", { threadId, runId });

// The end of the stream brings the answer.
socket.end();
for await (const line of createInterface({ input: socket })) {
  const answer = JSON.parse(line);
  if (answer.error) console.error(answer.error);
  else console.log(`${count} events of ${runId}: ${answer.accepted} accepted, ${answer.rejected} rejected`);
}
