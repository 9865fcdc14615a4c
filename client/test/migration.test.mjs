// What the document of the replaced Socket.IO service tells applications to write, unchanged but for imports and the address,
// against the real daemon: over a WebSocket, and over Server-Sent Events where there is none.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { promisify } from "node:util";
import WebSocket from "ws";
import { BroadcastClient, createBasicClient, createMonitoringClient, createWorkflowClient, UniversalAIWebSocketClient } from "../client.js";
import * as server from "../producer.js";
import { Daemon, DEADLINE_MS, repository, until } from "./harness.mjs";

const { createBroadcastIntegrations } = server;
let daemon;
let serverUrl;
const cleanup = [];
before(async () => {
  daemon = await Daemon.start();
  serverUrl = `http://${daemon.clients}`;
});
after(() => daemon.end());
afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end();
});

const own = (client) => {
  cleanup.push(() => client.disconnect());
  return client;
};
/** Waits until the daemon has confirmed so many rooms: each has a position. */
const confirmed = ({ client }, count) => until("confirmations", () => Object.keys(client.positions()).length === count);
const agent = (agentId, status = "busy") => ({ type: "agent_state", agentId, status, resourceUsage: { cpu: 1, memory: 2, activeConnections: 3 } });
const metric = (metricName, category = "system", fields = {}) => ({ type: "performance_metric", metricName, value: 1, unit: "count", category, ...fields });
const alert = (message) => ({ type: "system_alert", severity: "info", component: "c", message });
const workflow = (workflowId, stage) => ({ type: "workflow_execution", workflowId, executionId: "e", stage, status: "running" });

for (const transport of ["a WebSocket", "Server-Sent Events"]) {
  describe(`the document's clients over ${transport}`, () => {
    const original = globalThis.WebSocket;
    before(() => (globalThis.WebSocket = transport === "a WebSocket" ? WebSocket : undefined));
    after(() => (globalThis.WebSocket = original));

    test("basic client: events of its rooms arrive by their callbacks, and the caller's objects stay as they are", async () => {
      const seen = [];
      const config = { serverUrl, subscriptions: { rooms: ["agent_states", "performance_metrics", "system_alerts"] } };
      const handlers = {
        onConnect: () => seen.push("connected"),
        onAgentState: (data) => seen.push(data.agentId),
        onPerformanceMetrics: (data) => seen.push(data.map(({ metricName }) => metricName).join()),
        onSystemAlert: (data) => seen.push(data.message),
      };
      const copy = structuredClone(config);
      const client = own(new UniversalAIWebSocketClient(config, handlers));
      await confirmed(client, 3);
      await daemon.publish(agent("a"), metric("m"), alert("hello"), workflow("w", "not subscribed to"));
      await until("all", () => seen.length === 4);
      assert.deepEqual([seen[0], ...seen.slice(1).sort()], ["connected", "a", "hello", "m"]);
      assert.deepEqual(config, copy);
      assert.deepEqual(Object.keys(handlers).length, 4);
    });

    test("monitoring client: metrics come as an array, under their documented type", async () => {
      const seen = [];
      const monitor = createMonitoringClient(serverUrl, (type, data) => {
        seen.push([type, Array.isArray(data)]);
      });
      own(monitor);
      await confirmed(monitor, 3);
      await daemon.publish(agent("a"), metric("m"), alert("hello"));
      await until("all", () => seen.length === 3);
      assert.deepEqual(seen.sort(), [["agent_state", false], ["performance_metrics", true], ["system_alert", false]]);
    });

    test("workflow client: each update of its workflow arrives once, and none of another", async () => {
      const seen = [];
      const workflowClient = createWorkflowClient(serverUrl, "my-workflow-id", (update) => {
        seen.push(`${update.workflowId} ${update.stage}`);
      });
      own(workflowClient);
      await confirmed(workflowClient, 1);
      await daemon.publish(workflow("my-workflow-id", "one"), workflow("another", "one"), workflow("my-workflow-id", "two"));
      await until("both", () => seen.length === 2);
      assert.deepEqual(seen, ["my-workflow-id one", "my-workflow-id two"]);
    });

    test("debug mode: what happens is written to the console", async () => {
      const lines = [];
      const { log } = console;
      console.log = (...words) => lines.push(words.join(" "));
      cleanup.push(() => (console.log = log));
      const handlers = { onAgentState() {} };
      const client = new UniversalAIWebSocketClient({ serverUrl, debug: true }, handlers);
      own(client);
      await until("the connection", () => client.isConnected());
      assert.ok(lines.some((line) => line.includes("state")), lines.join("\n"));
    });

    test("filters: agents, metrics by name and category, and a pace", async () => {
      const [agents, metrics, paced] = [[], [], []];
      const onAgentState = ({ agentId }) => agents.push(agentId);
      const onPerformanceMetrics = (all) => metrics.push(...all.map(({ metricName }) => metricName));
      const filtered = { rooms: ["agent_states", "performance_metrics", "system_alerts"], agentFilters: ["a", 'b"'], metricFilters: ["cpu", "network"] };
      const client = own(new UniversalAIWebSocketClient({ serverUrl, subscriptions: filtered }, { onAgentState, onPerformanceMetrics, onSystemAlert: ({ message }) => agents.push(message) }));
      const slow = own(new UniversalAIWebSocketClient({ serverUrl, subscriptions: { rooms: ["agent_states"], updateFrequency: 300 } }, { onAgentState: ({ agentId, status }) => paced.push(`${agentId} ${status}`) }));
      await Promise.all([confirmed(client, 3), confirmed(slow, 1)]);
      await daemon.publish(agent("a"), agent("b"), agent('b"'), metric("cpu"), metric("disk"), metric("rtt", "network"), metric("cpu", "system", { agentId: "z" }), alert("of no agent"));
      await until("what passes", () => agents.length === 3 && metrics.length === 2);
      assert.deepEqual([agents.sort(), metrics], [["a", 'b"', "of no agent"], ["cpu", "rtt"]]);
      await until("the first states", () => paced.length === 3);
      await daemon.publish(agent("a", "idle"), agent("a", "offline"));
      await until("the newest", () => paced.includes("a offline"));
      assert.ok(!paced.includes("a idle"), "of an agent, the newest state at each time");
    });
  });
}

