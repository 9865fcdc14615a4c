// Types of broadcastd-client/producer. tests check them against the code.

import type { AgentState, BuiltInEvent, MemoryTimeline, OtherEvent, PerformanceMetric, SystemAlert, WorkflowExecution } from "./client.d.ts";

/** An event's fields without its type, those of `Given` optional. */
type Fields<Event extends BuiltInEvent, Given extends keyof Event> = Omit<Event, "type" | "timestamp" | Given> & Partial<Pick<Event, "timestamp" | Given>>;

export type AgentStateFields = Fields<AgentState, "agentId" | "resourceUsage">;
export type PerformanceMetricFields = Fields<PerformanceMetric, "unit" | "category">;
export type WorkflowFields = Fields<WorkflowExecution, never>;
export type MemoryTimelineFields = Fields<MemoryTimeline, "action" | "importance" | "tags">;
export type SystemAlertFields = Fields<SystemAlert, "severity" | "component">;

export interface ProducerStats {
  /** Wait now. */
  queued: number;
  /** Accepted by the daemon; at a listener with `ack = "none"`, taken by the kernel. */
  sent: number;
  /** Refused by the daemon; `onError` has the reasons. */
  rejected: number;
  /** The oldest, because the queue was full; what waited at `close`. */
  dropped: number;
  /** Nobody knows whether they arrived: the daemon hung, or the connection broke half-way. */
  lost: number;
  /** No events at all, or given after `close`. */
  invalid: number;
}

export interface ProducerOptions {
  /**
   * `http://HOST:PORT`, `tcp://HOST:PORT` or `unix:PATH`. Without it, `$BROADCASTD_INGEST`, or `http://127.0.0.1:9998`.
   */
  to?: string;
  /** Of this producer's events, where they do not have one. */
  agentId?: string;
  /** Events that may wait; 10,000. Then the oldest is dropped. */
  queue?: number;
  /** Their characters together; 16 Mi. */
  queueChars?: number;
  /** How long a batch may take, in milliseconds; 2000. */
  deadline?: number;
  /** Refused events, and once for each time that the daemon is away. */
  onError?(error: { code: string; message: string; hint?: string; line?: number; count?: number }): void;
}

/**
 * A daemon that is away never makes a call throw or wait. A call with wrong arguments throws a `TypeError` that shows the right
 * one. Those that send give false if the event cannot be sent: it has no type, is no JSON, or the producer is closed.
 */
export class Producer {
  constructor(options?: ProducerOptions);
  stats(): ProducerStats;
  /** Puts an event into the queue; false if it is none. */
  send(event: BuiltInEvent | OtherEvent): boolean;
  /** `resourceUsage` is this process's unless it is given. */
  broadcastAgentState(fields: AgentStateFields): boolean;
  broadcastPerformanceMetric(fields: PerformanceMetricFields): boolean;
  broadcastWorkflowUpdate(fields: WorkflowFields): boolean;
  broadcastMemoryTimeline(fields: MemoryTimelineFields): boolean;
  broadcastSystemAlert(fields: SystemAlertFields): boolean;
  startWorkflow(workflowId: string, executionId: string, agentId?: string): boolean;
  /** `progress` is kept within 0 and 100. */
  updateWorkflowProgress(workflowId: string, executionId: string, stage: string, progress: number, agentId?: string): boolean;
  completeWorkflow(workflowId: string, executionId: string, result?: any, agentId?: string): boolean;
  /** Sends a warning as well, of the component `workflow-engine`. */
  failWorkflow(workflowId: string, executionId: string, error: unknown, agentId?: string): boolean;
  /** This process's CPU (percent of a core) and memory (MB) as `performance_metric`, every so often. Returns what ends it. */
  startStreaming(intervalMs?: number): () => void;
  stopStreaming(): void;
  /** Resolves when nothing waits any more, or after so long (`deadline`); true if nothing waits. */
  flush(timeoutMs?: number): Promise<boolean>;
  /** Flushes and ends. */
  close(timeoutMs?: number): Promise<boolean>;
  /** The old service's name for `close`. */
  destroy(): Promise<boolean>;
}

/** The old service's groups of calls. They throw for wrong arguments as a Producer's do. */
export interface BroadcastIntegrations {
  agentState: {
    /** `resourceUsage` is this process's. */
    reportAgentStateChange(agentId: string, status: AgentState["status"], metadata?: any): boolean;
    /** An `agent_state` with the status `error`, and a `system_alert` of the component `agent:ID`. */
    reportAgentError(agentId: string, error: unknown, details?: any): boolean;
  };
  performanceMetrics: Pick<Producer, "startStreaming" | "stopStreaming">;
  workflowExecution: Pick<Producer, "startWorkflow" | "updateWorkflowProgress" | "completeWorkflow" | "failWorkflow">;
  memoryTimeline: {
    trackMemoryCreation(memoryId: string, content: string, importance: number, tags: string[], agentId?: string): boolean;
    trackMemoryAccess(memoryId: string, importance: number, tags: string[], agentId?: string): boolean;
    trackMemoryUpdate(memoryId: string, content: string, importance: number, tags: string[], agentId?: string): boolean;
    trackMemoryDeletion(memoryId: string, importance: number, tags: string[], agentId?: string): boolean;
  };
  healthMonitor: {
    broadcastHealthAlert(severity: SystemAlert["severity"], component: string, message: string, details?: any): boolean;
    /** Metrics of the service, and an alert unless it is healthy. */
    broadcastServiceHealth(serviceName: string, health: "healthy" | "degraded" | "unhealthy", responseTime?: number, details?: any): void;
  };
}

/** The old service's name. */
export type RealtimeBroadcastService = Producer;

/** The functions below are those of one producer that the whole program shares. */
export function configure(options: ProducerOptions): Producer;
/** That producer. */
export function getBroadcastService(): Producer;
/** Without a service, on that producer. */
export function createBroadcastIntegrations(service?: Producer): BroadcastIntegrations;
export const broadcastAgentState: Producer["broadcastAgentState"];
export const broadcastPerformanceMetric: Producer["broadcastPerformanceMetric"];
export const broadcastWorkflowUpdate: Producer["broadcastWorkflowUpdate"];
export const broadcastMemoryTimeline: Producer["broadcastMemoryTimeline"];
export const broadcastSystemAlert: Producer["broadcastSystemAlert"];
export const startWorkflow: Producer["startWorkflow"];
export const updateWorkflowProgress: Producer["updateWorkflowProgress"];
export const completeWorkflow: Producer["completeWorkflow"];
export const failWorkflow: Producer["failWorkflow"];
export const startStreaming: Producer["startStreaming"];
export const stopStreaming: Producer["stopStreaming"];
export const flush: Producer["flush"];
export const close: Producer["close"];
export const stats: Producer["stats"];
