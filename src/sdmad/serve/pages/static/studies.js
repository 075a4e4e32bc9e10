// Blinded studies: start one, read in it, look at what came out.

import { asSentence, get, me, post } from "./api.js";
import { at, fill, h, icon, notice, plural, say, told, trouble } from "./dom.js";
import { frame } from "./frame.js";

const form = at("start");
let role = null; // an admin starts studies and sees results, and others read
const known = (estimate) => estimate && Number.isFinite(estimate.value);
const with95 = (estimate, digits = 2) => {
  if (!known(estimate)) return "–";
  const written = (value) => value.toFixed(digits).replace("-", "\u2212");
  const value = written(estimate.value);
  return Number.isFinite(estimate.low) ? `${value} [${written(estimate.low)}, ${written(estimate.high)}]` : value;
};
const reader = (name) => name ?? "All readers";
const category = (name) => (name ? told(name) : "All findings");

function table(caption, heads, rows) {
  return h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": caption },
    h("table", { class: "figures" }, h("caption", {}, h("span", {}, caption)),
      h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, cell)))))));
}

function kappas(rows) {
  const names = [...new Set(rows.map((row) => row.category))];
  const of = (name, helped) => rows.find((row) => row.category === name && row.with_findings === helped)?.kappa;
  return names.map((name) => [category(name), with95(of(name, false)), with95(of(name, true))]);
}

const TOO_FEW = "How well readers tell cannot be said: it takes images with and without a finding, each seen both ways.";

function results({ accuracy: all, kappa, time, notes }) {
  const accuracy = all.filter((row) => known(row.without) || known(row.with_findings));
  return [
    notes.map((note) => notice(asSentence(note))),
    all.length && !accuracy.length ? notice(TOO_FEW) : null,
    accuracy.length ? table("How well readers tell: AUROC with 95% intervals, paired", ["Finding", "Reader", "Without", "With the model", "Difference"],
      accuracy.map((row) => [category(row.category), reader(row.reader), with95(row.without), with95(row.with_findings), with95(row.difference)])) : null,
    kappa.length ? table("How far readers agree: kappa with 95% intervals", ["Finding", "Without", "With the model"], kappas(kappa)) : null,
    time.length ? table("Seconds an image", ["Reader", "Without", "With the model", "Difference"],
      time.map((row) => [reader(row.reader), row.without.toFixed(1), row.with_findings.toFixed(1), with95(row.difference, 1)])) : null,
  ];
}

async function show(study, place, button) {
  button.disabled = true;
  try {
    fill(place, results(await get(`/studies/${encodeURIComponent(study.id)}/results`)));
    button.remove();
    say(`Results of ${study.name}`);
  } catch (error) {
    trouble(place, error);
    button.disabled = false;
  }
}

function card(study) {
  const place = h("div", { role: "status" });
  const path = `/studies/${encodeURIComponent(study.id)}`;
  const over = study.total > 0 && study.done >= study.total;
  const button = h("button", { type: "button", "data-results": study.id, onclick: () => show(study, place, button) }, "Results", h("span", { class: "hidden" }, ` of ${study.name}`));
  return h("article", { class: "card", id: String(study.id), "aria-label": study.name },
    h("div", { class: "item-head" }, h("h2", {}, study.name), over ? h("span", { class: "chip clear" }, icon("check"), "Read by you") : null,
      h("span", { class: "actions" },
        over ? null : h("a", { class: "button", href: `/study/${encodeURIComponent(study.id)}` }, study.done ? "Go on reading" : "Read", h("span", { class: "hidden" }, ` ${study.name}`)),
        role === "admin" ? [button, h("a", { class: "button quiet", href: `/api/v1${path}/results.csv`, download: `study-${study.id}.csv` }, icon("download"), "CSV", h("span", { class: "hidden" }, ` of ${study.name}`))] : null)),
    h("p", { class: "soft progress-line" }, h("span", {}, `${plural(study.images, "image")}, seed ${study.seed}`),
      h("progress", { max: study.total, value: study.done, "aria-label": `Your answers in ${study.name}` }), h("span", {}, `${study.done} of your ${study.total} answers`)),
    place);
}

async function load() {
  try {
    const studies = await get("/studies");
    trouble(at("trouble"), null);
    fill(at("list"), studies.length ? studies.map(card) : h("div", { class: "card empty" }, h("strong", {}, "There is no study yet"), role === "admin" ? "Start one above." : "An admin starts one."));
    if (!studies.length) at("new").open = true;
    if (location.hash) at("list").querySelector(`[data-results="${CSS.escape(location.hash.slice(1))}"]`)?.click();
  } catch (error) { trouble(at("trouble"), error, load); }
  at("list").setAttribute("aria-busy", "false");
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, images, seed } = form.elements;
  try {
    await post("/studies", { name: name.value.trim(), images: Number(images.value), seed: Number(seed.value) });
    trouble(at("start-trouble"), null);
    at("new").open = false;
    form.reset();
    say("The study has started");
    await load();
  } catch (error) { trouble(at("start-trouble"), error); }
});

role = await me().then((one) => one.role, () => null);
at("new").hidden = role !== "admin";
frame();
load();
