// Types of broadcastd-client. tests check them against the code.

/** Fields of every built-in event. */
interface Timed {
  /** Milliseconds since 1970. The daemon adds it where a producer left it out, unless `add_timestamp` is off. */
  timestamp: number;
}

export interface AgentState extends Timed {
  type: "agent_state";
  agentId: string;
  status: "idle" | "active" | "busy" | "error" | "offline";
  resourceUsage: { cpu: number; memory: number; activeConnections: number };
  currentTask?: string;
  metadata?: Record<string, any>;
}

export interface PerformanceMetric extends Timed {
  type: "performance_metric";
  metricName: string;
  value: number;
  unit: string;
  category: "system" | "agent" | "network" | "database";
  agentId?: string;
  metadata?: Record<string, any>;
}

export interface WorkflowExecution extends Timed {
  type: "workflow_execution";
  workflowId: string;
  executionId: string;
  stage: string;
  status: "pending" | "running" | "completed" | "failed" | "cancelled";
  /** 0 to 100. */
  progress?: number;
  agentId?: string;
  result?: any;
  error?: string;
}

export interface MemoryTimeline extends Timed {
  type: "memory_timeline";
  memoryId: string;
  action: "created" | "updated" | "accessed" | "deleted";
  importance: number;
  tags: string[];
  content?: string;
  agentId?: string;
}

export interface SystemAlert extends Timed {
  type: "system_alert";
  severity: "info" | "warning" | "error" | "critical";
  component: string;
  message: string;
  details?: Record<string, any>;
}

/** The five types that the daemon checks field by field; told apart by `type`. */
export type BuiltInEvent = AgentState | PerformanceMetric | WorkflowExecution | MemoryTimeline | SystemAlert;

/** Any event at all: an object with a `type`. */
export interface OtherEvent {
  type: string;
  timestamp?: number;
  [field: string]: any;
}

/**
 * What is in which room. Rooms of one's own are added by declaration merging:
 *
 *     declare module "broadcastd-client" { interface RoomEvents { tokens: { type: "token"; runId: string; delta: string } } }
 */
export interface RoomEvents {
  agent_states: AgentState;
  performance_metrics: PerformanceMetric;
  metrics_board: PerformanceMetric;
  workflow_executions: WorkflowExecution;
  memory_timeline: MemoryTimeline;
  system_alerts: SystemAlert;
  critical: SystemAlert;
}

export type EventOf<Room extends string> = Room extends keyof RoomEvents ? RoomEvents[Room] : OtherEvent;

/** Where a subscription begins; see docs/protocol.md. A position that is known wins over it. */
export type From = "now" | "start" | { after: string } | { last: number } | { since: string | number };

export interface Meta {
  room: string;
  /** The event's offset in the room; of a snapshot's events, the room's position when it was taken. */
  offset: number;
  /** The daemon's number of the event, the same in every room; null where it has none (snapshots). */
  seq: number | null;
  /** `replay`: from the room's history. `snapshot`: the newest event of its key. */
  source: "live" | "replay" | "snapshot";
}

export interface BatchMeta {
  room: string;
  /** Of the last event. */
  offset: number;
  offsets: number[];
  seqs: (number | null)[];
  source: "live" | "replay";
  /** So many events were left out because `where` or `every` asked for it. */
  skipped: number;
}

export interface Gap {
  room: string;
  /** Missing are the events from `first` to `offset`. */
  first: number;
  offset: number;
  /** How many; null if that cannot be known. */
  missed: number | null;
  /** `slow_consumer` is this client's own: the queue of `room()` was full. All others are the daemon's. */
  reason: "history_expired" | "epoch_changed" | "room_closed" | "slow_client" | "slow_consumer" | (string & {});
}

export interface BroadcastError {
  code: string;
  message: string;
  hint?: string;
  /** The room that was refused, if it is about one. */
  room?: string;
}

export interface ClientState {
  /**
   * `idle`: nothing was subscribed to yet. `connecting`. `open`. `waiting`: connects again in `retryIn`, or when the tab is seen
   * or the network is back. `closed`: by `close()`, or after `retry.attempts`.
   */
  state: "idle" | "connecting" | "open" | "waiting" | "closed";
  transport: "websocket" | "sse" | null;
  /** Connections in a row that failed. */
  attempt: number;
  /** While `open` over a WebSocket: the daemon's name of the connection, as its log and its API have it. */
  client?: string;
  /** Milliseconds. */
  retryIn?: number;
  /** Why there is no connection, for people; `hint` is what to look at. */
  reason?: string;
  hint?: string;
  /** The WebSocket's close code, or the HTTP status. */
  code?: number;
  status?: number;
}

