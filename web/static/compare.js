// The values of the executions where the pointer is in a chart of a comparison.

import { shortNumber } from "./plot.js";

const NAME = "http://www.w3.org/2000/svg";

class Readout {
  constructor(figure) {
    this.figure = figure;
    this.svg = figure.querySelector("svg");
    const { x, y, width, height } = figure.querySelector(".frame");
    this.frame = { left: x.baseVal.value, top: y.baseVal.value, width: width.baseVal.value, height: height.baseVal.value };
    this.cursor = document.createElementNS(NAME, "line");
    this.cursor.setAttribute("class", "cursor");
    this.svg.append(this.cursor);
    this.box = document.createElement("div");
    this.box.className = "readout";
    figure.append(this.box);
    this.hide();
    this.svg.addEventListener("pointerenter", () => this.load());
    this.svg.addEventListener("pointermove", (event) => this.show(event));
    this.svg.addEventListener("pointerleave", () => this.hide());
  }

  // By class of the execution's line: its colour, its name and its points; and the lowest and the highest x of all.
  async load() {
    this.series ??= fetch(this.figure.dataset.series).then((answer) => (answer.ok ? answer.json() : {}));
    const series = await this.series;
    this.runs = [...this.svg.querySelectorAll("polyline")].map((line) => {
      const name = line.querySelector("title").textContent;
      return { line, name, points: series[name.slice(1)] ?? [] };
    });
    const xs = this.runs.flatMap(({ points }) => points.map(([x]) => x));
    this.low = xs.reduce((a, b) => Math.min(a, b), Infinity);
    this.high = xs.reduce((a, b) => Math.max(a, b), -Infinity);
    if (this.last && this.svg.matches(":hover")) this.show(this.last);
  }

  show(event) {
    this.last = event;
    if (!this.runs) return;
    const { left, top, width, height } = this.frame;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const share = Math.min(1, Math.max(0, (at.x - left) / width));
    const x = this.low + share * (this.high - this.low);
    for (const [name, value] of Object.entries({ x1: left + share * width, x2: left + share * width, y1: top, y2: top + height })) {
      this.cursor.setAttribute(name, value);
    }
    const shown = this.runs.filter(({ line, points }) => points.length && getComputedStyle(line).display !== "none");
    this.box.replaceChildren(this.row(`line ${Math.round(x).toLocaleString("en-US")}`), ...shown.map((run) => this.value(run, x)));
    this.cursor.removeAttribute("hidden");
    this.box.hidden = false;
    this.place(event);
  }

  // The value at the nearest x of an execution; none before its first and after its last.
  value({ line, name, points }, x) {
    const near = points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
    const within = x >= points[0][0] && x <= points.at(-1)[0];
    const row = this.row(name);
    const swatch = document.createElementNS(NAME, "svg");
    swatch.setAttribute("class", `swatch ${[...line.classList].find((one) => one.startsWith("series-"))}`);
    swatch.setAttribute("viewBox", "0 0 12 12");
    const dot = document.createElementNS(NAME, "circle");
    for (const [key, value] of Object.entries({ cx: 6, cy: 6, r: 5 })) dot.setAttribute(key, value);
    swatch.append(dot);
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

  // Beside the pointer, within the figure.
  place({ clientX, clientY }) {
    const { left, top, width } = this.figure.getBoundingClientRect();
    const x = clientX - left + 14;
    this.box.style.left = `${x + this.box.offsetWidth > width ? Math.max(0, x - 28 - this.box.offsetWidth) : x}px`;
    this.box.style.top = `${clientY - top + 12}px`;
  }

  hide() {
    this.last = null;
    this.box.hidden = true;
    this.cursor.setAttribute("hidden", "");
  }
}

for (const figure of document.querySelectorAll("[data-series]")) new Readout(figure);
