// The worklist. What is shown stands in the page's address, so it can be kept, sent and gone back to.

import { get } from "./api.js";
import { at, fill, gauge, h, hidden, icon, plural, say, told, trouble } from "./dom.js";
import { categoryName, decision, likely, number, state } from "./finding.js";
import { frame, pause } from "./frame.js";
import { keys } from "./keys.js";

const filters = at("filters");
const NAMES = ["state", "text", "category", "reader", "sort", "page"];
let asked = null; // the request under way
let scored = null;
let touched = false;

const wanted = () => new URLSearchParams(location.search);
const pageOf = (query) => Math.max(1, Number.parseInt(query.get("page"), 10) || 1);

function change(changes, { keep = false } = {}) {
  const query = wanted();
  if (!("page" in changes)) query.delete("page");
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const address = query.size ? `/?${query}` : "/";
  if (keep) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  return load();
}

// The same list, one image further: the viewer asks for its neighbours with this.
function listQuery() {
  const query = new URLSearchParams();
  for (const name of NAMES) if (name !== "page" && wanted().get(name)) query.set(name, wanted().get(name));
  return query;
}

function setForm() {
  const query = wanted();
  for (const name of ["text", "category", "reader", "sort"]) {
    const field = filters.elements[name];
    if (document.activeElement !== field) field.value = query.get(name) ?? (name === "sort" ? "abnormal" : "");
  }
}

function options(field, values, named = (value) => value) {
  const query = wanted().get(field.name);
  const known = new Set([...field.options].map((option) => option.value));
  for (const value of [...values, query]) {
    if (value && !known.has(value)) {
      known.add(value);
      field.append(h("option", { value }, named(value)));
    }
  }
  if (query) field.value = query;
}

function tabs(counts) {
  const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
  const current = wanted().get("state") ?? "";
  fill(at("states"), [["", "All", all], ["new", "New", counts.new], ["read", "Read", counts.read], ["unsure", "Unsure", counts.unsure]]
    .map(([value, name, n]) => h("button", { type: "button", "aria-pressed": String(value === current), onclick: () => change({ state: value }), "data-state": value || "all" },
      name, " ", h("span", { class: "count" }, (n ?? 0).toLocaleString()))));
}

function amount(name, share, extra = "") {
  const cell = h("td", { role: "cell", class: `amount ${extra}` });
  if (share === null || share === undefined) {
    cell.classList.add("none");
    return fill(cell, h("span", { class: "number soft" }, h("span", { class: "label" }, `${name} `), "–", hidden("not scored yet")));
  }
  return fill(cell, h("span", { class: "number" }, h("span", { class: "label" }, `${name} `), number(share)), gauge(share, null, share >= 0.5));
}

// Of what kind the two amounts are: they order the list, and are no probabilities.
const ABNORMAL = "How far the likeliest finding is above its threshold, 0 to 1: 0.50 where it is just found. No probability.";
const UNSURE = "How near to its threshold the least certain finding is, 0 to 1. No probability.";

function top(item) {
  const cell = h("td", { role: "cell", class: "top-finding" });
  if (item.error) return fill(cell, h("span", { class: "chip found" }, icon("warning"), "Not readable"), h("span", { class: "sign" }, item.error));
  if (!item.top) return fill(cell, h("span", { class: "soft" }, "Not scored yet"));
  const { sign } = item.top;
  return fill(cell, h("strong", {}, categoryName(item.top)), h("span", { class: "soft" }, likely(item.top)), " ", decision(item.top),
    sign ? h("span", { class: "sign" }, sign.sentence) : null);
}

function row(item) {
  const query = listQuery();
  const address = `/image/${encodeURIComponent(item.id)}${query.size ? `?${query}` : ""}`;
  const picture = item.error
    ? h("span", { class: "none" }, icon("warning"))
    : h("img", { src: item.thumbnail, alt: "", loading: "lazy", width: 64, height: 64, onerror: (event) => event.target.replaceWith(h("span", { class: "none" }, icon("warning"))) });
  return h("tr", { role: "row" },
    h("td", { role: "cell", class: "thumb" }, picture),
    h("td", { role: "cell", class: "name" }, h("a", { href: address }, item.name),
      item.unfamiliar ? h("div", {}, h("span", { class: "chip unsure" }, icon("warning"), "Unlike the support")) : null),
    top(item),
    amount("Abnormal", item.abnormal),
    amount("Unsure", item.unsure, "unsure-amount"),
    h("td", { role: "cell", class: "state" }, state(item.state)),
    h("td", { role: "cell", class: "readers" }, item.readers.join(", ")));
}

const gridWanted = () => localStorage.getItem("view") === "grid";

function table(items) {
  const head = (text, { kind = null, title = null } = {}) => h("th", { role: "columnheader", scope: "col", class: kind, title }, text);
  return h("table", { role: "table", class: gridWanted() ? "work grid" : "work", "aria-label": "Images" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head(hidden("Picture")), head("Image"), head("Top finding and its sign"),
      head("Abnormal", { title: ABNORMAL }), head("Unsure", { title: UNSURE }), head("State"), head("Readers", { kind: "readers" }))),
    h("tbody", { role: "rowgroup" }, items.map(row)));
}

