// Types of broadcastd-client/producer. tests check them against the code.

import type { AgentState, BuiltInEvent, MemoryTimeline, OtherEvent, PerformanceMetric, SystemAlert, WorkflowExecution } from "./client.d.ts";

/** An event's fields without its type, those of `Given` optional. */
type Fields<Event, Given extends keyof Event> = Omit<Event, "type" | Given> & Partial<Pick<Event, Given>>;

export type AgentStateFields = Fields<AgentState, "agentId" | "resourceUsage">;
export type PerformanceMetricFields = Fields<PerformanceMetric, "unit" | "category">;
export type WorkflowFields = Omit<WorkflowExecution, "type">;
export type MemoryTimelineFields = Fields<MemoryTimeline, "action" | "importance" | "tags">;
export type SystemAlertFields = Fields<SystemAlert, "severity" | "component">;

export interface ProducerStats {
  /** Wait now. */
  queued: number;
  /** Accepted by the daemon; over `tcp:` and `unix:`, taken by the kernel. */
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
   * `http://HOST:PORT` (each batch is answered), `tcp://HOST:PORT` or `unix:PATH` (lines on one connection). Without it,
   * `$BROADCASTD_INGEST`, or `http://127.0.0.1:9998`.
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
  /** Begins an execution and returns its id. */
  startWorkflow(workflowId: string, fields?: Partial<WorkflowFields>): string;
  updateWorkflowProgress(executionId: string, progress: number, fields?: Partial<WorkflowFields>): boolean;
  completeWorkflow(executionId: string, result?: unknown): boolean;
  failWorkflow(executionId: string, error: unknown): boolean;
  /** This process's CPU (percent of a core) and memory (MB) as `performance_metric`, every so often. Returns what ends it. */
  startStreaming(intervalMs?: number): () => void;
  stopStreaming(): void;
  /** Resolves when nothing waits any more, or after so long (`deadline`); true if nothing waits. */
  flush(timeoutMs?: number): Promise<boolean>;
  /** Flushes and ends. */
  close(timeoutMs?: number): Promise<boolean>;
}

/** The same for one producer that the whole program shares. */
export function configure(options: ProducerOptions): Producer;
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
