// Which rooms the configuration has, and which of them take a type of event.

import { getJson } from "./api.js";

/** A TOML string or list of strings, as `GET /api/v1/config` has them. They are JSON as well, but for '…' strings. */
function strings(toml) {
  try {
    return [JSON.parse(toml)].flat();
  } catch {
    return [...toml.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'/g)].map(([, double, single]) => double ?? single);
  }
}

/**
 * Every room and template of a configuration's effective keys, in the order of their names.
 * @returns {{ name: string, types: string[], takesAny: boolean, hasWhere: boolean }[]} `takesAny`: also a type that no other room takes
 */
export function roomsIn(keys) {
  const rooms = [];
  for (const [key, value] of Object.entries(keys)) {
    const found = /^(rooms\.(?:"(.*)"|'(.*)'|([^."']+)))\.types$/.exec(key);
    const takesAny = value === '"unrouted"' || strings(value).includes("*");
    if (found) rooms.push({ name: found[2] ?? found[3] ?? found[4], types: strings(value), takesAny, hasWhere: `${found[1]}.where` in keys });
  }
  return rooms.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const configuredRooms = async () => roomsIn((await getJson("api/v1/config")).keys);

/**
 * Rooms that a panel for one type may show, the fittest first: those of that type alone, then those that take it among others,
 * which then want the `where`.
 * @returns {Promise<{ room: string, where: string | undefined }[]>}
 */
export async function roomsOf(type, preferred) {
  const fixed = (await configuredRooms()).filter(({ name }) => !name.includes("{"));
  const alone = fixed.filter(({ types }) => types.length === 1 && types[0] === type).map(({ name }) => ({ room: name, where: undefined }));
  const rank = ({ room }) => (preferred.includes(room) ? preferred.indexOf(room) : preferred.length);
  alone.sort((a, b) => rank(a) - rank(b));
  const among = fixed.filter(({ types }) => types.length !== 1 && types.includes(type));
  const all = fixed.filter(({ types }) => types.includes("*"));
  return [...alone, ...[...among, ...all].map(({ name }) => ({ room: name, where: `type == "${type}"` }))];
}