describe("the document's clients", () => {
  const original = globalThis.WebSocket;
  before(() => (globalThis.WebSocket = WebSocket));
  after(() => (globalThis.WebSocket = original));

  test("subscriptions as names, lists, and rooms with options work beside the documented object", async () => {
    const seen = [];
    const rooms = ["agent_states", { room: "system_alerts", where: { severity: "info" } }];
    for (const subscriptions of ["agent_states", rooms, { rooms: "agent_states" }, { rooms, agentFilters: ["a"] }]) {
      const client = own(new UniversalAIWebSocketClient({ serverUrl, subscriptions, onAgentState: ({ agentId }) => seen.push(agentId), onSystemAlert: ({ message }) => seen.push(message) }));
      await confirmed(client, subscriptions === rooms || subscriptions.rooms === rooms ? 2 : 1);
    }
    await daemon.publish(agent("a"), alert("hello"), { ...alert("no"), severity: "error" });
    await until("all", () => seen.length === 6);
    assert.deepEqual(seen.sort(), ["a", "a", "a", "a", "hello", "hello"]);
    assert.deepEqual(rooms, ["agent_states", { room: "system_alerts", where: { severity: "info" } }]);
  });

  test("rooms that are subscribed to before there is a connection are subscribed to once there is one", async () => {
    const seen = [];
    const client = own(new UniversalAIWebSocketClient({ serverUrl, autoConnect: false }, {
      onAgentState: ({ agentId }) => seen.push(agentId),
      onSubscriptionConfirmed: ({ subscriptions, timestamp }) => seen.push(subscriptions.join(), typeof timestamp),
    }));
    client.subscribe({ rooms: ["agent_states", "system_alerts", "memory_timeline"] });
    client.unsubscribe(["memory_timeline"]);
    assert.deepEqual(client.getConnectionStatus(), { connected: false, socketId: undefined, reconnectAttempts: 0 });
    assert.equal(client.client.state.state, "idle");
    client.connect();
    await until("the confirmation", () => seen.length === 2);
    const { connected, socketId, reconnectAttempts } = client.getConnectionStatus();
    assert.deepEqual([connected, typeof socketId, reconnectAttempts], [true, "string", 0]);
    await daemon.publish(agent("a"));
    await until("the event", () => seen.length === 3);
    assert.deepEqual(seen, ["agent_states,system_alerts", "number", "a"]);
    client.ping();
    client.disconnect();
    assert.equal(client.getConnectionStatus().connected, false);
  });

  test("other filters take over where the ones before were, and the same are confirmed again", async () => {
    const seen = [];
    let confirmations = 0;
    const client = own(new UniversalAIWebSocketClient({ serverUrl, subscriptions: { rooms: ["workflow_executions"], agentFilters: ["a"] } }, {
      onWorkflowUpdate: ({ stage }) => seen.push(stage),
      onSubscriptionConfirmed: () => (confirmations += 1),
    }));
    const update = (agentId, stage) => ({ ...workflow("w", stage), agentId });
    await until("the first", () => confirmations === 1);
    await daemon.publish(update("a", "1"));
    await until("an event", () => seen.length === 1);
    client.subscribe({ rooms: ["workflow_executions"], agentFilters: ["b"] });
    await daemon.publish(update("b", "2"), update("a", "none"));
    await until("another", () => seen.length === 2);
    client.subscribe({ rooms: ["workflow_executions"], agentFilters: ["b"] });
    await until("all confirmations", () => confirmations === 3);
    assert.deepEqual(seen, ["1", "2"]);
  });

  test("a wrong preference throws a TypeError that shows the right call, and subscribes to nothing of it", async () => {
    const seen = [];
    const client = own(new UniversalAIWebSocketClient({ serverUrl }, { onAgentState: ({ agentId }) => seen.push(agentId) }));
    const right = /call subscribe\(\{ rooms, agentFilters\?, metricFilters\?, updateFrequency\? \}\)/;
    const wrongs = [
      undefined, null, 5, [undefined], { rooms: ["agent_states", undefined] }, { rooms: [5] }, { rooms: [{ rooms: [] }] }, { rooms: { agent: 1 } }, { room: "" },
      { rooms: ["agent_states"], agentFilters: {} }, { rooms: ["agent_states"], agentFilters: [true] }, { rooms: ["agent_states"], metricFilters: [1.5] },
      { rooms: ["agent_states"], updateFrequency: "fast" }, { rooms: ["agent_states"], updateFrequency: -1 }, { rooms: ["agent_states", { room: "all", where: 5 }] },
    ];
    for (const wrong of wrongs) {
      assert.throws(() => client.subscribe(wrong), (error) => error instanceof TypeError && right.test(error.message), JSON.stringify(wrong));
    }
    for (const wrong of [undefined, 5, [null], [["a"]]]) assert.throws(() => client.unsubscribe(wrong), /call unsubscribe\(rooms\)/, JSON.stringify(wrong));
    assert.throws(() => new UniversalAIWebSocketClient({ serverUrl, subscriptions: { rooms: [undefined] } }), right);
    assert.throws(() => createMonitoringClient(serverUrl), /call createMonitoringClient\(serverUrl, \(type, data\) => …\)/);
    assert.throws(() => createWorkflowClient(serverUrl, undefined, () => {}), /must be a string or a number, not undefined/);
    client.subscribe("system_alerts");
    await confirmed(client, 1);
    client.subscribe({ rooms: ["agent_states"] });
    await confirmed(client, 2);
    await daemon.publish(agent("a"));
    await until("the event", () => seen.length === 1);
  });

  test("a daemon that is away is reported to onError at each attempt, and a refused room to onSubscriptionError", async () => {
    const errors = [];
    const away = own(new UniversalAIWebSocketClient({ serverUrl: "http://127.0.0.1:1", retryDelay: 1, retryAttempts: 2 }, { onError: (error) => errors.push(error) }));
    await until("the end", () => away.client.state.state === "closed");
    assert.equal(errors.length, 3);
    assert.match(errors[0].hint, /is the daemon running/);
    assert.equal(away.getConnectionStatus().reconnectAttempts, 2);
    const refused = await new Promise((resolve) => own(new UniversalAIWebSocketClient({ serverUrl, subscriptions: { rooms: ["agnet_states"] } }, { onSubscriptionError: resolve })));
    assert.deepEqual([typeof refused.error, typeof refused.timestamp, refused.room], ["string", "number", "agnet_states"]);
  });

  test("a callback that throws harms no other event, and handlers may be an object of a class", async () => {
    class Handlers {
      seen = [];
      onSystemAlert({ message }) {
        this.seen.push(message);
        if (message === "1") throw new Error("the application's own");
      }
    }
    const thrown = [];
    const note = (error) => thrown.push(error.message);
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", note);
    cleanup.push(() => {
      process.off("uncaughtException", note);
      for (const other of others) process.on("uncaughtException", other);
    });
    const handlers = new Handlers();
    const client = own(new UniversalAIWebSocketClient({ serverUrl, subscriptions: { rooms: ["system_alerts"], updateFrequency: 250 } }, handlers));
    await confirmed(client, 1);
    await daemon.publish(alert("0"));
    await until("the first", () => handlers.seen.length === 1);
    await daemon.publish(alert("1"), alert("2"));
    await until("the rest", () => handlers.seen.length === 3);
    assert.deepEqual([handlers.seen, thrown], [["0", "1", "2"], ["the application's own"]]);
  });

  test("basic client by its function: connections are written to the console, rooms can be added", async () => {
    const lines = [];
    const { log } = console;
    console.log = (...words) => lines.push(words.join(" "));
    cleanup.push(() => (console.log = log));
    const client = own(createBasicClient(serverUrl));
    client.subscribe({ rooms: ["memory_timeline"] });
    await confirmed(client, 3);
    client.disconnect();
    assert.equal(lines.length, 2);
  });
});

