// Carries messages over a WebSocket. Knows nothing of what they say.

import { PROTOCOL } from "./protocol.js";

/**
 * @typedef {{ reason: string, code?: number, status?: number, hint?: string, retryAfter?: number }} Failure
 * @typedef {{ message(message: any): void, heard(): void, closed(failure: Failure): void }} Ears
 *   `closed` is called at most once, and nothing after it; never after `close` of the transport.
 * @typedef {{ send(message: any): void, ping: boolean, close(): void }} Transport
 */

/**
 * @param {string} url
 * @param {typeof globalThis.WebSocket} WebSocket
 * @param {Ears} ears
 * @returns {Transport}
 */
export function openWebSocket(url, WebSocket, ears) {
  const socket = new WebSocket(url, PROTOCOL);
  let over = false;
  const close = () => {
    over = true;
    socket.close();
  };
  socket.onmessage = ({ data }) => {
    if (over) return;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      close();
      return ears.closed({ reason: "a message that is not JSON: is this broadcastd?" });
    }
    ears.heard();
    ears.message(message);
  };
  socket.onclose = ({ code, reason }) => {
    if (over) return;
    over = true;
    ears.closed({ code, reason: reason || (code === 1006 ? "the connection was lost" : `closed with ${code}`) });
  };
  socket.onerror = () => {}; // `close` follows; without a listener some runtimes end the process
  return { send: (message) => socket.send(JSON.stringify(message)), ping: true, close };
}
