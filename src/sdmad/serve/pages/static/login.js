// Sign in with a name and a password.

import { post } from "./api.js";
import { at, trouble } from "./dom.js";
import { frame } from "./frame.js";

const form = at("login");

// Only an address of this server: never somebody else's page after signing in.
function next() {
  const asked = new URLSearchParams(location.search).get("next") ?? "/";
  const address = new URL(asked, location.origin);
  return address.origin === location.origin && asked.startsWith("/") ? address.pathname + address.search : "/";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  trouble(at("login-trouble"), null);
  try {
    await post("/login", { name: form.elements.name.value, password: form.elements.password.value });
    location.assign(next());
  } catch (error) {
    trouble(at("login-trouble"), error);
    form.elements.password.select();
    button.disabled = false;
  }
});

frame();
