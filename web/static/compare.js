// The charts of a comparison: where the pointer is in one of them, all show the values of the executions there.

import { persistentFetch } from "./persistent_fetch.js";
import { shortNumber } from "./plot.js";

const NAMESPACE = "http://www.w3.org/2000/svg";

function svg(name, attributes) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

class Readout {
  constructor(figure, axis) {
    Object.assign(this, { figure, axis, svg: figure.querySelector("svg") });
    const { x, y, width, height } = figure.querySelector(".frame");
    const [left, top, w, h] = [x, y, width, height].map(({ baseVal }) => baseVal.value);
    this.frame = { left, top, width: w, height: h };
    this.cursor = svg("line", { class: "cursor", hidden: "" });
    this.svg.append(this.cursor);
    this.box = document.createElement("div");
    this.box.className = "readout";
    this.box.hidden = true;
    figure.append(this.box);
  }

  // Fetch the points of each line, and the range of x over all of them.
  async load() {
    this.series ??= persistentFetch(this.figure.dataset.series).then((answer) => (answer.ok ? answer.json() : {}));
    const series = await this.series;
    this.runs = [...this.svg.querySelectorAll("polyline")].map((line) => {
      const name = line.querySelector("title").textContent;
      return { line, name, points: series[name.slice(1)] ?? [] };
    });
    const xs = this.runs.flatMap(({ points }) => points.map(([x]) => x));
    this.low = xs.reduce((a, b) => Math.min(a, b), Infinity);
    this.high = xs.reduce((a, b) => Math.max(a, b), -Infinity);
  }

  // Return the x at a place on the screen; undefined until the points are loaded.
  at({ clientX, clientY }) {
    if (!this.runs) return undefined;
    const { x } = new DOMPoint(clientX, clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const share = Math.min(1, Math.max(0, (x - this.frame.left) / this.frame.width));
    return this.low + share * (this.high - this.low);
  }

  show(x) {
    if (!this.runs || x < this.low || x > this.high) return this.hide();
    const { left, top, width, height } = this.frame;
    const place = left + (width * (x - this.low)) / (this.high - this.low || 1);
    const ends = { x1: place, x2: place, y1: top, y2: top + height };
    for (const [name, value] of Object.entries(ends)) this.cursor.setAttribute(name, value);
    const shown = this.runs.filter(({ line, points }) => points.length && getComputedStyle(line).display !== "none");
    const whole = this.runs.every(({ points }) => points.every(([at]) => Number.isInteger(at)));
    const head = this.row(`${this.axis} ${whole ? Math.round(x).toLocaleString("en-US") : shortNumber(x)}`);
    this.box.replaceChildren(head, ...shown.map((run) => this.value(run, x)));
    this.cursor.removeAttribute("hidden");
    this.box.hidden = false;
    this.place(place);
  }

  // Return a row with the value at the point nearest to x, or a dash before the first and after the last point.
  value({ line, name, points }, x) {
    const near = points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
    const within = x >= points[0][0] && x <= points.at(-1)[0];
    const row = this.row(name);
    const colour = [...line.classList].find((one) => one.startsWith("series-"));
    const swatch = svg("svg", { class: `swatch ${colour}`, viewBox: "0 0 12 12" });
    swatch.append(svg("circle", { cx: 6, cy: 6, r: 5 }));
    const number = document.createElement("b");
    number.textContent = within || points.length === 1 ? shortNumber(near[1]) : "–";
    row.prepend(swatch);
    row.append(number);
    return row;
  }

  row(text) {
    const row = document.createElement("span");
    row.append(text);
    return row;
  }

  // Move the box beside the cursor, within the figure.
  place(x) {
    const { left, width } = this.figure.getBoundingClientRect();
    const { a, e } = this.svg.getScreenCTM();
    const at = a * x + e - left;
    const fits = at + 12 + this.box.offsetWidth <= width;
    this.box.style.left = `${fits ? at + 12 : Math.max(0, at - 12 - this.box.offsetWidth)}px`;
  }

  hide() {
    this.box.hidden = true;
    this.cursor.setAttribute("hidden", "");
  }
}

const charts = document.getElementById("metrics");
const figures = [...(charts?.querySelectorAll("[data-series]") ?? [])];
const readouts = figures.map((figure) => new Readout(figure, charts.dataset.axis));
let pointed = null; // the chart with the pointer, and where it is

function show() {
  const x = pointed?.readout.at(pointed.event);
  for (const readout of readouts) {
    if (x === undefined) readout.hide();
    else readout.show(x);
  }
}

for (const readout of readouts) {
  readout.svg.addEventListener("pointerenter", () => readouts.forEach((one) => one.load().then(show)));
  readout.svg.addEventListener("pointermove", (event) => {
    pointed = { readout, event };
    show();
  });
  readout.svg.addEventListener("pointerleave", () => {
    pointed = null;
    show();
  });
}
