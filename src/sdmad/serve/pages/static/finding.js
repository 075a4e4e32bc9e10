// How a finding and an image's state are told, in every place alike.

import { gauge, h, hidden, icon, percent, told } from "./dom.js";

// Two digits, with a minus sign that is as wide as a plus.
export const number = (value) => Number(value).toFixed(2).replace("-", "\u2212");

// Probability where the server gives one, else the score.
export const likely = (finding) => (finding.probability === null || finding.probability === undefined
  ? `score ${number(finding.score)}` : percent(finding.probability));

// The threshold in the same words as the finding's own number.
export function limit(finding) {
  if (finding.threshold === null || finding.threshold === undefined) return null;
  return `threshold ${number(finding.threshold)}`;
}

const logistic = (x) => 1 / (1 + Math.exp(-x));

// The score's bar: the threshold stands in the middle, as far from both ends as odds of 50 to 1 where
// scores are log odds; scores of a narrower kind are spread by the widest of the image.
export function bar(finding, all) {
  if (finding.threshold === null || finding.threshold === undefined) {
    return gauge(finding.probability ?? logistic(finding.score), null, finding.decision);
  }
  const far = Math.max(...all.map((one) => Math.abs(one.score - (one.threshold ?? 0))), 1e-6);
  const spread = far < 1 ? 3 / far : 1;
  return gauge(logistic(spread * (finding.score - finding.threshold)), 0.5, finding.decision);
}

// The model's own answer. Words and a sign, so that no colour is needed to tell them apart.
export function decision(finding) {
  if (finding.answer === "unsure") return h("span", { class: "chip unsure" }, icon("question"), "Unsure");
  return finding.decision
    ? h("span", { class: "chip found" }, icon("dot"), "Found")
    : h("span", { class: "chip" }, icon("minus"), "Not found");
}

const STATES = {
  new: ["chip", "dot", "New"], read: ["chip clear", "check", "Read"], unsure: ["chip unsure", "question", "Unsure"],
};
export function state(name) {
  const [kind, sign, text] = STATES[name] ?? ["chip", "dot", name];
  return h("span", { class: kind }, icon(sign), text);
}

export const sureness = (finding, all) => [
  bar(finding, all),
  hidden(` ${[likely(finding), limit(finding)].filter(Boolean).join(", ")}`),
];

export const categoryName = (finding) => told(finding.category);
