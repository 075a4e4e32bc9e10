// The image: window, zoom, pan, slices, and a map laid over it. Knows nothing of findings.

import { map as fetchMap, pixels } from "./api.js";
import { fill, h, hidden, icon, say } from "./dom.js";
import { keys } from "./keys.js";
import { legend, painted } from "./viridis.js";
import { greys, presets, tone } from "./windowing.js";

const KEPT = 192 * 2 ** 20; // bytes of planes and maps, for going back and forth
const NEAREST = 6; // enlarged more than this, pixels are shown as they are

export class Stage {
  constructor(place) {
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "Image" });
    this.corner = h("div", { class: "corner" });
    this.key = h("div", { class: "legend", hidden: true });
    this.said = h("div", { class: "said", role: "status" });
    this.view = h("div", { class: "view" }, this.canvas, this.corner, this.key, this.said);
    this.tools = h("div", { class: "tools", role: "group", "aria-label": "Image tools" });
    fill(place, this.view, this.tools);
    this.cache = new Map();
    this.pointers = new Map();
    this.tool = "window";
    this.opacity = Number(localStorage.getItem("opacity") ?? 0.6);
    this.buffer = document.createElement("canvas");
    this.overlay = document.createElement("canvas");
    this.controls();
    this.gestures();
    new ResizeObserver(() => this.fitCanvas()).observe(this.view);
  }

  // Shows an image of `slices` planes, `slice` of them first; rejects where it cannot be had.
  async open({ id, name, slices, slice }) {
    this.image = id;
    this.name = name;
    this.slices = Math.max(1, slices ?? 1);
    this.slice = slice ?? 0;
    this.inverted = false;
    this.plane = null;
    this.mapOf = null;
    this.tools.hidden = false;
    this.sliceRow.hidden = this.slices < 2;
    this.slider.max = this.slices;
    await this.showSlice(this.slice);
  }

  async showSlice(slice) {
    this.slice = Math.min(this.slices - 1, Math.max(0, slice));
    this.slider.value = this.slice + 1;
    this.number.textContent = `${this.slice + 1} of ${this.slices}`;
    const [image, wanted] = [this.image, this.slice];
    if (!this.plane) fill(this.said, "Loading the image …");
    try {
      const plane = await this.once(`${image} ${wanted}`, () => pixels(image, wanted));
      if (image !== this.image || wanted !== this.slice) return;
      const first = !this.plane;
      this.plane = plane;
      if (first) this.start();
      this.rendered = null;
      fill(this.said);
      this.canvas.setAttribute("aria-label", `Image ${this.name}${this.slices > 1 ? `, slice ${wanted + 1} of ${this.slices}` : ""}`);
      this.draw();
      if (this.mapOf) await this.showMap(this.mapOf, this.mapTitle);
      this.ahead();
    } catch (error) {
      if (image === this.image) this.failed(error);
      throw error;
    }
  }

  // Nothing more to show.
  close(text) {
    this.image = this.plane = this.mapOf = null;
    this.tools.hidden = this.key.hidden = true;
    fill(this.corner);
    fill(this.said, text);
    this.draw();
  }

  failed(error) {
    fill(this.said, h("div", {}, h("p", {}, error.message),
      h("button", { type: "button", onclick: () => this.showSlice(this.slice).catch(() => {}) }, "Try again")));
  }

  // What was asked for before is kept, within a bound of bytes; what came first goes first.
  once(name, ask) {
    if (!this.cache.has(name)) {
      const asked = ask().then((found) => { asked.bytes = (found.values ?? found.strength).byteLength; this.forget(); return found; },
        (error) => { this.cache.delete(name); throw error; });
      this.cache.set(name, asked);
    }
    return this.cache.get(name);
  }

  forget() {
    let held = [...this.cache.values()].reduce((sum, { bytes = 0 }) => sum + bytes, 0);
    for (const [name, { bytes = 0 }] of this.cache) {
      if (held <= KEPT || this.cache.size < 3) return;
      held -= bytes;
      this.cache.delete(name);
    }
  }

  // The neighbours are asked for before the wheel comes to them.
  ahead() {
    const { image } = this;
    for (const slice of [this.slice + 1, this.slice - 1]) {
      if (slice >= 0 && slice < this.slices) this.once(`${image} ${slice}`, () => pixels(image, slice)).catch(() => {});
    }
  }

  start() {
    this.presets = presets(this.plane);
    this.window = { ...this.presets[0][1] };
    fill(this.preset, this.presets.map(([name], i) => h("option", { value: i }, name)), h("option", { value: "own", hidden: true }, "By hand"));
    this.preset.value = "0";
    this.fit();
  }

  // A map over the image, or none with null. Gives the reason where there is none.
  async showMap(category, title) {
    this.mapOf = category;
    this.mapTitle = title;
    this.map = null;
    this.fader.disabled = !category;
    if (category) {
      const [image, slice] = [this.image, this.slice];
      if (!image) return "There is no image to lay the map over.";
      try {
        const found = await this.once(`${image} ${slice} ${category}`, () => fetchMap(image, category, slice));
        if (this.mapOf !== category || this.image !== image || this.slice !== slice) return null;
        this.map = found;
        this.overlay.width = found.width;
        this.overlay.height = found.height;
        this.overlay.getContext("2d").putImageData(painted(found), 0, 0);
      } catch (error) {
        this.mapOf = null;
        this.fader.disabled = true;
        this.draw();
        return error.message;
      }
    }
    this.draw();
    return null;
  }

  fit() {
    this.zoom = 1;
    this.shift = [0, 0];
    this.draw();
  }

  reset() {
    this.inverted = false;
    this.invert.setAttribute("aria-pressed", "false");
    this.choose(0);
    this.fit();
    say("View reset");
  }

  choose(number) {
    if (!this.plane) return;
    const place = (number + this.presets.length) % this.presets.length;
    this.preset.value = String(place);
    this.setWindow(this.presets[place][1], false);
    say(`Window: ${this.presets[place][0]}`);
  }

  setWindow({ center, width }, byHand = true) {
    this.window = { center, width: Math.max(width, this.finest()) };
    if (byHand) this.preset.value = "own";
    this.rendered = null;
    this.draw();
  }

  finest() {
    return this.presets[2][1].width / 500;
  }

  // Contrast and brightness by shares of the image's own range.
  nudge(width, center) {
    if (!this.plane) return;
    const { window } = this;
    this.setWindow({ center: window.center + center * this.presets[0][1].width, width: window.width * (1 + width) });
  }

  flip() {
    this.inverted = !this.inverted;
    this.invert.setAttribute("aria-pressed", String(this.inverted));
    this.rendered = null;
    this.draw();
  }

  setOpacity(share) {
    this.opacity = Math.min(1, Math.max(0.05, share));
    this.fader.value = Math.round(100 * this.opacity);
    localStorage.setItem("opacity", this.opacity);
    this.draw();
  }

  useTool(name) {
    this.tool = name;
    this.canvas.dataset.tool = name;
    for (const button of this.tools.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }

  // Enlarges about a point of the canvas, the middle unless told.
  magnify(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const zoom = Math.min(40, Math.max(0.25, this.zoom * factor));
    const by = zoom / this.zoom;
    const [left, top] = [x - this.canvas.width / 2, y - this.canvas.height / 2];
    this.shift = [left - by * (left - this.shift[0]), top - by * (top - this.shift[1])];
    this.zoom = zoom;
    this.draw();
  }

  pan(x, y) {
    this.shift = [this.shift[0] + x, this.shift[1] + y];
    this.draw();
  }

  fitCanvas() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.view.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.view.clientHeight * ratio));
    this.paint();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = null; this.paint(); });
  }

  render() {
    const { plane, buffer } = this;
    if (buffer.width !== plane.width || buffer.height !== plane.height || !this.pixels) {
      buffer.width = plane.width;
      buffer.height = plane.height;
      this.pixels = new ImageData(plane.width, plane.height);
    }
    const { values } = plane;
    if (plane.channels === 1) {
      const table = greys(this.window, plane.slope, plane.intercept, this.inverted);
      const pixels = new Uint32Array(this.pixels.data.buffer);
      for (let i = 0; i < pixels.length; i += 1) pixels[i] = table[values[i]];
    } else {
      const table = tone(this.window, this.inverted);
      const { data } = this.pixels;
      for (let from = 0, to = 0; from < values.length; from += 3, to += 4) {
        data[to] = table[values[from]];
        data[to + 1] = table[values[from + 1]];
        data[to + 2] = table[values[from + 2]];
        data[to + 3] = 255;
      }
    }
    buffer.getContext("2d").putImageData(this.pixels, 0, 0);
    this.rendered = plane;
  }

  // Where the image lies on the canvas: left, top, and pixels of the canvas a pixel of the image.
  place() {
    const { plane, canvas } = this;
    const scale = Math.min(canvas.width / plane.width, canvas.height / plane.height) * this.zoom;
    return [(canvas.width - plane.width * scale) / 2 + this.shift[0], (canvas.height - plane.height * scale) / 2 + this.shift[1], scale];
  }

  paint() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.plane) return;
    if (this.rendered !== this.plane) this.render();
    const [left, top, scale] = this.place();
    context.imageSmoothingEnabled = scale < NEAREST * (window.devicePixelRatio || 1);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.buffer, left, top, this.plane.width * scale, this.plane.height * scale);
    if (this.map && this.mapOf) {
      context.globalAlpha = this.opacity;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.overlay, left, top, this.plane.width * scale, this.plane.height * scale);
      context.globalAlpha = 1;
    }
    this.tell();
  }

  tell() {
    const { center, width } = this.window;
    const round = (value) => Number(value.toPrecision(4)).toLocaleString();
    const lines = [`W ${round(width)}  L ${round(center)}`, `${this.plane.width} × ${this.plane.height}  ·  ${Math.round(100 * this.zoom)}%`];
    if (this.under) lines.push(this.under);
    fill(this.corner, lines.map((line) => h("div", {}, line)));
    this.key.hidden = !(this.map && this.mapOf);
    if (!this.key.hidden && this.key.dataset.title !== this.mapTitle) {
      const colours = h("canvas", { "aria-hidden": "true" });
      legend(colours);
      fill(this.key, h("div", {}, this.mapTitle), colours, h("div", { class: "ends" }, h("span", {}, "weak"), h("span", {}, "strong")));
      this.key.dataset.title = this.mapTitle;
    }
  }

  // The value under the pointer, in the image's units.
  probe(x, y) {
    const [left, top, scale] = this.place();
    const [column, row] = [Math.floor((x - left) / scale), Math.floor((y - top) / scale)];
    const { plane } = this;
    this.under = null;
    if (column >= 0 && row >= 0 && column < plane.width && row < plane.height) {
      const first = (row * plane.width + column) * plane.channels;
      const values = Array.from(plane.values.subarray(first, first + plane.channels), (raw) => (plane.channels === 1 ? raw * plane.slope + plane.intercept : raw));
      this.under = `x ${column}  y ${row}: ${values.map((value) => Number(value.toPrecision(5))).join(" ")}`;
    }
    this.tell();
  }

  controls() {
    const button = (sign, text, act, extra = {}) => h("button", { type: "button", onclick: act, title: text, ...extra }, icon(sign), hidden(text));
    this.preset = h("select", { onchange: () => this.choose(Number(this.preset.value)) });
    this.invert = button("contrast", "Invert grey", () => this.flip(), { "aria-pressed": "false" });
    this.fader = h("input", { type: "range", min: 5, max: 100, value: Math.round(100 * this.opacity), disabled: true, id: "opacity", oninput: () => this.setOpacity(this.fader.value / 100) });
    this.slider = h("input", { type: "range", min: 1, max: 1, value: 1, oninput: () => this.step(Number(this.slider.value) - 1 - this.slice) });
    this.number = h("output", {});
    this.sliceRow = h("label", { class: "slices", hidden: true }, "Slice", this.slider, this.number);
    fill(this.tools,
      h("span", { class: "segments", role: "group", "aria-label": "Dragging" },
        h("button", { type: "button", "data-tool": "window", "aria-pressed": "true", title: "Dragging sets window and level", onclick: () => this.useTool("window") }, icon("contrast"), "Window"),
        h("button", { type: "button", "data-tool": "pan", "aria-pressed": "false", title: "Dragging moves the image", onclick: () => this.useTool("pan") }, icon("move"), "Pan")),
      h("label", {}, hidden("Preset of the window"), this.preset), this.invert,
      h("span", { class: "segments", role: "group", "aria-label": "Zoom" },
        button("minus", "Smaller", () => this.magnify(1 / 1.25)), button("plus", "Larger", () => this.magnify(1.25)), button("reset", "Reset the view", () => this.reset())),
      h("label", {}, "Map", this.fader),
      this.sliceRow);
  }

  // Goes on by so many slices; false where the image has but one.
  step(by) {
    if (!this.image || this.slices < 2) return false;
    if (by) this.showSlice(this.slice + by).catch(() => {});
    return true;
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  gestures() {
    const { canvas, pointers } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, this.at(event));
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => { this.under = null; if (this.plane) this.tell(); });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.plane) return;
      const here = this.at(event);
      const before = pointers.get(event.pointerId);
      if (!before) return this.probe(...here);
      if (pointers.size === 2) this.pinch(event.pointerId, before, here);
      else this.drag(event, here[0] - before[0], here[1] - before[1]);
      pointers.set(event.pointerId, here);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (!this.plane) return;
      if (this.slices > 1 && !event.ctrlKey) this.turn(event.deltaY);
      else this.magnify(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 300), ...this.at(event));
    }, { passive: false });
  }

  // A notch of a mouse is one slice; a touch pad's small steps add up to one.
  turn(delta) {
    this.turned = (Math.sign(delta) === Math.sign(this.turned) ? this.turned : 0) + delta;
    if (Math.abs(this.turned) < 40) return;
    this.step(Math.sign(this.turned));
    this.turned = 0;
  }

  drag(event, x, y) {
    const moving = this.tool === "pan" || event.shiftKey || (event.buttons & 6) !== 0;
    if (moving) return this.pan(x, y);
    const range = this.presets[0][1].width / Math.min(600, this.canvas.width);
    this.setWindow({ center: this.window.center + y * range, width: this.window.width + 1.5 * x * range });
  }

  pinch(moved, before, here) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, place]) => place);
    const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
    this.magnify(apart(here) / Math.max(1, apart(before)), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
    this.pan((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
  }

  shortcuts() {
    keys("Image", [
      ["w", "next window preset", () => this.choose((Number(this.preset.value) || 0) + 1)],
      [["ArrowRight", "ArrowLeft"], "more or less contrast", (event) => this.nudge(event.key === "ArrowRight" ? -0.1 : 0.1, 0)],
      [["Shift+ArrowUp", "Shift+ArrowDown"], "brighter or darker", (event) => this.nudge(0, event.key === "ArrowUp" ? -0.05 : 0.05)],
      ["i", "invert grey", () => this.flip()],
      [["+", "="], "larger", () => this.magnify(1.25), ["+"]],
      ["-", "smaller", () => this.magnify(1 / 1.25)],
      [["Shift+ArrowLeft", "Shift+ArrowRight"], "move the image sideways", (event) => this.pan(event.key === "ArrowLeft" ? 40 : -40, 0)],
      [["Ctrl+ArrowUp", "Ctrl+ArrowDown"], "move it up or down", (event) => this.pan(0, event.key === "ArrowUp" ? 40 : -40)],
      ["v", "dragging: window or pan", () => this.useTool(this.tool === "pan" ? "window" : "pan")],
      ["0", "reset the view", () => this.reset()],
      [["ArrowUp", "ArrowDown"], "slice before, next slice", (event) => this.step(event.key === "ArrowUp" ? -1 : 1)],
      [["PageUp", "PageDown"], "ten slices", (event) => this.step(event.key === "PageUp" ? -10 : 10)],
      [["Home", "End"], "first, last slice", (event) => this.step(event.key === "Home" ? -this.slices : this.slices)],
      [["[", "]"], "fade the map, show it stronger", (event) => this.setOpacity(this.opacity + (event.key === "[" ? -0.1 : 0.1))],
      [[], "window and level, or pan", null, ["drag"]],
      [[], "pan", null, ["right drag"]],
      [[], "slices of a volume, otherwise zoom", null, ["wheel"]],
      [[], "zoom", null, ["Ctrl+wheel"]],
    ]);
  }
}
