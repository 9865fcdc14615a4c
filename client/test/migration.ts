// Compiled, never run: what the document of the replaced Socket.IO service tells applications to write, with other imports.
import {
  createBasicClient, createMonitoringClient, createWorkflowClient, UniversalAIWebSocketClient,
  type AgentStateMessage, type BroadcastMessage, type MemoryTimelineData, type PerformanceMetric, type SubscriptionPreferences,
  type SubscriptionRoom, type SystemAlert, type WebSocketClientConfig, type WebSocketEventHandlers, type WorkflowExecutionUpdate,
} from "broadcastd-client";
import * as server from "broadcastd-client/producer";
import { createBroadcastIntegrations, type RealtimeBroadcastService } from "broadcastd-client/producer";

export const client = new UniversalAIWebSocketClient(
  {
    serverUrl: "http://localhost:9999",
    subscriptions: {
      rooms: ["agent_states", "performance_metrics", "system_alerts"],
    },
  },
  {
    onConnect: () => console.log("connected"),
    onAgentState: (data) => console.log(data.agentId, data.resourceUsage.cpu),
    onPerformanceMetrics: (data) => console.log(data.map(({ metricName, value }) => `${metricName}: ${value}`)),
    onSystemAlert: (data) => console.log(data.severity, data.message),
  },
);

export const monitor = createMonitoringClient("http://localhost:9999", (type, data) => {
  console.log(`[${type}]`, data);
});

export const workflowClient = createWorkflowClient("http://localhost:9999", "my-workflow-id", (update) => {
  console.log(update.stage, update.progress);
});

const serverUrl = "http://localhost:9999";
const handlers: WebSocketEventHandlers = {};
export const debugged = new UniversalAIWebSocketClient({
  serverUrl,
  debug: true,
}, handlers);

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
integrations.performanceMetrics.startStreaming(5000);
const workflowMonitor = integrations.workflowExecution;
workflowMonitor.startWorkflow("user-request-workflow", "exec-123", "agent-1");
workflowMonitor.updateWorkflowProgress("user-request-workflow", "exec-123", "processing", 50);
workflowMonitor.completeWorkflow("user-request-workflow", "exec-123", { result: "success" });

// What front ends and backends have in types of their own.
export function typed(service: RealtimeBroadcastService, onUpdate: (type: string, data: any) => void): void {
  const config: WebSocketClientConfig = { serverUrl, autoConnect: false, retryAttempts: 5, retryDelay: 2000, debug: false };
  const rooms: SubscriptionRoom[] = ["workflow_executions", "memory_timeline", `agent:${config.serverUrl.length}`, "workflow:7"];
  const preferences: SubscriptionPreferences = { rooms, agentFilters: ["a"], metricFilters: ["cpu"], updateFrequency: 1000 };
  const all: WebSocketEventHandlers = {
    onDisconnect: (reason: string) => console.log(reason),
    onAgentState: (data: AgentStateMessage) => console.log(new Date(data.timestamp), data.metadata?.run.id),
    onPerformanceMetrics: (data: PerformanceMetric[]) => console.log(data.length),
    onWorkflowUpdate: (data: WorkflowExecutionUpdate) => console.log(data.result.documents),
    onMemoryTimeline: (data: MemoryTimelineData) => console.log(data.tags),
    onSystemAlert: (data: SystemAlert) => console.log(data.details?.workflowId),
    onError: (error: Error) => console.error(error.message),
    onSubscriptionConfirmed: (data: { subscriptions: SubscriptionRoom[]; timestamp: number }) => console.log(data.subscriptions),
    onSubscriptionError: (data: { error: string; timestamp: number }) => console.log(data.error),
  };
  const own = new UniversalAIWebSocketClient({ ...config, subscriptions: preferences }, all);
  own.connect();
  own.subscribe({ rooms: ["agent:42"] });
  own.unsubscribe(["agent:42"]);
  own.ping();
  const { connected, socketId, reconnectAttempts }: { connected: boolean; socketId?: string; reconnectAttempts: number } = own.getConnectionStatus();
  own.disconnect();
  createMonitoringClient(serverUrl, onUpdate);
  const message: BroadcastMessage["type"] = "agent_state";
  const basic: UniversalAIWebSocketClient = createBasicClient(serverUrl);
  const { agentState, memoryTimeline, healthMonitor } = createBroadcastIntegrations(service);
  agentState.reportAgentStateChange("a", "busy", { currentTask: "reading" });
  agentState.reportAgentError("a", "broken", { code: 5 });
  memoryTimeline.trackMemoryCreation("m", "text", 0.5, ["t"], "a");
  healthMonitor.broadcastServiceHealth("db", "healthy", 12);
  service.broadcastPerformanceMetric({ metricName: "m", value: 1, unit: "ms", category: "network" });
  service.broadcastWorkflowUpdate({ workflowId: "w", executionId: "e", stage: "s", status: "running", progress: 5 });
  service.broadcastMemoryTimeline({ memoryId: "m", action: "created", importance: 1, tags: [] });
  service.broadcastSystemAlert({ severity: "info", component: "c", message: "m" });
  // @ts-expect-error the execution is missing
  service.startWorkflow("w");
  // @ts-expect-error no list of rooms
  own.subscribe({ rooms: 5 });
  console.log(connected, socketId, reconnectAttempts, message, basic);
}
