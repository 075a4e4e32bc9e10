// What every page has: colours, who reads, the model in use, help, readings that were not saved.

import { get, me, post } from "./api.js";
import { at, fill, h, trouble } from "./dom.js";
import { help } from "./keys.js";
import { showUnsent } from "./unsent.js";

function colours() {
  const choice = at("theme");
  choice.value = document.documentElement.dataset.theme ?? "system";
  choice.addEventListener("change", () => {
    if (choice.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice.value;
    localStorage.setItem("theme", choice.value);
  });
}

async function reader() {
  const { reader: name, role } = await me();
  const leave = async () => {
    try {
      await post("/logout");
      location.assign("/login");
    } catch (error) { trouble(at("trouble"), error, leave); }
  };
  fill(at("reader"), h("span", { title: role }, name),
    h("button", { type: "button", class: "quiet", onclick: leave }, "Sign out"));
}

// A model by its name and the beginning of its hash: a refit's name is that of the model before.
export const modelName = ({ name, hash }) => `Model ${name} (${hash.slice(0, 8)})`;

// Names the model in use on top of the page.
export async function showModel() {
  const models = await get("/models");
  const active = models.find((one) => one.active) ?? models[0];
  if (active) at("model").textContent = modelName(active);
  return active ?? null;
}

// Starts a page; gives the model in use, or null where the server cannot say.
export async function frame() {
  colours();
  at("help").addEventListener("click", help);
  showUnsent();
  const [, active] = await Promise.allSettled([reader(), showModel()]);
  return active.status === "fulfilled" ? active.value : null;
}

export const pause = (milliseconds) => new Promise((resolve) => {
  setTimeout(resolve, milliseconds);
});
