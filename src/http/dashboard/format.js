// Numbers, sizes and times as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** 1234 → `1,234`; from ten thousand on in three digits: `12.3k`, `4.56M`. */
export function count(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size < 10_000) return size >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(2)));
  const [divisor, letter] = size < 999_500 ? [1e3, "k"] : size < 999_500_000 ? [1e6, "M"] : [1e9, "G"];
  return `${(value / divisor).toPrecision(3)}${letter}`;
}

/** `1 client`, `2 clients`. */
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** A number of events a second. */
export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  return value > 0 && value < 0.05 ? "<0.1" : count(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  let unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toPrecision(3).replace(/\.?0+$/, "") : Math.round(value)} ${UNITS[unit]}`;
}

/** A span of seconds: `4 s`, `3 min`, `2 h 5 min`, `3 d 4 h`. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** A short span of seconds as latencies are told. */
export function latency(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  return seconds < 1 ? `${(seconds * 1000).toPrecision(seconds < 0.01 ? 2 : 3).replace(/\.0+$/, "")} ms` : `${seconds.toPrecision(2)} s`;
}

export const ago = (ms) => (Date.now() - ms < 1500 ? "now" : `${span((Date.now() - ms) / 1000)} ago`);

export const clock = (ms) => clockFormat.format(ms);

/** With milliseconds, for events that come close together. */
export const fineClock = (ms) => `${clockFormat.format(ms)}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`;

export const moment = (ms) => (Date.now() - ms < 43_200_000 ? clock(ms) : dayFormat.format(ms));

/** When an event says that it was; now, where it says nothing that can be believed. */
export function timeOf(event) {
  const told = event?.timestamp;
  const ms = typeof told === "number" ? told : typeof told === "string" ? Date.parse(told) : NaN;
  return ms > 0 && ms < 8e15 ? ms : Date.now();
}

/** A value of an event as one line of text, cut. */
export function line(value, most = 200) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
  const flat = text.slice(0, most + 1).replace(/\s+/g, " ");
  return flat.length > most ? `${flat.slice(0, most)}…` : flat;
}

/** A name that an event holds, or what stands for it. */
export const name = (value, other = "–") => (value === null || value === undefined || value === "" ? other : line(value, 80));