export interface SubscribeOptions<Event = any> {
  from?: From;
  /** A condition in the language of broadcast.toml, or an object: `{ agentId: ["a", "b"] }`. */
  where?: string | Record<string, unknown>;
  /** At most one delivery in so long: `"2s"`, or milliseconds. A room with a key gives the newest event of each key. */
  every?: string | number;
  /** Whether to begin with the newest event of each key. Without it, the room's configuration decides. */
  snapshot?: boolean;
  /** Events that came together, as one array. The handler is not called for them. */
  onBatch?(events: Event[], meta: BatchMeta): void;
  /** The whole snapshot. Without it, its events go to the handler, with the source `snapshot`. */
  onSnapshot?(events: Event[], meta: { room: string; offset: number }): void;
  onGap?(gap: Gap): void;
  /** The daemon has confirmed the subscription, after each connect; at once if it had before. `resumed`: exactly where it was. */
  onReady?(ready: { room: string; resumed: boolean }): void;
  /** The daemon refused the room, or ended the subscription (`room_closed`). It is asked again after a reconnect. */
  onError?(error: BroadcastError): void;
  /** Aborting stops the subscription. */
  signal?: AbortSignal;
}

export interface RoomOptions<Event = any> extends Omit<SubscribeOptions<Event>, "onBatch" | "onSnapshot"> {
  /** Events that may wait while the loop's body is busy; 1000. Then the oldest is dropped, and told to `onGap`. */
  queue?: number;
}

export interface ClientOptions {
  /** `auto`: WebSocket, and Server-Sent Events where no WebSocket ever came through. */
  transport?: "auto" | "websocket" | "sse";
  /** Where the runtime has none (Node 20): `import WebSocket from "ws"`, for example. */
  WebSocket?: any;
  fetch?: typeof fetch;
  /** Waits are random between 0 and `min` × 2ⁿ, at most `max` ms; the daemon's own word comes first. */
  retry?: {
    /** 500 ms. */
    min?: number;
    /** 30,000 ms. */
    max?: number;
    /** Connections that may fail in a row; without limit. */
    attempts?: number;
    /** A connection that lasted so long ends the row; 5000 ms. */
    stable?: number;
  };
  /** Until a connection must stand; 10,000 ms. */
  connectTimeout?: number;
  /** When nothing was heard for so long (ms) an answer is asked for. Without it, the daemon's own interval. */
  heartbeat?: number;
  /** How long that answer may take; 10,000 ms, at most the heartbeat. */
  pongTimeout?: number;
  /** Where positions are kept over a reload of the page: `sessionStorage`. */
  storage?: Pick<Storage, "getItem" | "setItem">;
  storageKey?: string;
  onState?(state: ClientState): void;
  /** Gaps of every room. */
  onGap?(gap: Gap): void;
  /** What the daemon refused. Without it, a warning on the console. */
  onError?(error: BroadcastError): void;
  /** Every message and state: to `console.debug`, or to a function. */
  debug?: boolean | ((...words: unknown[]) => void);
}

export class BroadcastClient {
  /** `url`: the daemon's `/ws`, as `ws:`, `wss:`, `http:` or `https:`. In a page, without one, the page's own host. */
  constructor(url?: string | URL, options?: ClientOptions);

  readonly state: ClientState;

  /**
   * Subscribes; connects if that was not done. Returns what ends it. Handlers of one room share one subscription, which ends
   * with the last of them: whoever comes later has what comes from then on, whatever its `from`. Throws if the room is
   * subscribed to with another `where`, `every` or `snapshot`. Throws a `TypeError` if an argument is of a wrong kind.
   */
  subscribe<Room extends string, Event = EventOf<Room>>(
    room: Room,
    handler: ((event: Event, meta: Meta) => void) | null | undefined,
    options?: SubscribeOptions<Event>,
  ): () => void;

  /** The room's events as an async iterable, with a bounded queue before it. Each loop is a subscription. */
  room<Room extends string, Event = EventOf<Room>>(room: Room, options?: RoomOptions<Event>): AsyncIterable<Event>;

  /** Calls with every change of state. Returns what ends it. */
  onState(watcher: (state: ClientState) => void): () => void;

  /** Where every room stands, as `from.after` takes it. */
  positions(): Record<string, string>;

  connect(): void;
  /** Asks the daemon for a sign of life. Without one in time, the client connects again. */
  ping(): void;
  close(): void;
}

/** A value as it stands in the name of a room of a template: `agent:${encodeValue(agentId)}`. Throws for anything else. */
export function encodeValue(value: string | number): string;

// The names of the replaced Socket.IO service.

export type {
  AgentState as AgentStateMessage,
  BuiltInEvent as BroadcastMessage,
  BuiltInEvent as ClientBroadcastMessage,
  MemoryTimeline as MemoryTimelineData,
  SubscriptionPreferences as ClientSubscriptionPreferences,
  SubscriptionRoom as ClientSubscriptionRoom,
  WebSocketClientConfig as ClientConfig,
  WebSocketEventHandlers as EventHandlers,
  WorkflowExecution as WorkflowExecutionUpdate,
};

