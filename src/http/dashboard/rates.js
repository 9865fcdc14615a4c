// How fast rooms take and send events: what has changed between two looks.

/** The daemon's own events come together every few seconds: their rate is a mean over so long. */
const OWN_MS = 10_000;
/** Looks that a room's line shows. */
const LINE = 60;

/** @typedef {{ room: string, epoch?: string, head: number, own: number, delivered?: number }} Room a room, as the API tells of it */

export class Rates {
  #seen = new Map();

  /**
   * Adds to each room its rates, NaN at the first look: `in` of producers' events, `ownRate` of the daemon's own, `out`; and
   * `line`, what `in` was at the last looks.
   * @param {Room[]} rooms
   */
  take(rooms, at) {
    const seen = new Map();
    for (const room of rooms) {
      const known = this.#seen.get(room.room);
      const before = known && known.epoch === room.epoch && room.head >= known.head ? known : null;
      const seconds = before ? (at - before.at) / 1000 : NaN;
      // The daemon counts its own a moment after it has published them: producers' are never fewer than they were.
      const taken = Math.max(room.head - room.own, before?.taken ?? 0);
      const owns = [...(before?.owns ?? []), { at, own: room.own }];
      while (owns.length > 2 && owns[1].at < at - OWN_MS) owns.shift();
      room.in = before ? (taken - before.taken) / seconds : NaN;
      room.out = before ? (room.delivered - before.delivered) / seconds : NaN;
      room.ownRate = before ? (room.own - owns[0].own) / ((at - owns[0].at) / 1000) : NaN;
      room.line = before ? [...before.line, room.in].slice(-LINE) : [];
      seen.set(room.room, { at, taken, owns, epoch: room.epoch, head: room.head, delivered: room.delivered, line: room.line });
    }
    this.#seen = seen;
    return rooms;
  }
}
