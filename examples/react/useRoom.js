// The newest events of a room, for React 18 and 19:
//
//     const client = new BroadcastClient();
//     <Broadcast.Provider value={client}>…</Broadcast.Provider>
//     const { events, ready, gap, error } = useRoom("agent:42", { last: 20 });
import { createContext, useContext, useEffect, useState } from "react";

export const Broadcast = createContext(null);

const NOTHING = { events: [], ready: false, gap: null, error: null };

/**
 * `room`: nothing is subscribed to until it is known (`undefined` until then).
 * `last`: how many events are wanted, at the beginning and at most. `where`: a condition, as for `subscribe`.
 * `gap`: the last one there was; what is missing lies between events that are here. `error`: why the room was refused.
 */
export function useRoom(room, { last = 100, where } = {}) {
  const client = useContext(Broadcast);
  const [seen, setSeen] = useState(NOTHING);
  useEffect(() => {
    if (!room) return undefined;
    let gathered = [];
    let frame;
    // However many events come, there is one render for each frame. A hidden tab has none, and gathers the newest.
    const render = () => {
      frame = undefined;
      const more = gathered;
      gathered = [];
      setSeen((seen) => ({ ...seen, events: [...seen.events, ...more].slice(-last) }));
    };
    const stop = client.subscribe(room, null, {
      from: { last },
      where,
      onBatch: (events) => {
        gathered = [...gathered, ...events].slice(-last);
        frame ??= requestAnimationFrame(render);
      },
      onReady: () => setSeen((seen) => ({ ...seen, ready: true, error: null })),
      onGap: (gap) => setSeen((seen) => ({ ...seen, gap })),
      onError: (error) => setSeen((seen) => ({ ...seen, error })),
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
      setSeen(NOTHING);
    };
  }, [client, room, last, where]);
  return seen;
}