function empty() {
  const filtered = NAMES.some((name) => wanted().get(name));
  const clear = h("button", { type: "button", onclick: () => change(Object.fromEntries(NAMES.map((name) => [name, ""]))) }, "Show all images");
  return h("div", { class: "card empty" },
    filtered ? [h("strong", {}, "No image fits these filters"), clear]
      : [h("strong", {}, "There are no images yet"), "Start the server with --images FOLDER or --table LABELS.csv."]);
}

function pager({ total, page, size }) {
  const pages = Math.max(1, Math.ceil(total / size));
  const step = (to, text, sign, before) => h("button", { type: "button", disabled: to < 1 || to > pages, "data-step": before ? "previous" : "next", onclick: () => turn(to) },
    before ? icon(sign) : null, text, before ? null : icon(sign));
  fill(at("pager"), step(page - 1, "Previous", "left", true),
    h("span", {}, total ? `${((page - 1) * size + 1).toLocaleString()}–${Math.min(total, page * size).toLocaleString()} of ${plural(total, "image")}` : "No images"),
    step(page + 1, "Next", "right", false));
}

async function turn(page) {
  await change({ page: page > 1 ? String(page) : "" });
  scrollTo({ top: 0 });
  at("list").querySelector(".name a")?.focus({ preventScroll: true });
}

// An address with a filter that there is none of is not asked for again.
function refused(error) {
  if (error.status !== 422) return trouble(at("trouble"), error, load);
  trouble(at("trouble"), error);
  fill(at("list"), empty());
  fill(at("pager"));
}

async function load() {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  const query = listQuery();
  query.set("page", pageOf(wanted()));
  setForm();
  at("list").setAttribute("aria-busy", "true");
  try {
    const found = await get(`/images?${query}`, signal);
    trouble(at("trouble"), null);
    if (!found.items.length && found.total) return change({ page: String(Math.ceil(found.total / found.size)) }, { keep: true });
    tabs(found.counts);
    options(filters.elements.reader, found.items.flatMap((item) => item.readers));
    fill(at("list"), found.items.length ? table(found.items) : empty());
    pager(found);
    say(`${plural(found.total, "image")} in the list`);
  } catch (error) {
    if (!signal.aborted) refused(error);
  }
  if (!signal.aborted) at("list").setAttribute("aria-busy", "false");
}

// How far scoring is. A list that somebody uses is not put in another order under the hand.
async function progress() {
  let lost = false;
  for (;;) {
    let wait = 15000;
    try {
      const { scoring: { done, total } } = await get("/health");
      if (lost) await load();
      lost = false;
      const fresh = scored !== null && done > scored;
      const finished = done >= total;
      if (fresh && !touched) await load();
      if (scored === null || fresh) showProgress(done, total, fresh && touched);
      scored = done;
      if (!finished) wait = 2000;
    } catch (error) {
      lost = true;
      wait = 5000;
      trouble(at("trouble"), error, load);
    }
    await pause(wait);
  }
}

function showProgress(done, total, news) {
  const again = h("button", { type: "button", onclick: async () => { await load(); showProgress(done, total, false); } }, "Show new scores");
  fill(at("progress"),
    done < total ? [h("progress", { max: total, value: done, "aria-label": "Images scored" }), `${done.toLocaleString()} of ${total.toLocaleString()} scored`]
      : plural(total, "image scored", "images scored"),
    news ? again : null);
}

function move(by) {
  const links = [...at("list").querySelectorAll(".name a")];
  const here = links.indexOf(document.activeElement);
  links[here < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, here + by))]?.focus();
}

function view(kind) {
  localStorage.setItem("view", kind);
  for (const button of filters.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === kind));
  at("list").querySelector(".work")?.classList.toggle("grid", kind === "grid");
}

let typed = 0;
filters.addEventListener("submit", (event) => event.preventDefault());
filters.elements.text.addEventListener("input", ({ target }) => {
  clearTimeout(typed);
  typed = setTimeout(() => change({ text: target.value.trim() }, { keep: true }), 250);
});
for (const name of ["category", "reader", "sort"]) {
  filters.elements[name].addEventListener("change", ({ target }) => change({ [name]: target.value === "abnormal" && name === "sort" ? "" : target.value }));
}
for (const button of filters.querySelectorAll("[data-view]")) button.addEventListener("click", () => view(button.dataset.view));
window.addEventListener("popstate", load);
for (const kind of ["pointerdown", "keydown", "wheel"]) window.addEventListener(kind, () => { touched = true; }, { passive: true });

const press = (step) => at("pager").querySelector(`[data-step=${step}]:not(:disabled)`)?.click();
keys("Worklist", [
  ["j", "next image", () => move(1)],
  ["k", "image before", () => move(-1)],
  ["Enter", "open the image", null],
  ["n", "next page", () => press("next")],
  ["p", "page before", () => press("previous")],
  ["/", "search", () => filters.elements.text.focus()],
  ["g", "list or pictures", () => view(gridWanted() ? "list" : "grid")],
]);

view(gridWanted() ? "grid" : "list");
const [model] = await Promise.all([frame(), load()]);
if (model) options(filters.elements.category, model.categories.map(({ name }) => name), told);
progress();
