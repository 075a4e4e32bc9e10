// Requests to the server. Whatever goes wrong becomes a sentence for people.

const ROOT = "/api/v1";
let who = null;

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: no answer at all
  }
}

// Who reads, by /me; asked for once.
export function me() {
  who ??= call("GET", "/me").catch((error) => { who = null; throw error; });
  return who;
}

function goToLogin() {
  const here = location.pathname + location.search;
  window.dispatchEvent(new Event("leaving"));
  location.assign(`/login?next=${encodeURIComponent(here)}`);
}

async function answer(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (method !== "GET" && path !== "/login") headers["X-CSRF-Token"] = (await me()).csrf ?? "";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const limit = AbortSignal.timeout(30000);
  try {
    return await fetch(ROOT + path, {
      method, headers, credentials: "same-origin", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(error.name === "TimeoutError"
      ? "The server did not answer within 30 seconds. It may be busy; try again."
      : "The server does not answer. Is it still running, and is the network there?", 0);
  }
}

// The interface's errors begin small, as a command's do; a name at the beginning stays as it is.
export function asSentence(text) {
  const begun = /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?)]$/.test(begun) ? begun : `${begun}.`;
}

async function reason(response) {
  try {
    const told = await response.json();
    if (typeof told.error === "string") return asSentence(told.error);
  } catch { /* not JSON: the status has to do */ }
  return `The server answered with status ${response.status}.`;
}

async function good(method, path, body, signal) {
  const response = await answer(method, path, body, signal);
  if (response.ok) return response;
  if (response.status === 401 && location.pathname !== "/login") goToLogin();
  if (response.status === 403) who = null; // another session's token: ask again next time
  throw new Refusal(await reason(response), response.status);
}

export async function call(method, path, body, signal) {
  const response = await good(method, path, body, signal);
  return response.status === 204 ? null : response.json();
}

export const get = (path, signal) => call("GET", path, undefined, signal);
export const post = (path, body, signal) => call("POST", path, body, signal);

// A file of the server, saved under a name.
export async function download(path, name) {
  const file = URL.createObjectURL(await (await good("GET", path)).blob());
  const link = document.createElement("a");
  link.href = file;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(file), 60000);
}

// An image's plane: raw values and how they become units.
export async function pixels(image, slice, signal) {
  const response = await good("GET", `/images/${encodeURIComponent(image)}/pixels?slice=${slice}`, undefined, signal);
  const number = (name, otherwise) => {
    const value = Number.parseFloat(response.headers.get(name));
    return Number.isFinite(value) ? value : otherwise;
  };
  const bytes = await response.arrayBuffer();
  const plane = {
    width: number("X-Width", 0), height: number("X-Height", 0), channels: number("X-Channels", 1),
    slope: number("X-Slope", 1), intercept: number("X-Intercept", 0),
    center: number("X-Center", null), windowWidth: number("X-Window", null),
  };
  const wanted = plane.width * plane.height * (plane.channels === 1 ? 2 : plane.channels);
  if (bytes.byteLength !== wanted) throw new Refusal("The image arrived incomplete; load it again.", 0);
  plane.values = plane.channels === 1 ? uint16(bytes) : new Uint8Array(bytes);
  return plane;
}

// Little-endian, whatever the machine is.
function uint16(bytes) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Uint16Array(bytes);
  const view = new DataView(bytes);
  return Uint16Array.from({ length: bytes.byteLength / 2 }, (_, i) => view.getUint16(2 * i, true));
}

// A map's strengths, 0 to 255, as the server drew them.
export async function map(image, category, slice, signal) {
  const path = `/images/${encodeURIComponent(image)}/maps/${encodeURIComponent(category)}?slice=${slice}`;
  const picture = await createImageBitmap(await (await good("GET", path, undefined, signal)).blob());
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const strength = new Uint8Array(picture.width * picture.height);
  for (let i = 0; i < strength.length; i += 1) strength[i] = data[4 * i];
  return { width: picture.width, height: picture.height, strength };
}
