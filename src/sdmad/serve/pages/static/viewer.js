// One image: what was found, why, and the reader's answer.

import { asSentence, download, get, me, post } from "./api.js";
import { at, fill, h, hidden, icon, notice, say, told, trouble } from "./dom.js";
import { categoryName, decision, likely, limit, number, state, sureness } from "./finding.js";
import { frame, modelName } from "./frame.js";
import { keys } from "./keys.js";
import { askReading } from "./note.js";
import { Stage } from "./stage.js";
import { go, inTurn, onSaved, save, toDiscard } from "./unsent.js";
import { verdicts, standing } from "./verdicts.js";

const id = Number(document.body.dataset.subject);
const list = new URLSearchParams(location.search);
const stage = new Stage(at("stage"));
let image = null;
let findings = []; // the most likely first
let chosen = 0;
let overlay = false;
let unmapped = null; // why the map that was asked for last cannot be shown
let similar = [];
let reader = null;
let model = null;
const known = me().then(({ reader: name }) => { reader = name; }, () => {});

const path = `/images/${id}`;
const query = () => (list.size ? `?${list}` : "");

const margin = (finding) => finding.score - (finding.threshold ?? 0);
const byLikelihood = (list) => [...list].sort((one, other) => margin(other) - margin(one));

async function load() {
  try {
    image = await get(path + query());
  } catch (error) {
    fill(at("panel"));
    return trouble(at("trouble"), error, load);
  }
  trouble(at("trouble"), null);
  document.title = `${image.name} · sdmad`;
  at("name").textContent = image.name;
  findings = byLikelihood(image.findings);
  link("previous", image.previous);
  link("next", image.next);
  show();
  if (image.error) return stage.close(asSentence(image.error));
  if (!findings.length) setTimeout(scored, 3000);
  stage.open(image).then(alike, () => {});
}

// Asks for the findings of an image that was opened before it was scored.
async function scored() {
  try {
    const now = await get(path + query());
    if (!now.findings.length) return setTimeout(scored, 3000);
    Object.assign(image, { findings: now.findings, unfamiliar: now.unfamiliar, model: now.model });
    findings = byLikelihood(image.findings);
    show();
    say("The image has been scored");
  } catch (error) { trouble(at("trouble"), error, scored); }
}

async function alike() {
  try {
    similar = await get(`${path}/similar`);
    if (similar.length) show();
  } catch { /* a help, not a finding: its absence needs no alarm */ }
}

function link(name, to) {
  const step = at(name);
  if (to) {
    step.href = `/image/${encodeURIComponent(to)}${query()}`;
    step.removeAttribute("aria-disabled");
  }
}

// --- readings -----------------------------------------------------------------------------------

// What was said elsewhere since: by others, or by the same reader in another tab.
async function renew() {
  image.readings = await get(`${path}/readings`);
  image.state = stateOf(standing(image.readings));
  show();
}
document.addEventListener("visibilitychange", () => {
  if (image && !document.hidden) inTurn(renew).catch(() => {}); // asked for again before a word is taken for said
});

function read(category, verdict, note = "") {
  const same = () => {
    const now = standing(image.readings);
    const last = now.find((one) => one.category === category);
    return !note && last?.verdict === verdict && last.reader === reader && (category !== null || now.length === 1);
  };
  const stands = async () => same() && renew().then(same, () => false);
  return save({ image: id, name: image.name, category, verdict, note }, stands);
}

function took(reading) {
  if (reading.image !== id) return;
  image.readings = [...image.readings.filter((one) => one.id !== reading.id), reading].sort((one, other) => one.id - other.id);
  image.state = stateOf(standing(image.readings));
  show();
}
onSaved(took);

// As the server counts it: unsure where the last word on anything is unsure.
const stateOf = (now) => (now.length === 0 ? "new" : now.some(({ verdict }) => verdict === "unsure") ? "unsure" : "read");

// Takes a reading back: undo(() => reading), found when its turn comes, behind what is being saved.
async function undo(found) {
  try {
    await inTurn(async () => {
      await known;
      const reading = found();
      if (!reading) return say("There is nothing of yours to undo");
      took(await post(`/readings/${reading.id}/undo`));
      say("Undone");
    });
    trouble(at("trouble"), null);
  } catch (error) {
    if (error.status === 409) await renew().catch(() => {}); // undone elsewhere
    trouble(at("trouble"), error, error.status === 409 ? null : () => undo(found));
  }
}

const lastOfMine = () => image.readings.filter((one) => !one.undone && one.reader === reader).at(-1);

// An older word is not taken back in the place of a later one that was not saved.
async function undoLast() {
  await inTurn(() => {});
  if (toDiscard(id)) return say("A reading of this image is not saved: discard it or send it again first");
  return undo(lastOfMine);
}

async function ask(category, verdict) {
  const now = new Map(standing(image.readings).map((one) => [one.category, one.verdict]));
  const answer = await askReading({ categories: findings.map((one) => one.category), category, verdict, now });
  if (answer) await read(answer.category, answer.verdict, answer.note);
}