describe("the document's calls of a service", () => {
  const seen = [];
  let listener;
  before(async () => {
    listener = new BroadcastClient(daemon.url, { WebSocket });
    await new Promise((onReady) => listener.subscribe("all", ({ timestamp, ...event }) => seen.push(event), { onReady }));
    server.configure({ to: `http://${daemon.ingest}`, deadline: DEADLINE_MS });
  });
  after(async () => {
    listener.close();
    await server.close();
  });

  const update = { type: "workflow_execution", workflowId: "user-request-workflow", executionId: "exec-123" };
  const DOCUMENTED = [
    { type: "agent_state", agentId: "my-agent", status: "active", currentTask: "Processing user request", resourceUsage: { cpu: 45.2, memory: 67.8, activeConnections: 3 } },
    { ...update, stage: "initialization", status: "running", progress: 0, agentId: "agent-1" },
    { ...update, stage: "processing", status: "running", progress: 50 },
    { ...update, stage: "completed", status: "completed", progress: 100, result: { result: "success" } },
  ];
  const run = { workflowId: "w", executionId: "e" };
  const INTEGRATIONS = [
    { type: "agent_state", agentId: "a", status: "busy", currentTask: "reading", metadata: { currentTask: "reading", run: 7 } },
    { type: "agent_state", agentId: "a", status: "error", metadata: { error: "broken", details: { code: 5 } } },
    { type: "system_alert", severity: "error", component: "agent:a", message: "agent a failed: broken", details: { agentId: "a", error: "broken", code: 5 } },
    { type: "workflow_execution", ...run, stage: "initialization", status: "running", progress: 0 },
    { type: "workflow_execution", ...run, stage: "late", status: "running", progress: 100 },
    { type: "workflow_execution", ...run, stage: "failed", status: "failed", error: "broken", agentId: "a" },
    { type: "system_alert", severity: "warning", component: "workflow-engine", message: "workflow w failed: broken", details: { ...run, error: "broken", agentId: "a" } },
    { type: "memory_timeline", action: "created", memoryId: "m", content: "text", importance: 0.5, tags: ["t"], agentId: "a" },
    { type: "memory_timeline", action: "accessed", memoryId: "m", importance: 0.5, tags: ["t"] },
    { type: "memory_timeline", action: "updated", memoryId: "m", content: "more", importance: 0.6, tags: [] },
    { type: "memory_timeline", action: "deleted", memoryId: "m", importance: 0.6, tags: [] },
    { type: "system_alert", severity: "critical", component: "db", message: "down", details: { since: 1 } },
    { type: "performance_metric", metricName: "service.db.health", value: 50, unit: "percent", category: "system", metadata: { status: "degraded", details: { slow: true } } },
    { type: "performance_metric", metricName: "service.db.responseTime", value: 12.5, unit: "milliseconds", category: "system" },
    { type: "system_alert", severity: "warning", component: "db", message: "service db is degraded", details: { slow: true } },
  ];

  /** What came, without the figures of the process that sent it. */
  async function arrived(count) {
    await until("all", () => seen.length === count);
    return seen.splice(0).map(({ resourceUsage, ...event }) => (event.currentTask === "Processing user request" ? { ...event, resourceUsage } : event));
  }

  test("an agent's state, and a workflow from its start to its end", async () => {
    const broadcastService = server.getBroadcastService();
    if (broadcastService) {
      broadcastService.broadcastAgentState({
        agentId: "my-agent",
        status: "active",
        currentTask: "Processing user request",
        resourceUsage: { cpu: 45.2, memory: 67.8, activeConnections: 3 },
      });
    }
    const integrations = createBroadcastIntegrations(broadcastService);
    const workflowMonitor = integrations.workflowExecution;
    workflowMonitor.startWorkflow("user-request-workflow", "exec-123", "agent-1");
    workflowMonitor.updateWorkflowProgress("user-request-workflow", "exec-123", "processing", 50);
    workflowMonitor.completeWorkflow("user-request-workflow", "exec-123", { result: "success" });
    assert.deepEqual(await arrived(4), DOCUMENTED);
  });

  test("metrics are streamed until that is stopped", async () => {
    const { performanceMetrics } = createBroadcastIntegrations(server.getBroadcastService());
    performanceMetrics.startStreaming(5);
    await until("a metric", () => seen.some(({ metricName }) => metricName === "process.memory"));
    performanceMetrics.stopStreaming();
    await server.flush();
    const { sent, rejected } = server.stats();
    await until("the last", () => seen.length === sent - DOCUMENTED.length);
    assert.equal(rejected, 0);
    seen.length = 0;
  });

  test("every call of the integrations", async () => {
    const { agentState, memoryTimeline, healthMonitor } = createBroadcastIntegrations();
    agentState.reportAgentStateChange("a", "busy", { currentTask: "reading", run: 7 });
    agentState.reportAgentError("a", new Error("broken"), { code: 5 });
    server.startWorkflow("w", "e");
    server.updateWorkflowProgress("w", "e", "late", 250);
    server.failWorkflow("w", "e", "broken", "a");
    memoryTimeline.trackMemoryCreation("m", "text", 0.5, ["t"], "a");
    memoryTimeline.trackMemoryAccess("m", 0.5, ["t"]);
    memoryTimeline.trackMemoryUpdate("m", "more", 0.6, []);
    memoryTimeline.trackMemoryDeletion("m", 0.6, [], null);
    healthMonitor.broadcastHealthAlert("critical", "db", "down", { since: 1 });
    healthMonitor.broadcastServiceHealth("db", "degraded", 12.5, { slow: true });
    assert.deepEqual(await arrived(INTEGRATIONS.length), INTEGRATIONS);
  });

  test("the same calls from Python send the same", async () => {
    const env = { ...process.env, BROADCASTD_INGEST: `http://${daemon.ingest}`, PYTHONPATH: join(repository, "examples"), PYTHONDONTWRITEBYTECODE: "1" };
    const { stdout, stderr } = await promisify(execFile)("python3", [join(repository, "client/test/migration.py")], { env });
    assert.equal(stdout + stderr, "");
    const all = await arrived(DOCUMENTED.length + INTEGRATIONS.length);
    assert.deepEqual(all, [...DOCUMENTED, ...INTEGRATIONS]);
  });
});

test("the document's commands: the status, and a test broadcast", async () => {
  const curl = async (...words) => JSON.parse((await promisify(execFile)("curl", ["-sSf", ...words])).stdout);
  const seen = [];
  const client = own(new UniversalAIWebSocketClient({ serverUrl, WebSocket, subscriptions: { rooms: ["system_alerts"] } }, { onSystemAlert: (data) => seen.push(data) }));
  await confirmed(client, 1);
  assert.equal(typeof (await curl(`${serverUrl}/api/v1/websocket/status`)), "object");
  await curl("-X", "POST", `${serverUrl}/api/v1/websocket/broadcast/test`);
  await until("the test's event", () => seen.length === 1);
});
