// The daemon's HTTP API. Paths are relative to the page: a proxy may have it below a path.

/** A refusal, as the daemon words it. */
export class Refused extends Error {
  constructor(status, { detail, hint, ...more }) {
    super(detail ?? `the daemon answered ${status}`);
    Object.assign(this, { status, hint, more });
  }
}

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.ok) return answer;
  throw new Refused(answer.status, await answer.json().catch(() => ({})));
}

export const getText = async (path, signal) => (await ask(path, { signal })).text();
export const getJson = async (path, signal) => (await ask(path, { signal })).json();
export const post = async (path) => (await ask(path, { method: "POST" })).json();
export const remove = (path) => ask(path, { method: "DELETE" });

/**
 * Asks at once and again `pause` milliseconds after each answer, while the page is seen. `told` gets the answer, `failed` what
 * went wrong. Returns what ends it, and what asks at once.
 */
export function poll(look, pause, told, failed = () => {}) {
  let over = false;
  let busy = false;
  let timer = 0;
  const abort = new AbortController();
  const turn = async () => {
    clearTimeout(timer);
    if (busy || over) return;
    busy = true;
    try {
      const answer = document.hidden ? null : await look(abort.signal);
      if (answer !== null && !over) told(answer);
    } catch (error) {
      if (!over) failed(error);
    }
    busy = false;
    if (!over) timer = setTimeout(turn, pause);
  };
  const seen = () => document.hidden || turn();
  document.addEventListener("visibilitychange", seen);
  turn();
  const end = () => {
    over = true;
    clearTimeout(timer);
    abort.abort();
    document.removeEventListener("visibilitychange", seen);
  };
  return { end, now: turn };
}
