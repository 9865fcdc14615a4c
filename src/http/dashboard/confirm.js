// Asks before something is done that cannot be taken back.

import { el } from "./dom.js";

/** Resolves to whether it is to be done. Escape and a click beside the dialog mean no. */
export function confirm({ title, text, action }) {
  return new Promise((resolve) => {
    const yes = el("button", { type: "submit", value: "yes", class: "danger", text: action });
    const no = el("button", { type: "submit", value: "no", text: "Cancel", autofocus: true });
    const dialog = el("dialog", { class: "dialog", "aria-labelledby": "confirm-title" },
      el("form", { method: "dialog" }, el("h2", { id: "confirm-title", text: title }), el("p", { text }), el("div", { class: "actions" }, no, yes)));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close("no"));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
