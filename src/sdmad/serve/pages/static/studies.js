// Blinded studies: start one, read in it, look at what came out.

import { get, post } from "./api.js";
import { at, fill, h, icon, notice, percent, plural, say, told, trouble } from "./dom.js";
import { frame } from "./frame.js";

const form = at("start");

function figure(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? value.toFixed(Number.isInteger(value) ? 0 : 2) : String(value);
}
frame();
