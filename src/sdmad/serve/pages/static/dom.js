// Elements from data. Text is only ever set as text, so no data can become markup.

const SVG = "http://www.w3.org/2000/svg";

// h("button", { class: "primary", onclick: send }, "Send"): attributes that are null or false are
// left out, on... are listeners; children are elements, texts, lists of them, or nothing.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const at = (id) => document.getElementById(id);

export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `${document.body.dataset.static}/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

export const hidden = (text) => h("span", { class: "hidden" }, text);

// Told to a screen reader, without moving the focus.
export function say(text) {
  const live = at("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 30);
}

export function notice(text, { bad = false, actions = [] } = {}) {
  return h("div", { class: bad ? "notice bad" : "notice" }, icon("warning"), h("p", {}, text),
    actions.length ? h("span", { class: "actions" }, actions) : null);
}

// Shows what an action's error says where the action was, or takes the last one away.
export function trouble(place, error, again = null) {
  if (!error) return fill(place);
  const actions = again ? [h("button", { type: "button", onclick: again }, "Try again")] : [];
  return fill(place, notice(error.message, { bad: true, actions }));
}

// A bar with the threshold marked; `share` and `mark` lie between 0 and 1.
export function gauge(share, mark = null, over = false) {
  const bar = h("i");
  bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  const line = mark === null ? null : h("b");
  if (line) line.style.left = `calc(${100 * Math.min(1, Math.max(0, mark))}% - 1px)`;
  return h("span", { class: over ? "gauge over" : "gauge", "aria-hidden": "true" }, bar, line);
}

// A dialog that closes with Escape, by its cross, or by one of its actions.
export function dialog(title, ...content) {
  const close = () => { box.close(); };
  const box = h("dialog", { "aria-labelledby": "dialog-title" },
    h("button", { type: "button", class: "quiet close", onclick: close }, icon("cross"), hidden("Close")),
    h("h2", { id: "dialog-title" }, title), content);
  const before = document.activeElement;
  box.addEventListener("close", () => { box.remove(); before?.focus?.({ preventScroll: true }); });
  document.body.append(box);
  box.showModal();
  return box;
}

export const percent = (share) => `${Math.round(100 * share)}%`;

export function when(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  const today = date.toDateString() === new Date().toDateString();
  return today
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

// Categories are written with underscores in some banks.
export const told = (category) => category.replaceAll("_", " ");