// What the model did not find, and nobody has spoken of, comes first.
function add() {
  const spoken = new Set(standing(image.readings).map((one) => one.category));
  return ask(findings.find((one) => !one.decision && !spoken.has(one.category))?.category ?? "", "add");
}

// --- findings -----------------------------------------------------------------------------------

async function map(on) {
  const finding = findings[chosen];
  overlay = on && Boolean(finding);
  unmapped = null;
  show();
  const reason = await stage.showMap(overlay ? finding.category : null, overlay ? `Map: ${categoryName(finding)}` : "");
  unmapped = reason;
  if (reason) {
    overlay = false;
    show();
    fill(at("map-reason"), notice(reason)); // into what is there already, so that it is read out
  } else say(overlay ? `Map of ${categoryName(finding)} on` : "Map off");
}

function choose(place) {
  if (!findings[place]) return;
  chosen = place;
  unmapped = null;
  show();
  if (overlay) map(true);
  const pick = at("panel").querySelectorAll(".pick")[place];
  pick.focus({ preventScroll: true });
  pick.scrollIntoView({ block: "nearest" });
}

function verdictButtons(finding, now) {
  const mine = now.find((one) => one.category === finding.category)?.verdict;
  const yes = finding.decision ? "accept" : "add";
  const button = (verdict, sign, text, title) => h("button", {
    type: "button", "aria-pressed": String(mine === verdict), title, "data-verdict": verdict,
    onclick: () => read(finding.category, verdict) }, icon(sign), text, hidden(` ${categoryName(finding)}`));
  return [
    button(yes, yes === "accept" ? "check" : "plus", yes === "accept" ? "Accept" : "Add", `${categoryName(finding)} is there`),
    button("reject", "cross", "Reject", `${categoryName(finding)} is not there`),
    button("unsure", "question", "Unsure", "It cannot be told"),
  ];
}

const sentenceOf = (facts) => facts.join(" · ").replace(/^./, (letter) => letter.toUpperCase());

// What a probability rests on: the prevalence that was stated when the server was started.
function common(finding) {
  const of = model?.categories.find(({ name }) => name === finding.category)?.prevalence;
  return of === null || of === undefined ? null : `prevalence ${Number((100 * of).toPrecision(2))}%`;
}

function why(finding) {
  const facts = [finding.probability === null ? null : `score ${number(finding.score)}`, limit(finding), `rule ${finding.rule}`,
    finding.probability === null ? null : common(finding),
    finding.sign ? `sign ${finding.sign.contribution > 0 ? "+" : ""}${number(finding.sign.contribution)} over normal` : null];
  return [
    finding.sign ? h("p", { class: "sign" }, "Decided by ", h("q", {}, finding.sign.sentence)) : null,
    h("p", { class: "facts" }, sentenceOf(facts.filter(Boolean))),
  ];
}

function row(finding, place, now) {
  const on = place === chosen;
  const spoken = now.find((one) => one.category === finding.category);
  const open = on || finding.decision;
  return h("li", { class: on ? "finding on" : "finding", "data-category": finding.category },
    h("button", { type: "button", class: "pick", "aria-expanded": String(open), "aria-current": on ? "true" : null, onclick: () => choose(place) },
      h("span", { class: place < 9 ? "digit" : null, "aria-hidden": "true" }, place < 9 ? String(place + 1) : ""),
      h("span", {}, h("strong", {}, categoryName(finding)), h("span", { class: "likely" }, likely(finding))),
      h("span", {}, spoken ? said(spoken) : decision(finding)),
      sureness(finding, findings)),
    open ? h("div", { class: "more" }, why(finding),
      h("div", { class: "acts" }, verdictButtons(finding, now), mapButton(finding, place))) : null);
}

const said = ({ verdict }) => ({
  accept: h("span", { class: "chip found" }, icon("check"), "Accepted"), add: h("span", { class: "chip found" }, icon("plus"), "Added"),
  reject: h("span", { class: "chip clear" }, icon("cross"), "Rejected"), unsure: h("span", { class: "chip unsure" }, icon("question"), "Unsure"),
}[verdict] ?? h("span", { class: "chip" }, verdict));

function mapButton(finding, place) {
  const on = overlay && place === chosen;
  const press = () => { chosen = place; return map(!on); };
  return h("button", { type: "button", class: "map", "aria-pressed": String(on), onclick: press }, icon("layers"), "Map", hidden(` of ${categoryName(finding)}`));
}

function whole(now) {
  const mine = now.find((one) => one.category === null)?.verdict;
  const button = (verdict, sign, text) => h("button", { type: "button", "aria-pressed": String(mine === verdict), "data-whole": verdict, onclick: () => read(null, verdict) }, icon(sign), text);
  return h("div", { class: "whole", role: "group", "aria-label": "The whole image" },
    button("normal", "check", "Normal"), button("unsure", "question", "Unsure"),
    h("button", { type: "button", id: "add", onclick: add }, icon("plus"), "Add finding"),
    h("button", { type: "button", id: "note", onclick: () => ask(findings[chosen]?.category ?? null, null) }, icon("note"), "Note"));
}

