// Readings that the server did not confirm. They are kept in this tab until they are sent or thrown
// away, on every page, and the tab does not close without asking.

import { post } from "./api.js";
import { at, fill, h, notice, say, told } from "./dom.js";

const KEY = "unsent";
let leaving = false;
let turn = Promise.resolve();
let under = 0; // changes under way
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

// A word that came later takes the place of one on the same that was never saved.
const replaces = (later, earlier) => later.said > earlier.said && later.image === earlier.image && (later.category === null || later.category === earlier.category);

async function saveNow(reading) {
  try {
    const saved = await send(reading);
    const rest = list().filter((one) => one.key !== reading.key && !replaces(reading, one));
    if (rest.length < list().length) keep(rest);
    say(`Saved: ${sentence(reading)}`);
    return saved;
  } catch (error) {
    const key = reading.key ?? `${reading.said} ${Math.random()}`;
    keep([...list().filter((one) => one.key !== key), { ...reading, key, why: error.message }]);
    return null;
  }
}

// One change after the other, so that the server gets them in the order in which they were made.
export function inTurn(change) {
  under += 1;
  const done = turn.then(change).finally(() => { under -= 1; });
  turn = done.catch(() => {});
  return done;
}

// Saves one reading, or keeps it as not saved; gives the server's reading or null.
export function save(reading) {
  const dated = { said: Date.now(), ...reading };
  return inTurn(() => saveNow(dated));
}

// It stays kept until the server has it; pressed twice, it is sent once.
async function again(reading) {
  const kept = () => list().some(({ key }) => key === reading.key);
  const saved = await inTurn(() => (kept() ? saveNow(reading) : null));
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

// Goes to another of these pages, where what was not saved is shown again; first lets the changes under
// way end.
export async function go(address) {
  if (under) say("Saving first");
  await turn;
  leaving = true;
  location.assign(address);
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || link.origin !== location.origin || link.hasAttribute("download") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (under) {
    event.preventDefault();
    go(link.href);
  } else leaving = true;
});
window.addEventListener("leaving", () => { leaving = true; });
window.addEventListener("pageshow", () => { leaving = false; });
window.addEventListener("beforeunload", (event) => {
  if (under || (!leaving && list().length)) event.preventDefault();
});
