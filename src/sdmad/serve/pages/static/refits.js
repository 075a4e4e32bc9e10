// New models from the readers' labels, each judged beside the one in use.

import { asSentence, get, me, post } from "./api.js";
import { at, dialog, fill, h, hidden, icon, notice, percent, plural, say, told, trouble } from "./dom.js";
import { frame, pause, showModel } from "./frame.js";
import { keys } from "./keys.js";

const STATES = {
  waiting: ["chip", "dot", "Waiting"], running: ["chip unsure", "reset", "Running"],
  done: ["chip clear", "check", "Done"], failed: ["chip found", "cross", "Failed"],
};
const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(3)}`;
const FIGURES = {
  mean_auroc: "Mean AUROC of the findings", image_auroc: "AUROC, normal or not", hamming_score: "Hamming score",
  subset_accuracy: "Subset accuracy", macro_f1: "Macro F1", sensitivity: "Sensitivity", specificity: "Specificity",
};
let before = new Map();
let active = null; // the model in use
let role = null;

function chip(state) {
  const [kind, sign, text] = STATES[state] ?? ["chip", "dot", state];
  return h("span", { class: kind }, icon(sign), text);
}

// What an interval says in words: an interval about 0 tells nothing.
const verdict = ({ low, high }) => (low > 0 ? "better" : high < 0 ? "worse" : "same");
const WORDS = { better: "New is better", worse: "New is worse", same: "Cannot be told apart" };
const known = (row) => [row.difference, row.low, row.high].every((value) => Number.isFinite(value));

function interval(row, reach) {
  const line = h("i");
  const dot = h("b");
  const place = (value) => 50 + 50 * Math.max(-1, Math.min(1, value / reach));
  line.style.left = `${place(row.low)}%`;
  line.style.width = `${place(row.high) - place(row.low)}%`;
  dot.style.left = `${place(row.difference)}%`;
  return h("div", { class: `interval ${verdict(row)}`, "aria-hidden": "true" }, line, dot);
}

function comparison({ held_out: images, rows }) {
  const reach = Math.max(...rows.filter(known).flatMap((row) => [Math.abs(row.low), Math.abs(row.high)]), 0.01) * 1.05;
  const head = (text) => h("th", { scope: "col" }, text);
  const value = (number) => (Number.isFinite(number) ? number.toFixed(3) : "–");
  return h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Comparison of the models" },
    h("table", { class: "figures" },
      h("caption", {}, h("span", {}, `Both models on the same ${plural(images, "held-out image")}; differences are paired, with 95% intervals.`)),
      h("thead", {}, h("tr", {}, head("Figure"), head("In use"), head("New"), head("Difference"), head("95% interval"), h("th", { scope: "col", class: "plot" }, hidden("Drawn: "), h("span", { "aria-hidden": "true" }, "worse | better")), head("In words"))),
      h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, FIGURES[row.metric] ?? told(row.metric)), h("td", {}, value(row.old)), h("td", {}, value(row.new)),
        known(row) ? [h("td", {}, signed(row.difference)), h("td", {}, `${signed(row.low)} to ${signed(row.high)}`), h("td", { class: "plot" }, interval(row, reach)), h("td", {}, WORDS[verdict(row)])]
          : [h("td", {}, Number.isFinite(row.difference) ? signed(row.difference) : "–"), h("td", {}, "–"), h("td", {}), h("td", {}, Number.isFinite(row.difference) ? WORDS.same : "Too few images")])))));
}

function advice(rows) {
  const count = (kind) => rows.filter((row) => known(row) && verdict(row) === kind).length;
  const [better, worse] = [count("better"), count("worse")];
  if (worse && better) return `The new model is better by ${plural(better, "figure")} and worse by ${worse}.`;
  if (worse) return `The new model is worse by ${plural(worse, "figure")}: there is no reason to switch.`;
  if (better) return `The new model is better by ${plural(better, "figure")} and worse by none.`;
  return "The models cannot be told apart on these images: more labels would tell.";
}

function ask(refit) {
  const box = dialog("Switch to the new model?",
    h("p", {}, refit.comparison ? advice(refit.comparison.rows) : "The models were not compared."),
    h("p", {}, "All images are scored again with it. The old model is kept, and readings are not touched."),
    h("div", { class: "actions" }, h("button", { type: "button", onclick: () => box.close() }, "Keep the model in use"),
      h("button", { type: "button", class: "primary", id: "confirm", onclick: () => { box.close(); change(refit); } }, "Switch")));
}

async function change(refit) {
  try {
    await post(`/refits/${encodeURIComponent(refit.id)}/switch`);
    trouble(at("refit-trouble"), null);
    say("The new model is in use");
    active = await showModel();
    await load();
  } catch (error) { trouble(at("refit-trouble"), error, () => change(refit)); }
}

function choice(refit) {
  if (refit.state !== "done") return null;
  if (active && refit.model === active.id) return h("span", { class: "chip clear" }, icon("check"), "In use");
  if (role !== "admin") return h("span", { class: "soft" }, "An admin may switch to it.");
  return h("span", { class: "actions" }, h("button", { type: "button", "data-switch": refit.id, onclick: () => ask(refit) }, "Switch to this model …"));
}

function progress(refit) {
  return h("p", { class: "progress-line" }, h("progress", { max: 1, value: refit.progress, "aria-label": `Progress of refit ${refit.id}` }),
    h("span", {}, percent(refit.progress)),
    h("span", {}, refit.state === "waiting" ? "waiting for the one before" : `step ${refit.step + 1} of ${refit.steps.length}: ${refit.steps[refit.step]}`));
}

// What it learnt from, and a remark a line on the draw, for who wants to know.
function remarks(message) {
  const [first, ...rest] = message.split("\n");
  return [h("p", {}, asSentence(first)),
    rest.length ? h("details", {}, h("summary", {}, plural(rest.length, "remark")), h("ul", {}, rest.map((one) => h("li", {}, one)))) : null];
}

function card(refit) {
  const under = refit.state === "running" || refit.state === "waiting";
  return h("article", { class: "card", "data-refit": refit.id, "data-state": refit.state, "aria-label": `Refit ${refit.id}` },
    h("div", { class: "item-head" }, h("h2", {}, `Refit ${refit.id}`), chip(refit.state), choice(refit)),
    under ? progress(refit) : null,
    refit.state === "failed" ? notice(asSentence(refit.message || "the fit failed"), { bad: true }) : null,
    refit.state === "done" && refit.message ? remarks(refit.message) : null,
    refit.comparison ? [comparison(refit.comparison), h("p", {}, h("strong", {}, advice(refit.comparison.rows)))] : null);
}

async function load() {
  const refits = await get("/refits");
  for (const { id, state, message } of refits) {
    if (before.has(id) && before.get(id) !== state) say(`Refit ${id}: ${STATES[state]?.[2] ?? state}. ${message.split("\n", 1)[0]}`);
  }
  before = new Map(refits.map(({ id, state }) => [id, state]));
  const list = at("list");
  const content = JSON.stringify([refits, active?.id, role]);
  if (list.dataset.content !== content) {
    fill(list, refits.length ? refits.map(card) : h("div", { class: "card empty" }, h("strong", {}, "Nothing has been fitted again yet"), "Read some images, then refit with their labels."));
    list.dataset.content = content;
  }
  list.setAttribute("aria-busy", "false");
  return refits.some(({ state }) => state === "running" || state === "waiting");
}

async function start() {
  at("refit").disabled = true;
  try {
    await post("/refits");
    trouble(at("refit-trouble"), null);
    say("The refit has started");
    await load();
  } catch (error) { trouble(at("refit-trouble"), error); }
  at("refit").disabled = false;
}

async function watch() {
  for (;;) {
    let running = false;
    try {
      running = await load();
      trouble(at("trouble"), null);
    } catch (error) { trouble(at("trouble"), error, () => load().catch(() => {})); }
    await pause(running ? 1500 : 8000);
  }
}

at("refit").addEventListener("click", start);
keys("Refit", [["r", "refit with the new labels", () => at("refit").focus()]]);
active = await frame();
role = await me().then((one) => one.role, () => null);
watch();
