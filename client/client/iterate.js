// `for await (const event of client.room("agent:42"))`: a subscription with a bounded queue before it.

/** @typedef {import("../types/client.d.ts").BroadcastError} BroadcastError */

/** @param {BroadcastError} error */
const refusal = (error) => Object.assign(new Error(error.message), error);

/**
 * Subscribes, and gives events one by one. While the consumer is busy at most `queue` events wait; then the oldest is dropped,
 * and before the next event `onGap` is told how many, with the reason `slow_consumer`. Ends when the loop is left, when the
 * client is closed, and, with an error, when the room is refused.
 * @param {import("../client.js").BroadcastClient} client
 * @param {string} room
 * @param {any} options
 */
export function iterate(client, room, { queue: limit = 1000, ...options }) {
  /** @type {[event: any, offset: number][]} */
  const queue = [];
  /** @type {{ resolve: (it: IteratorResult<any>) => void, reject: (error: Error) => void }[]} */
  const waiting = [];
  /** @type {{ room: string, first: number, offset: number, missed: number, reason: string } | null} */
  let gap = null;
  /** @type {Error | null} */
  let failure = null;
  let over = false;

  const take = (/** @type {any} */ event, /** @type {{ offset: number }} */ { offset }) => {
    const next = waiting.shift();
    if (next) return next.resolve({ value: event, done: false });
    queue.push([event, offset]);
    if (queue.length <= limit) return;
    const [, first] = /** @type {[any, number]} */ (queue.shift());
    gap ??= { room, first, offset: first, missed: 0, reason: "slow_consumer" };
    gap.offset = first;
    gap.missed += 1;
  };
  const fail = (/** @type {BroadcastError} */ error) => {
    options.onError?.(error);
    failure = refusal(error);
    const next = waiting.shift();
    if (next) reject(next);
  };
  const stop = client.subscribe(room, take, { ...options, onError: fail });
  const unwatch = client.onState(({ state }) => state === "closed" && end());

  /** @param {{ reject: (error: Error) => void }} next */
  const reject = (next) => {
    const error = /** @type {Error} */ (failure);
    end();
    next.reject(error);
  };
  const end = () => {
    over = true;
    failure = null;
    stop();
    unwatch();
    for (const { resolve } of waiting.splice(0)) resolve({ value: undefined, done: true });
  };

  return {
    /** @returns {Promise<IteratorResult<any>>} */
    next() {
      const told = gap;
      gap = null;
      if (told) options.onGap?.(told);
      const [first] = queue.splice(0, 1);
      if (first) return Promise.resolve({ value: first[0], done: false });
      if (over) return Promise.resolve({ value: undefined, done: true });
      return new Promise((resolve, fail) => {
        if (failure) reject({ reject: fail });
        else waiting.push({ resolve, reject: fail });
      });
    },
    /** @returns {Promise<IteratorResult<any>>} */
    return() {
      queue.length = 0;
      end();
      return Promise.resolve({ value: undefined, done: true });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