// What the model says, for a PACS; of a DICOM file alone.
async function toDicom() {
  say("The DICOM results are being made");
  try {
    await download(`${path}/dicom`, `image-${id}-results.zip`);
    fill(at("dicom-reason"));
    say("The DICOM results are saved");
  } catch (error) { fill(at("dicom-reason"), notice(error.message)); }
}

function forPacs() {
  return [h("h2", {}, "For a PACS"),
    h("p", { class: "soft" }, "The findings as DICOM objects of the same study. They name the patient where the image does."),
    h("div", { class: "whole" }, h("button", { type: "button", id: "dicom", onclick: toDicom }, icon("download"), "DICOM results")),
    h("div", { id: "dicom-reason", role: "status" })];
}

function pictures() {
  if (!similar.length) return null;
  return [h("h2", {}, "Most alike in the support set"), h("ul", { class: "similar" }, similar.map((one) => h("li", {},
    h("img", { src: one.thumbnail, alt: `Support image: ${told(one.category)}` }),
    h("span", {}, told(one.category)), h("span", { class: "soft" }, `similarity ${number(one.similarity)}`))))];
}

// What tells a button of the panel from the others, also after it was drawn again.
const mark = (button) => [button.closest("li")?.dataset.category, button.matches(".pick") ? "pick" : button.textContent].join();

// A button that is drawn again between being pressed and let go is never clicked: what there is to draw
// waits until then.
let held = false;
let waiting = false;
function hold(event) {
  if (event.target.closest("button") && (event.type === "pointerdown" || event.key === " ")) held = true;
}
function release() {
  setTimeout(() => { // behind the click
    held = false;
    if (waiting) show();
  });
}
for (const kind of ["pointerdown", "keydown"]) at("panel").addEventListener(kind, hold);
for (const kind of ["pointerup", "pointercancel", "keyup"]) window.addEventListener(kind, release);

// What is drawn is told by what is known alone; the focus stays where it was.
function show() {
  waiting = held;
  if (held) return;
  const now = standing(image.readings);
  const found = findings.filter((one) => one.decision).length;
  const panel = at("panel");
  const focused = panel.contains(document.activeElement) ? mark(document.activeElement) : null;
  const top = panel.scrollTop;
  fill(at("state"), state(image.state));
  fill(at("unlike"), image.unfamiliar ? notice([h("strong", {}, "Unlike the support images. "), "The model was fitted on images of another kind; what it finds here may mean little."]) : null);
  fill(panel,
    h("div", { id: "map-reason", role: "status" }, unmapped ? notice(unmapped) : null),
    h("h2", {}, "Your reading"), whole(now),
    h("h2", {}, "Findings", h("span", { class: "soft" }, findings.length ? `${found} found of ${findings.length}` : "")),
    findings.length ? h("ol", { class: "findings" }, findings.map((one, i) => row(one, i, now)))
      : h("p", { class: "soft" }, image.error ? "Without the image there are no findings." : "This image has not been scored yet. Its findings come by themselves."),
    pictures(),
    h("h2", {}, "Readings", h("span", { class: "soft" }, model ? modelName(model) : "")),
    verdicts(image.readings, reader, (reading) => undo(() => reading)),
    findings.length && image.dicom ? forPacs() : null);
  if (focused !== null) {
    const same = [...panel.querySelectorAll("button")].find((button) => mark(button) === focused);
    (same ?? panel.querySelectorAll(".pick")[chosen])?.focus({ preventScroll: true });
  }
  panel.scrollTop = top;
}

const press = (name) => at(name).hasAttribute("href") && go(at(name).href);
const current = (verdict) => { if (findings[chosen]) read(findings[chosen].category, verdict); };
const loaded = (act) => (event) => { if (image) act(event); };
keys("Reading", [
  [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "choose a finding", loaded((event) => choose(Number(event.key) - 1)), ["1 … 9"]],
  ["j", "next finding", loaded(() => choose(chosen + 1))],
  ["k", "finding before", loaded(() => choose(chosen - 1))],
  ["a", "accept the finding; add it where the model did not find it", loaded(() => current(findings[chosen]?.decision ? "accept" : "add"))],
  ["r", "reject the finding", loaded(() => current("reject"))],
  ["u", "mark the finding unsure", loaded(() => current("unsure"))],
  ["m", "the image is normal", loaded(() => read(null, "normal"))],
  ["f", "add a finding", loaded(add)],
  ["e", "write a note", loaded(() => ask(findings[chosen]?.category ?? null, null))],
  ["z", "undo your last reading", loaded(undoLast)],
  ["o", "map of the finding on or off", loaded(() => map(!overlay))],
  ["n", "next image", () => press("next")],
  ["p", "image before", () => press("previous")],
  ["b", "back to the worklist", () => go(at("back").href)],
]);
stage.shortcuts();

at("back").href = `/${query()}`;
await load();
model = await frame();
if (image) show();
