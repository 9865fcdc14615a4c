// Events, by the same client that everybody uses (/client.js), over one connection for each feed.

import { BroadcastClient } from "../client.js";

/** What a daemon does not know is not asked for again. */
const missing = new Set();

/** @typedef {{ where?: string, every?: string, snapshot?: boolean, from?: unknown }} Wish */

export class Feed {
  /** @param {(state: any) => void} [onState] */
  constructor(onState = () => {}) {
    /** The connection's name, as the daemon's list of clients has it. */
    this.id = "";
    const debug = (_, direction, message) => {
      if (direction === "←" && message?.type === "welcome") this.id = message.client;
    };
    this.client = new BroadcastClient(undefined, { onState, onError: () => {}, debug });
  }

  /**
   * Events of a room, as lists. `ears.events(events, meta)` gets them, also those of a snapshot (`meta.source`); `gap`, `ready`
   * and `refused` are optional. Where the daemon has no `every` or `snapshot`, everything comes as it comes.
   * @param {string} room
   * @param {Wish} wish
   */
  open(room, { where, every, snapshot, from = "now" }, ears) {
    let stop = () => {};
    let over = false;
    const ask = (bare) => {
      const extras = { every: bare || missing.has("every") ? undefined : every, snapshot: bare || missing.has("snapshot") ? undefined : snapshot };
      const isExtra = extras.every !== undefined || extras.snapshot !== undefined;
      stop = this.client.subscribe(room, null, {
        ...extras,
        where: where || undefined,
        from,
        onBatch: (events, meta) => ears.events(events, meta),
        onSnapshot: (events, meta) => ears.events(events, { ...meta, offsets: null, seqs: null, source: "snapshot", skipped: 0 }),
        onGap: ears.gap,
        onReady: ears.ready,
        onError: (error) => {
          if (!isExtra || !["unsupported", "bad_field"].includes(error.code)) return ears.refused?.(error);
          for (const name of ["every", "snapshot"]) if (error.code === "unsupported" && error.message.includes(name)) missing.add(name);
          stop();
          // Not in this call: the client is still handing out what the daemon answered.
          queueMicrotask(() => over || ask(!missing.size));
        },
      });
    };
    ask(false);
    return () => {
      over = true;
      stop();
    };
  }

  close() {
    this.client.close();
  }
}
