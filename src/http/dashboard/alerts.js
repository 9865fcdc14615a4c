// The alerts, kept for as long as the page is open: the panel lists them, the overview shows the newest, the menu counts the new.

import { lastSeen, markSeen } from "./seen.js";
import { Source } from "./source.js";
import { timeOf } from "./format.js";

const MOST = 500;
const GRAVE = ["error", "critical"];
const RELOADS = ["config_reloaded", "config_refused"];

export class Alerts {
  constructor(feed) {
    this.list = [];
    this.serial = 0;
    this.read = 0;
    /** Until when alerts were looked at before this page was opened. */
    this.readUntil = lastSeen("alerts", 0);
    this.watchers = new Set();
    this.source = new Source({ feed, type: "system_alert", preferred: ["system_alerts"], wish: { from: "start" }, ears: {
      begin: () => {
        this.list = [];
        this.#changed();
      },
      events: (events, meta) => {
        for (const event of events.slice(-MOST)) this.list.push({ serial: (this.serial += 1), at: timeOf(event), event, isNew: meta.source === "live" });
        if (this.list.length > MOST) this.list = this.list.slice(-MOST);
        this.#changed();
      },
    } });
    this.source.open();
  }

  /** Grave ones that came since they were looked at. */
  unread() {
    return this.list.filter(({ serial, at, event }) => serial > this.read && at > this.readUntil && GRAVE.includes(event?.severity)).length;
  }

  markRead() {
    this.read = this.serial;
    markSeen("alerts", Date.now());
    this.#changed();
  }

  /** Reloads that the daemon has told of since a time, and whether one of them was refused. */
  reloadsSince(ms) {
    const codes = this.list.filter(({ at, event }) => at > ms && event?.component === "broadcastd").map(({ event }) => event.details?.code);
    return { count: codes.filter((code) => RELOADS.includes(code)).length, isGrave: codes.includes("config_refused") };
  }

  /** Calls with every change. Returns what ends it. */
  watch(watcher) {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  #changed() {
    for (const watcher of this.watchers) watcher();
  }
}
