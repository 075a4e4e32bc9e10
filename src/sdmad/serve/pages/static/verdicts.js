// Who said what of an image, and which word stands.

import { fill, h, hidden, icon, when } from "./dom.js";
import { sentence } from "./unsent.js";

// The last reading of each category that nobody undid. What is said of the whole image takes the
// place of all that was said before.
export function standing(readings) {
  const last = new Map();
  for (const reading of readings) {
    if (reading.undone) continue;
    if (reading.category === null) last.clear();
    last.set(reading.category, reading);
  }
  return [...last.values()];
}

export function verdicts(readings, reader, undo) {
  if (!readings.length) return h("p", { class: "soft" }, "Nobody has read this image yet.");
  return fill(h("ol", { class: "verdicts" }), [...readings].reverse().map((reading) => h("li", {},
    h("span", { class: "what" },
      h("span", { class: reading.undone ? "undone" : null }, sentence(reading)), reading.undone ? h("span", { class: "soft" }, " undone") : null,
      reading.note ? h("span", { class: "note" }, reading.note) : null,
      h("span", { class: "soft small note" }, `${reading.reader}, ${when(reading.at)}`)),
    !reading.undone && reading.reader === reader
      ? h("button", { type: "button", class: "quiet", onclick: () => undo(reading) }, icon("undo"), "Undo", hidden(` ${sentence(reading)}`)) : null)));
}
