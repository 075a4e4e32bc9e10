// One blinded reading after another: the image, with or without what the model found, and how likely
// the reader holds each finding. Time counts from when the image is seen, while the page is looked at.

import { get, post, Refusal } from "./api.js";
import { at, fill, h, icon, say, told, trouble } from "./dom.js";
import { sureness, likely, decision } from "./finding.js";
import { frame } from "./frame.js";
import { keys } from "./keys.js";
import { Stage } from "./stage.js";

const id = document.body.dataset.subject;
const path = `/studies/${encodeURIComponent(id)}`;
const stage = new Stage(at("stage"));
let categories = [];
let task = null;
let clock = null;

// Seconds that the page was in sight.
function stopwatch() {
  let [spent, since] = [0, document.hidden ? null : performance.now()];
  const turn = () => {
    if (document.hidden && since !== null) [spent, since] = [spent + performance.now() - since, null];
    else if (!document.hidden && since === null) since = performance.now();
  };
  document.addEventListener("visibilitychange", turn);
  return {
    seconds: () => (spent + (since === null ? 0 : performance.now() - since)) / 1000,
    end: () => document.removeEventListener("visibilitychange", turn),
  };
}

async function next() {
  fill(at("panel"), h("p", { class: "soft waiting" }, "Loading the next image …"));
  try {
    task = await get(`${path}/next`);
    if (task.done) return finished();
    const image = await get(`/images/${encodeURIComponent(task.image)}`);
    await stage.open({ id: task.image, name: `${task.position} of ${task.total}`, slices: image.slices, slice: image.slice });
    clock?.end();
    clock = stopwatch();
    trouble(at("trouble"), null);
    ask(task.with_findings ? image.findings : null);
  } catch (error) { trouble(at("trouble"), error, next); }
}

function finished() {
  at("position").textContent = "";
  stage.close("All images of this study are read.");
  fill(at("panel"), h("div", { class: "card" }, h("h2", {}, "Done, thank you"),
    h("p", {}, "Your answers are saved. Results count all readers of the study."),
    h("p", {}, h("a", { class: "button", href: `/studies#${encodeURIComponent(id)}` }, "Back to the studies"))));
  say("Done: all images of this study are read");
}

function rating(category, number, finding, all) {
  const name = `rating-${number}`;
  const output = h("output", { for: name }, "0%");
  const slider = h("input", { id: name, type: "range", min: 0, max: 100, step: 5, value: 0, "data-category": category,
    oninput: () => { output.textContent = `${slider.value}%`; slider.setAttribute("aria-valuetext", `${slider.value} percent`); } });
  return h("div", { class: "rating" }, h("label", { for: name }, told(category)), slider, output,
    finding ? h("div", { class: "said" }, h("span", {}, "Model: ", likely(finding), " ", decision(finding), " "), sureness(finding, all), finding.sign ? h("div", {}, finding.sign.sentence) : null,
      h("button", { type: "button", class: "quiet", "aria-pressed": "false", "data-map": category, onclick: (event) => showMap(event.currentTarget, category) }, icon("layers"), "Map")) : null);
}

async function showMap(button, category) {
  const on = button.getAttribute("aria-pressed") !== "true";
  for (const other of at("panel").querySelectorAll("[data-map]")) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(on));
  const reason = await stage.showMap(on ? category : null, on ? `Map: ${told(category)}` : "");
  if (reason) {
    button.setAttribute("aria-pressed", "false");
    say(reason);
    trouble(at("answer-trouble"), new Error(reason));
  }
}

function ask(findings) {
  at("position").textContent = `${task.position} of ${task.total}`;
  const of = (category) => findings?.find((one) => one.category === category);
  const form = h("form", { id: "answers" },
    h("h2", {}, categories.length > 1 ? `How likely is each of the ${categories.length} findings?` : "How likely is the finding?"),
    h("p", { class: "soft" }, findings ? "With the model's findings. 0%: surely not there, 100%: surely there." : "Without the model. 0%: surely not there, 100%: surely there."),
    h("div", { class: "ratings" }, categories.map((category, i) => rating(category, i, of(category), findings ?? []))),
    h("div", { id: "answer-trouble", role: "alert" }),
    h("div", { class: "submit" }, h("button", { class: "primary" }, icon("check"), "Save and next")));
  form.addEventListener("submit", (event) => { event.preventDefault(); send(form); });
  fill(at("panel"), form);
  at("panel").scrollTop = 0;
  form.querySelector("input")?.focus({ preventScroll: true });
  say(`Image ${task.position} of ${task.total}, ${findings ? "with" : "without"} the model's findings`);
}

async function send(form) {
  const button = form.querySelector(".submit button");
  if (button.disabled) return;
  button.disabled = true;
  const seconds = Number(clock.seconds().toFixed(1));
  const answers = Object.fromEntries([...form.querySelectorAll("input[data-category]")].map((slider) => [slider.dataset.category, Number(slider.value)]));
  try {
    await post(`${path}/answers`, { image: task.image, with_findings: task.with_findings, answers, seconds });
    await next();
  } catch (error) {
    button.disabled = false;
    trouble(at("answer-trouble"), new Error(`Not saved. ${error.message} Your answers are still here: save again.`));
  }
}

keys("Reading", [
  ["s", "save and next", () => at("answers")?.requestSubmit()],
  [[], "from finding to finding", null, ["Tab"]],
  [[], "how likely, by 5%", null, ["← →"]],
]);
stage.shortcuts();

async function begin() {
  try {
    const study = (await get("/studies")).find((one) => String(one.id) === id);
    if (!study) throw new Refusal(`There is no study ${id}.`, 404);
    categories = study.categories;
    at("name").textContent = study.name;
    document.title = `${study.name} \u00b7 sdmad`;
  } catch (error) { return trouble(at("trouble"), error, begin); }
  await next();
}
frame();
begin();
