// Single keys: one list, which the help dialog shows and the page obeys.

import { dialog, h, say } from "./dom.js";

const groups = new Map();
const actions = new Map();

// Keys of one group: [["a", "accept the finding", act], ...]. "ArrowUp" or "Shift+ArrowUp" name keys
// as the browser does; a fourth entry says how they are shown. What an act answers with false was
// nothing to it, and stays the browser's.
export function keys(group, list) {
  groups.set(group, [...(groups.get(group) ?? []), ...list]);
  for (const [key, , act] of list) for (const one of [key].flat()) actions.set(one, act);
}

// A page that is being left obeys no more: a key pressed now is meant for the one that comes.
let listening = true;
export function listen(on) { listening = on; }

const enabled = () => localStorage.getItem("keys") !== "off";
const ARROWS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", " ": "Space" };
const shown = (key) => key.split("+").map((part) => ARROWS[part] ?? (part.length === 1 ? part.toUpperCase() : part));

function typing(target) {
  return target.matches?.("textarea, select, input:not([type=checkbox], [type=radio], [type=range], [type=button])")
    || target.isContentEditable;
}

// Arrows and the like belong to a slider or a scrolled box that has the focus.
const taken = (event) => /^(Arrow|Page|Home|End)/.test(event.key) && event.target.matches("input, [role=region], summary");

document.addEventListener("keydown", (event) => {
  if (!listening || event.altKey || event.metaKey || document.querySelector("dialog[open]") || typing(event.target)) return;
  if (event.key === "?") { event.preventDefault(); return help(); }
  const name = `${event.ctrlKey ? "Ctrl+" : ""}${event.shiftKey && event.key.length > 1 ? "Shift+" : ""}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`;
  const act = actions.get(name);
  if (!act || !enabled() || taken(event)) return;
  if (act(event) !== false) event.preventDefault();
});

export function help() {
  const set = (event) => {
    localStorage.setItem("keys", event.target.checked ? "on" : "off");
    say(event.target.checked ? "Shortcuts are on" : "Shortcuts are off");
  };
  const combination = (parts) => parts.map((part) => h("kbd", {}, part));
  const rows = (list) => list.map(([key, does, , as]) => {
    const ways = as ? [as] : [key].flat().slice(0, 2).map(shown);
    return [h("dt", {}, ways.map((parts, i) => [i ? " or " : null, combination(parts)])), h("dd", {}, does)];
  });
  const box = dialog("Keyboard and mouse",
    h("div", { class: "key-groups" }, [...groups].map(([group, list]) => h("section", {}, h("h3", {}, group), h("dl", { class: "keys" }, rows(list))))),
    h("label", { class: "check" }, h("input", { type: "checkbox", checked: enabled(), onchange: set }), "Single keys act (? always opens this help)"));
  box.classList.add("help");
}
