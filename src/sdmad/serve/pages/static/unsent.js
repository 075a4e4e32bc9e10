// Readings that the server did not confirm. They are kept in this tab until they are saved or thrown
// away, on every page, and the tab does not close without asking.

import { post } from "./api.js";
import { at, fill, h, notice, say, told } from "./dom.js";
import { listen } from "./keys.js";

const KEY = "unsent";
const LEFT = "The page was left before the server answered.";
let leaving = false;
let turn = Promise.resolve();
let under = 0; // changes under way
const awaited = new Set(); // keys of this page's readings that are sent for the first time
const hearers = new Set();

const list = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
function keep(readings) {
  sessionStorage.setItem(KEY, JSON.stringify(readings));
  showUnsent();
}
const discard = (reading) => keep(list().filter(({ key }) => key !== reading.key));

// Called with each reading that was saved, before the next change has its turn.
export const onSaved = (hear) => hearers.add(hear);

export const VERDICTS = {
  accept: "accepted", reject: "rejected", add: "added", unsure: "marked unsure", normal: "read as normal",
};
export const sentence = ({ category, verdict }) =>
  (category ? `${told(category)} ${VERDICTS[verdict] ?? verdict}` : `Image ${VERDICTS[verdict] ?? verdict}`);

const send = ({ image, category, verdict, note }) =>
  post(`/images/${encodeURIComponent(image)}/readings`, { category, verdict, note });

// A word that came later takes the place of one on the same that was never saved.
const replaces = (later, earlier) => later.said > earlier.said && later.image === earlier.image && (later.category === null || later.category === earlier.category);

// The server has it, so neither it nor what it replaces waits any more.
function settle(reading) {
  awaited.delete(reading.key);
  keep(list().filter((one) => one.key !== reading.key && !replaces(reading, one)));
}

async function saveNow(reading) {
  let saved = null;
  try {
    saved = await send(reading);
  } catch (error) {
    awaited.delete(reading.key);
    return keep(list().map((one) => (one.key === reading.key ? { ...one, why: error.message } : one)));
  }
  settle(reading);
  say(`Saved: ${sentence(reading)}`);
  for (const hear of hearers) hear(saved);
}

// One change after the other, so that the server gets them in the order in which they were made.
export function inTurn(change) {
  under += 1;
  const done = turn.then(change).finally(() => { under -= 1; });
  turn = done.catch(() => {});
  return done;
}

// Saves one reading. It is kept from now on, so a page that is left at once does not take it away.
// What `stands` already when its turn comes is not sent.
export function save(reading, stands) {
  const said = Date.now();
  const kept = { ...reading, said, key: `${said} ${Math.random()}`, why: LEFT };
  awaited.add(kept.key);
  keep([...list(), kept]);
  return inTurn(async () => {
    if (!await stands()) return saveNow(kept);
    settle(kept);
    return say(`Already ${VERDICTS[kept.verdict]}`);
  });
}

// It stays kept until the server has it; pressed twice, it is sent once.
const again = (reading) => inTurn(() => (list().some(({ key }) => key === reading.key) ? saveNow(reading) : null));

async function allAgain() {
  for (const reading of list()) await again(reading);
}

export function showUnsent() {
  const readings = list().filter(({ key }) => !awaited.has(key));
  const place = at("unsent");
  const content = JSON.stringify(readings);
  if (place.dataset.content === content) return; // drawn again, it would be told again
  place.dataset.content = content;
  fill(place, readings.length > 1 ? h("button", { type: "button", onclick: allAgain }, `Send all ${readings.length} again`) : null,
  readings.map((reading) => h("div", { role: "alert" }, notice(
    [h("strong", {}, "Not saved: "), `${sentence(reading)} (${reading.name}). ${reading.why}`],
    { bad: true, actions: [
      h("button", { type: "button", onclick: () => again(reading) }, "Send again"),
      h("button", { type: "button", class: "quiet", "data-discard": reading.image, onclick: () => discard(reading) }, "Discard"),
    ] }))));
  place.scrollTop = place.scrollHeight; // to the last
}

// Puts the focus where the last unsaved reading of an image is discarded; false where there is none.
export function toDiscard(image) {
  const last = [...at("unsent").querySelectorAll(`[data-discard="${image}"]`)].at(-1);
  last?.focus();
  return Boolean(last);
}

function leave(now) {
  leaving = now;
  listen(!now);
}

// Goes to another of these pages, where what was not saved is shown again; first lets the changes under
// way end.
export async function go(address) {
  listen(false);
  if (under) say("Saving first");
  while (under) await turn; // what a button says meanwhile, too
  leave(true);
  location.assign(address);
}
const withinPage = (link) => link.hash && link.pathname === location.pathname && link.search === location.search;
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || withinPage(link) || link.origin !== location.origin || link.hasAttribute("download") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (under) {
    event.preventDefault();
    go(link.href);
  } else leave(true);
});
window.addEventListener("leaving", () => leave(true));
window.addEventListener("pageshow", () => leave(false));
window.addEventListener("beforeunload", (event) => {
  if (under || (!leaving && list().length)) event.preventDefault();
});
