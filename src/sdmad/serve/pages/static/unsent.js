// Readings that the server did not confirm. They are kept in this tab until they are sent or thrown
// away, on every page, and the tab does not close without asking.

import { post } from "./api.js";
import { at, fill, h, notice, say, told } from "./dom.js";

const KEY = "unsent";
let leaving = false;
const sent = new Set();

const list = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
function keep(readings) {
  sessionStorage.setItem(KEY, JSON.stringify(readings));
  showUnsent();
}

// Called with each reading that was saved at a later try.
export const onSent = (listener) => sent.add(listener);

export const VERDICTS = {
  accept: "accepted", reject: "rejected", add: "added", unsure: "marked unsure", normal: "read as normal",
};
export const sentence = ({ category, verdict }) =>
  (category ? `${told(category)} ${VERDICTS[verdict] ?? verdict}` : `Image ${VERDICTS[verdict] ?? verdict}`);

const send = ({ image, category, verdict, note }) =>
  post(`/images/${encodeURIComponent(image)}/readings`, { category, verdict, note });

// Saves one reading, or keeps it as not saved; gives the server's reading or null.
export async function save(reading) {
  try {
    const saved = await send(reading);
    say(`Saved: ${sentence(reading)}`);
    return saved;
  } catch (error) {
    keep([...list(), { ...reading, key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, why: error.message }]);
    return null;
  }
}

async function again(reading) {
  keep(list().filter(({ key }) => key !== reading.key));
  const saved = await save(reading);
  if (saved) for (const listener of sent) listener(saved);
}

async function allAgain() {
  for (const reading of list()) await again(reading);
}

export function showUnsent() {
  const readings = list();
  fill(at("unsent"), readings.map((reading) => h("div", { role: "alert" }, notice(
    [h("strong", {}, "Not saved: "), `${sentence(reading)} (${reading.name}). ${reading.why}`],
    { bad: true, actions: [
      h("button", { type: "button", onclick: () => again(reading) }, "Send again"),
      h("button", { type: "button", class: "quiet", onclick: () => keep(list().filter(({ key }) => key !== reading.key)) }, "Discard"),
    ] }))),
  readings.length > 1 ? h("button", { type: "button", onclick: allAgain }, `Send all ${readings.length} again`) : null);
}

// Within these pages nothing is lost; closing the tab would lose it.
export function go(address) {
  leaving = true;
  location.assign(address);
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (link && link.origin === location.origin && !link.hasAttribute("download")) leaving = true;
});
window.addEventListener("leaving", () => { leaving = true; });
window.addEventListener("pageshow", () => { leaving = false; });
window.addEventListener("beforeunload", (event) => {
  if (!leaving && list().length) event.preventDefault();
});
