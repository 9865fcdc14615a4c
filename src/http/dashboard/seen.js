// What somebody has looked at already, so that the menu counts only what is new since. The browser remembers it.

const KEY = "broadcastd seen";

function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

const seen = load();

/** What was noted under a name, or `otherwise`. */
export const lastSeen = (name, otherwise) => seen[name] ?? otherwise;

/** How many of a process's things were seen, by its start. */
export function countSeen(name, started) {
  const { [name]: known } = seen;
  return known?.started === started ? known.total : 0;
}

/** Notes that so many are seen now. */
export const markCount = (name, started, total) => markSeen(name, { started, total: Math.max(total, countSeen(name, started)) });

/** Notes what is seen now. */
export function markSeen(name, value) {
  if (JSON.stringify(seen[name]) === JSON.stringify(value)) return;
  seen[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...load(), [name]: value }));
  } catch {
    // It holds until the page goes.
  }
}
