// The events of one type, for a panel that is open: which room they come from, and what to say when there is none.

import { el, select } from "./dom.js";
import { roomsOf } from "./rooms.js";

export class Source {
  /**
   * @param {{ feed: import("./feed.js").Feed, type: string, preferred: string[], wish: object, ears: { begin(room: string): void, events(events: any[], meta: any): void } }} options
   *   `begin` is called whenever what came before no longer counts
   */
  constructor({ feed, type, preferred, wish, ears }) {
    Object.assign(this, { feed, type, preferred, wish, ears });
    this.room = null;
    this.stop = () => {};
    this.isOpen = false;
    this.picker = el("span", { class: "picker" });
    this.notice = el("p", { class: "notice", role: "alert", hidden: true });
  }

  async open() {
    this.isOpen = true;
    try {
      const rooms = await roomsOf(this.type, this.preferred);
      if (this.isOpen) this.#offer(rooms);
    } catch (error) {
      this.#say(`the rooms are not known: ${error.message}`);
    }
  }

  close() {
    this.isOpen = false;
    this.stop();
    this.stop = () => {};
  }

  #offer(rooms) {
    const names = rooms.map(({ room }) => room);
    if (!names.length) return this.#say(`no room takes ${this.type}: [rooms.NAME] types = ["${this.type}"] in broadcast.toml makes one`);
    if (!names.includes(this.room)) this.room = names[0];
    const choose = (name) => {
      this.room = name;
      this.#subscribe(rooms.find(({ room }) => room === name));
    };
    this.picker.replaceChildren(names.length > 1 ? select("Room", names.map((name) => [name, name]), this.room, choose) : el("code", { text: names[0] }));
    choose(this.room);
  }

  #subscribe({ room, where }) {
    this.stop();
    this.#say("");
    this.ears.begin(room);
    this.stop = this.feed.open(room, { ...this.wish, where }, {
      events: (events, meta) => this.ears.events(events, meta),
      refused: (error) => this.#say(`${room}: ${error.message}${error.hint ? ` (${error.hint})` : ""}`),
    });
  }

  #say(text) {
    this.notice.textContent = text;
    this.notice.hidden = !text;
  }
}
