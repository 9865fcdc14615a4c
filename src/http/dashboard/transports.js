// How clients are connected, in words.

const NAMES = { websocket: "WebSocket", sse: "SSE", lines: "NDJSON", socketio: "Socket.IO", polling: "Socket.IO polling" };

export const transportName = (transport) => NAMES[transport] ?? transport;

/** Transports in use, the most used first: `[["websocket", 4], ["sse", 1]]`. */
export const inUse = (transports) => Object.entries(transports).filter(([, clients]) => clients > 0).sort((a, b) => b[1] - a[1]);
