// Compiled, never run: what is shipped in types/ is what the code is, and what applications write compiles.
import * as code from "../client.js";
import type * as shipped from "../types/client.d.ts";
import * as producerCode from "../producer.js";
import type * as producerShipped from "../types/producer.d.ts";

export const all: Pick<typeof shipped, keyof typeof code> = code;
export const names: Record<keyof typeof shipped, unknown> = code;
export const producers: Pick<typeof producerShipped, keyof typeof producerCode> = producerCode;
export const producerNames: Record<keyof typeof producerShipped, unknown> = producerCode;

export async function application(Client: typeof shipped.BroadcastClient): Promise<void> {
  const client = new Client("ws://127.0.0.1:9999/ws", { storage: sessionStorage });
  client.subscribe("agent_states", ({ agentId, status }, { offset, source }) => {
    const words: [string, "idle" | "active" | "busy" | "error" | "offline", number, "live" | "replay" | "snapshot"] = [agentId, status, offset, source];
    return void words;
  });
  // @ts-expect-error an alert has no agent
  client.subscribe("system_alerts", (alert) => alert.agentId);
  // @ts-expect-error no such place to begin at
  client.subscribe("system_alerts", null, { from: "beginning" });
  client.subscribe<"run:1", { type: "token"; delta: string }>("run:1", (token) => token.delta.length, { from: "start" });
  client.subscribe("agent:42", (event: shipped.BuiltInEvent) => (event.type === "system_alert" ? event.severity : event.type));
  for await (const event of client.room("workflow_executions", { queue: 10 })) {
    const progress: number | undefined = event.progress;
    if (progress === 100) break;
  }
  const { attempt, hint } = client.state;
  const told: [number, string | undefined] = [attempt, hint];
  return void told;
}
