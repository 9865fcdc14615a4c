// Makes and keeps elements. What comes from events is only ever text here: nothing is parsed as HTML.

/**
 * An element: `el("button", { class: "small", type: "button", onclick }, "End")`. `class` and `text` are what they say, a name
 * that begins with `on` is a listener, everything else is an attribute; null and false leave one out.
 */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets a text only if it is another one: an untouched text is not laid out anew. */
export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Sets or takes away an attribute, only if it is another one. */
export function setAttribute(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * Makes a container's children those of a list, in its order. A key's element is made once, and updated after that; what is
 * in its place already is not moved, so that focus and selection stay.
 */
export function reconcile(container, items, keyOf, make, update) {
  const known = (container.keyed ??= new Map());
  const wanted = new Set();
  let at = container.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (wanted.has(key)) continue;
    wanted.add(key);
    let node = known.get(key);
    if (!node) known.set(key, (node = make(item)));
    update(node, item);
    if (node === at) at = at.nextSibling;
    else container.insertBefore(node, at);
  }
  for (const [key, node] of known) {
    if (wanted.has(key)) continue;
    node.remove();
    known.delete(key);
  }
}

/** A labelled choice of a few values. `choose` is called with the value. */
export function select(label, values, value, choose) {
  const made = el("select", { "aria-label": label, onchange: () => choose(made.value) });
  for (const [name, text] of values) made.append(el("option", { value: name, text }));
  made.value = value;
  return made;
}

/** A panel's head: its title, and what stands beside it. */
export function head(title, ...beside) {
  return el("div", { class: "head" }, el("h1", { text: title }), ...beside);
}

/** What a panel shows while it has nothing. */
export function empty(text, hint) {
  return el("div", { class: "empty" }, el("p", { text }), hint ? el("p", { class: "quiet" }, el("code", { text: hint })) : null);
}
