// A reading in full: of which finding, which verdict, and a note.

import { dialog, h, told } from "./dom.js";

const CHOICES = [["accept", "Accept"], ["add", "Add"], ["reject", "Reject"], ["unsure", "Unsure"]];
const OF_IMAGE = [["normal", "Normal"], ["unsure", "Unsure"]];

// Gives { category, verdict, note }, or null where the reader thought better of it. An empty
// category asks for one; null is the whole image. `now` holds the verdicts that stand, so that a note
// alone changes none of them.
export function askReading({ categories, category, verdict, now }) {
  return new Promise((resolve) => {
    let answer = null;
    const about = h("select", { name: "about" }, h("option", { value: "" }, "The whole image"),
      categories.map((one) => h("option", { value: one }, told(one))));
    if (category) about.value = category;
    else if (category === "" && categories.length) about.selectedIndex = 1;
    const verdicts = h("div", { class: "radios" });
    const offer = () => {
      const list = about.value ? CHOICES : OF_IMAGE;
      const wanted = verdict ?? now.get(about.value || null);
      const first = list.some(([value]) => value === wanted) ? wanted : null;
      verdicts.replaceChildren(...list.map(([value, text]) => h("label", {}, h("input", { type: "radio", name: "verdict", value, required: true, checked: value === first }), text)));
    };
    about.addEventListener("change", offer);
    offer();
    const note = h("textarea", { name: "note", maxlength: 2000 });
    const form = h("form", { method: "dialog", class: "stacked" },
      h("label", {}, "About", about), h("fieldset", {}, h("legend", {}, "Verdict"), verdicts), h("label", {}, "Note", note),
      h("div", { class: "actions" }, h("button", { type: "button", onclick: () => box.close() }, "Cancel"), h("button", { class: "primary" }, "Save")));
    form.addEventListener("submit", () => {
      answer = { category: about.value || null, verdict: form.elements.verdict.value, note: note.value.trim() };
    });
    const box = dialog(verdict === "add" ? "Add a finding" : "Reading with a note", form);
    box.addEventListener("close", () => resolve(answer));
    (verdict === "add" ? about : note).focus();
  });
}
