// The resource usage of an execution: a chart for each kind, updated every ten seconds while it runs.

import { table } from "./chart_menu.js";
import { persistentFetch } from "./persistent_fetch.js";
import { plot, shortNumber, size, tick } from "./plot.js";

const AGAIN_S = 10;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power); // steps of an axis of bytes
const TIMES = [[86400 * 2, 86400, "d"], [7200, 3600, "h"], [180, 60, "min"], [0, 1, "s"]]; // from, seconds of one, name
const Y_TICKS = { bytes, percent: (value) => `${shortNumber(value)}%`, "": tick };

function bytes(value) {
  const power = value < 1024 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), UNITS.length - 1);
  return `${shortNumber(Number((value / 1024 ** power).toPrecision(3)))} ${UNITS[power]}`;
}

// "3.1–3.5 GiB" of "3.1 GiB" and "3.5 GiB".
function range([low, high]) {
  if (low === high) return low;
  const [[number, unit], [, other]] = [low.split(" "), high.split(" ")];
  return `${unit === other ? number : low}–${high}`;
}

const rows = (figure) => figure.querySelectorAll(".lines > span, .heat-row").length;

class Resource {
  constructor(figure) {
    this.figure = figure;
    this.place = figure.querySelector(".plot");
    this.value = figure.querySelector("figcaption b");
    this.format = Y_TICKS[figure.dataset.unit];
    this.plot = null;
    figure.querySelector("button").onclick = () => this.toggleTable();
  }

  toggleTable() {
    const shown = this.figure.querySelector(".data-table");
    if (shown) return shown.remove();
    if (!this.data) return;
    const [x, ...lines] = this.data;
    const title = this.figure.querySelector(".clip").textContent;
    const isOfGpus = this.figure.dataset.kind.startsWith("gpu");
    const names = lines.map((_, i) => (isOfGpus ? `GPU ${i}` : title));
    const texts = lines.map((line) => line.map((value) => (value === null ? "" : this.format(value))));
    this.figure.append(table(this.unit, names, [x.map(shortNumber), ...texts]));
  }

  read(x, { last, lines }, [, second, name]) {
    this.last = this.value.textContent = last;
    this.data = [x.map((at) => at / second), ...lines.map((line) => line.y)];
    this.unit = name;
  }

  show(x, chart, time) {
    this.read(x, chart, time);
    const { largest, lines } = chart;
    this.figure.querySelector(".note").textContent = `peak ${largest}`;
    const texts = [...this.figure.querySelectorAll(".lines > span > span")];
    lines.forEach((line, i) => (texts[i].textContent = line.last));
    if (typeof uPlot === "undefined") return;
    if (this.plot && this.plotted === this.unit) this.plot.setData(this.data);
    else this.draw();
  }

  draw() {
    this.plot?.destroy();
    this.plotted = this.unit;
    const most = this.figure.dataset.unit === "percent" ? 100 : 0;
    this.plot = plot(this.place, this.data, {
      sync: "resources",
      setCursor: ({ cursor: { idx } }) => this.showCursor(idx),
      strokes: [...this.figure.querySelectorAll(".lines > span")].map((line) => getComputedStyle(line).color),
      xTick: (value) => `${shortNumber(value)} ${this.unit}`,
      yTick: this.format,
      yIncrs: this.figure.dataset.unit === "bytes" ? POWERS : undefined,
      yRange: (_, low, high) => [0, Math.max(most, high * 1.05) || 1],
    });
  }

  showCursor(index) {
    if (index === null || index === undefined) this.value.textContent = this.last;
    else {
      const values = this.data.slice(1).map((line) => line[index]).filter((value) => value !== null);
      if (values.length) this.value.textContent = range([Math.min(...values), Math.max(...values)].map(this.format));
    }
  }
}

// A heat map with a row for each GPU. The server computes the shades.
class Heat extends Resource {
  show(x, chart, time) {
    this.read(x, chart, time);
    const { largest, lines } = chart;
    this.figure.querySelector(".note span").textContent = `peak ${largest}`;
    for (const [i, row] of [...this.figure.querySelectorAll(".heat-row")].entries()) {
      const svg = row.querySelector("svg");
      svg.setAttribute("viewBox", `0 0 ${x.length} 1`);
      svg.setAttribute("aria-label", svg.getAttribute("aria-label").replace(/, .* now/, `, ${lines[i].last} now`));
      [...svg.children].forEach((path, level) => path.setAttribute("d", lines[i].heat[level]));
      row.querySelector("b").textContent = lines[i].last;
    }
  }
}

export class Resources {
  // `changed` is called when the section lacks a chart, and must be fetched again.
  constructor(url, changed) {
    this.url = url;
    this.changed = changed;
    this.charts = [];
    this.resizer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const chart = this.charts.find(({ place }) => place === target);
        if (chart?.plot && chart.plot.width !== target.clientWidth) chart.plot.setSize(size(target));
      }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of this.charts) if (chart.plot) chart.draw();
    });
    this.find();
  }

  find() {
    this.resizer.disconnect();
    for (const { plot: uplot } of this.charts) uplot?.destroy();
    const figures = [...document.querySelectorAll("#resources .chart")];
    this.charts = figures.map((figure) => new (figure.classList.contains("heat") ? Heat : Resource)(figure));
    this.charts.forEach(({ place }) => place && this.resizer.observe(place));
    this.load();
  }

  // Returns the seconds between two points: asking sooner gives nothing new.
  async load() {
    const answer = await persistentFetch(`${this.url}usage`);
    if (!answer.ok) return 0;
    const { x, step_s: step, charts } = await answer.json();
    const same = charts.length === this.charts.length
      && charts.every(({ kind, lines }, i) => {
        const { figure } = this.charts[i];
        return kind === figure.dataset.kind && lines.length === rows(figure);
      });
    if (!same) this.changed();
    else {
      const time = TIMES.find(([from]) => (x.at(-1) ?? 0) >= from);
      charts.forEach((chart, i) => this.charts[i].show(x, chart, time));
    }
    return step;
  }

  // Repeats until `over()` returns true.
  async follow(over) {
    while (!over()) {
      let step = 0;
      if (!document.hidden) step = await this.load().catch(() => 0);
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(AGAIN_S, step)));
    }
  }
}