/** Any room of broadcast.toml; values in its name are encoded (`encodeValue`). */
export type SubscriptionRoom =
  | "agent_states"
  | "performance_metrics"
  | "workflow_executions"
  | "memory_timeline"
  | "system_alerts"
  | `agent:${string}`
  | `workflow:${string}`
  | (string & {});

export interface SubscriptionPreferences {
  rooms: SubscriptionRoom[];
  /** Of events that have an `agentId`, only theirs. Events without one pass. */
  agentFilters?: string[];
  /** Of events that have a `metricName`, those whose name or `category` is among these. Events without one pass. */
  metricFilters?: string[];
  /** Milliseconds between two deliveries: 250 to 60,000. Less means at once. */
  updateFrequency?: number;
}

export interface WebSocketClientConfig {
  /** As for BroadcastClient. */
  serverUrl: string;
  /** `true`. */
  autoConnect?: boolean;
  /** Connections in a row that may fail; without limit. */
  retryAttempts?: number;
  /** `retry.min` in milliseconds; 500. */
  retryDelay?: number;
  subscriptions?: SubscriptionPreferences;
  /** Every message and state, to the console. */
  debug?: boolean;
}

export interface WebSocketEventHandlers {
  onConnect?: () => void;
  onDisconnect?: (reason: string) => void;
  onAgentState?: (data: AgentState) => void;
  onPerformanceMetrics?: (data: PerformanceMetric[]) => void;
  onWorkflowUpdate?: (data: WorkflowExecution) => void;
  onMemoryTimeline?: (data: MemoryTimeline) => void;
  onSystemAlert?: (data: SystemAlert) => void;
  /** A connection that failed: `message`, and `hint` with what to look at. Without it, a warning on the console. */
  onError?: (error: any) => void;
  /** All rooms that were confirmed together, after each connect. */
  onSubscriptionConfirmed?: (data: { subscriptions: SubscriptionRoom[]; timestamp: number }) => void;
  /** A room that was refused. Without it, a warning on the console. */
  onSubscriptionError?: (data: { error: string; timestamp: number } & BroadcastError) => void;
}

/** A room, or a room with a subscription's options. */
export type RoomWish = SubscriptionRoom | ({ room: string } & SubscribeOptions);

/** What `subscribe` takes: the old service's preferences, or rooms alone. */
export type RoomWishes = RoomWish | RoomWish[] | (Omit<SubscriptionPreferences, "rooms"> & { rooms: RoomWish | RoomWish[] });

/** The old service's configuration, with the options of BroadcastClient; callbacks may be among them. */
export interface UniversalAIOptions
  extends Omit<ClientOptions, "onError" | "debug" | "retry">, Omit<WebSocketClientConfig, "serverUrl" | "subscriptions" | "debug">, WebSocketEventHandlers {
  serverUrl?: string | URL;
  subscriptions?: RoomWishes;
  debug?: ClientOptions["debug"];
}

export class UniversalAIWebSocketClient {
  constructor(config?: WebSocketClientConfig | UniversalAIOptions, handlers?: WebSocketEventHandlers);
  /** The client beneath. */
  readonly client: BroadcastClient;
  connect(): void;
  /** Stays away until `connect`; rooms and positions stay. */
  disconnect(): void;
  /**
   * While there is no connection, rooms are kept until there is one. Other filters for a room that is subscribed to take over
   * where it is. Throws a `TypeError` if a room or a filter is of a wrong kind; then nothing is subscribed to.
   */
  subscribe(preferences: RoomWishes): void;
  unsubscribe(rooms: SubscriptionRoom | SubscriptionRoom[]): void;
  ping(): void;
  isConnected(): boolean;
  getConnectionStatus(): { connected: boolean; socketId?: string; reconnectAttempts: number };
}

/** Agents and alerts; connections and errors are written to the console. */
export function createBasicClient(serverUrl?: string | URL, options?: UniversalAIOptions): UniversalAIWebSocketClient;

/** Agents, metrics (an array) and alerts. Of other rooms in `options`, each event's type and the event. */
export function createMonitoringClient(
  serverUrl: string | URL,
  onUpdate: (type: "agent_state" | "performance_metrics" | "system_alert" | "workflow_execution" | "memory_timeline", data: any) => void,
  options?: UniversalAIOptions,
): UniversalAIWebSocketClient;

/** One workflow, from the room `workflow:{workflowId}`: each update once. */
export function createWorkflowClient(
  serverUrl: string | URL,
  workflowId: string,
  onWorkflowUpdate: (update: WorkflowExecution) => void,
  options?: UniversalAIOptions,
): UniversalAIWebSocketClient;
