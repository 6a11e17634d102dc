// Charts of metadata: each shows one key or several. Without uPlot the sparklines that came with the page stay.

import { loadDetail, points } from "./chart_detail.js";
import { addMenu, download, savePicture, table } from "./chart_menu.js";
import { ChartView } from "./chart_view.js";
import { persistentFetch } from "./persistent_fetch.js";
import { plot, shortNumber, size } from "./plot.js";

const MAX_POINTS = 3000; // a longer series is fetched again, and the server thins it
const REFINE_MS = 150; // after the last zoom
const MOST_KEYS = 8; // in one chart: there are eight colours
const FIELDS = ["add-chart", "axis", "key"]; // in which keys are chosen

// Whether the last of these points of an event is a number.
export const isNumber = (points) => points.at(-1)[2] !== null;

// Exponential moving average. Dividing by the sum of the weights keeps the start from being pulled towards 0.
function smooth(values, factor) {
  let sum = 0;
  let weight = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    sum = sum * factor + (1 - factor) * value;
    weight = weight * factor + (1 - factor);
    return sum / weight;
  });
}

class Chart {
  constructor(figure, charts) {
    this.figure = figure;
    this.charts = charts;
    this.keys = [figure.dataset.key];
    this.place = figure.querySelector(".plot");
    this.caption = figure.querySelector("figcaption");
    this.note = figure.querySelector(".note");
    this.series = new Map(); // by key: {x (ascending), y, seqs, seq of the last point, points, kept, detail}
    this.plot = null;
    this.loading = false;
    this.again = false; // load once more, since the metrics or the axis have changed meanwhile
    const value = this.caption.querySelector("b");
    this.latest = new Map([[this.keys[0], value.textContent]]);
    if (charts.view) addMenu(this);
  }

  get title() {
    return this.keys.join(", ");
  }

  // The drawn values: x, then y of each key.
  get data() {
    const found = this.keys.map((key) => this.series.get(key)).filter(Boolean).map(points);
    return found.length > 1 ? uPlot.join(found) : found[0] ?? [[], []];
  }

  async load() {
    this.again = this.loading;
    if (this.loading) return;
    this.loading = true;
    try {
      do {
        this.again = false;
        const { keys, charts: { axis } } = this;
        await Promise.all(keys.map((key) => this.loadKey(key)));
        if (keys === this.keys && axis === this.charts.axis) this.redraw(); // even if new metrics came meanwhile
      } while (this.again);
    } finally {
      this.loading = false;
    }
  }

  async loadKey(key) {
    const answer = await persistentFetch(this.address(key));
    if (!answer.ok) return;
    const { x, y, seq: seqs, points: total, kept } = await answer.json();
    this.series.set(key, { x, y, points: total, kept, seqs, seq: Math.max(-1, ...seqs) });
  }

  address(key) {
    return `${this.charts.url}series?${new URLSearchParams({ key, x: this.charts.axis })}`;
  }

  // Fetch finer points of the visible range, or drop them if the chart is not zoomed.
  async refine() {
    const { range } = this.charts;
    const shown = this.keys.map((key) => [this.address(key), this.series.get(key)])
      .filter(([, series]) => series && (range || series.detail));
    if (!shown.length) return;
    const found = await Promise.all(shown.map(([address, series]) => range && loadDetail(address, series, range)));
    if (range !== this.charts.range || !this.plot) return;
    shown.forEach(([, series], i) => (series.detail = found[i]));
    this.draw();
  }

  setKeys(keys) {
    this.keys = [...new Set(keys)].slice(0, MOST_KEYS);
    this.updateCaption();
    return this.load();
  }

  updateCaption() {
    const [first, ...others] = this.caption.querySelectorAll(".key");
    others.forEach((one) => one.remove());
    let last = first;
    for (const [i, key] of this.keys.entries()) {
      const one = i ? first.cloneNode(true) : first;
      one.className = `key${this.keys.length > 1 ? ` series-${i}` : ""}`;
      one.querySelector(".clip").textContent = one.querySelector(".clip").title = key;
      one.querySelector("b").textContent = this.latest.get(key) ?? this.charts.latest(key);
      if (i) last.after(one);
      last = one;
    }
  }

  draw() {
    const { data } = this;
    if (!data[0].length) return;
    const { log, smoothing } = this.charts;
    const ys = data.slice(1).map((y) => (log ? y.map((value) => (value > 0 ? value : null)) : y));
    const drawn = smoothing ? [...ys, ...ys.map((y) => smooth(y, smoothing))] : ys;
    if (this.plot) {
      this.plot.setData([data[0], ...drawn], !this.charts.range);
      if (this.charts.range) this.plot.setScale("x", { ...this.charts.range });
    } else this.create([data[0], ...drawn], ys.length);
    this.describe(data);
  }

  create(data, count) {
    const colours = [...this.caption.querySelectorAll(".key")].map((key) => getComputedStyle(key).color);
    const strokes = count > 1 ? colours : [getComputedStyle(this.place).color];
    const faint = { alpha: 0.3, width: 1 };
    this.plot = plot(this.place, data, {
      sync: "metadata",
      log: this.charts.log,
      strokes: [...strokes, ...strokes],
      lines: data.length - 1 > count ? data.slice(1).map((_, i) => (i < count ? faint : {})) : [],
      setCursor: ({ cursor }) => this.showCursor(cursor.idx),
      setScale: (uplot, scale) => scale === "x" && this.charts.noteZoom(uplot),
    });
    if (this.charts.range) this.plot.setScale("x", { ...this.charts.range });
  }

  describe([x, ...ys]) {
    const found = this.keys.map((key) => this.series.get(key)).filter(Boolean);
    const all = found.reduce((sum, { points }) => sum + points, 0);
    const dropped = found.reduce((sum, { points, kept }) => sum + points - kept, 0);
    const shown = found.reduce((sum, one) => sum + points(one)[0].length, 0);
    const number = (value) => value.toLocaleString("en-US");
    const stored = dropped ? `, ${number(all - dropped)} stored` : "";
    const some = `${number(shown)} of ${number(all)} points${stored}, with all peaks`;
    const text = shown < all ? some : `${number(all)} ${all === 1 ? "point" : "points"}`;
    this.note.textContent = text;
    const values = ys.flat().filter((value) => typeof value === "number");
    const low = shortNumber(Math.min(...values));
    const high = shortNumber(Math.max(...values));
    this.place.setAttribute("role", "img");
    const ends = `x from ${shortNumber(x[0])} to ${shortNumber(x.at(-1))}`;
    const name = `${this.title} over ${this.charts.axisName}`;
    this.place.setAttribute("aria-label", `${name}: ${text}, ${low} to ${high}, ${ends}`);
  }

  redraw() {
    this.remove();
    if (this.series.size) this.draw();
  }

  remove() {
    this.plot?.destroy();
    this.plot = null;
  }

  showCursor(index) {
    const { data } = this;
    for (const [i, place] of [...this.caption.querySelectorAll(".key b")].entries()) {
      const key = this.keys[i];
      const value = data[i + 1]?.[index];
      const x = this.keys.length === 1 ? ` at ${shortNumber(data[0][index])}` : "";
      place.textContent = value === null || value === undefined
        ? this.latest.get(key) ?? this.charts.latest(key)
        : `${shortNumber(value)}${x}`;
    }
  }

  // `points` has a list of [seq, microseconds, number or null] for each key; `toX` maps seq and microseconds to x.
  append(points, toX, latest) {
    let stale = false;
    for (const [i, key] of this.keys.entries()) {
      if (!latest[key]) continue;
      this.latest.set(key, latest[key].text);
      const value = this.caption.querySelectorAll(".key b")[i];
      if (value) Object.assign(value, { textContent: latest[key].text, title: latest[key].full });
      const series = this.series.get(key);
      if (!series) continue;
      stale ||= series.x.length > MAX_POINTS;
      for (const [seq, microseconds, value] of points[key]) {
        if (seq <= series.seq || value === null) continue;
        const at = toX(seq, microseconds);
        if (at === undefined || at < series.x.at(-1)) stale = true;
        else (series.x.push(at), series.y.push(value), series.seqs.push(seq));
        series.seq = seq;
        series.points += 1;
        series.kept += 1;
      }
    }
    if (stale) this.load();
    else if (this.series.size) this.draw();
  }

  saveValues() {
    const query = new URLSearchParams(this.keys.map((key) => ["key", key]));
    download(`${this.charts.url}series.csv?${query}`);
  }

  savePicture() {
    savePicture(this.plot, this.figure, this.title);
  }

  toggleTable() {
    const shown = this.figure.querySelector(".data-table");
    if (shown) shown.remove();
    else this.figure.append(table(this.charts.axisName, this.keys, this.data));
  }
}

export class Charts {
  constructor(url, startedAt) {
    this.url = url;
    this.view = null; // the ChartView of the page with all charts
    this.startUs = Date.parse(startedAt) * 1000;
    this.range = null; // of the x axis, when zoomed
    this.watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = this.byFigure.get(target);
        if (chart) chart.visible = isIntersecting;
        if (isIntersecting && chart && !chart.series.size) chart.load();
        else if (isIntersecting && this.range) chart?.refine();
      }
    }, { rootMargin: "200px" });
    this.resizer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const uplot = this.byFigure.get(target.closest(".chart"))?.plot;
        const { width, height } = size(target);
        if (uplot && (uplot.width !== width || uplot.height !== height)) uplot.setSize({ width, height });
      }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.byFigure = new Map();
    this.find();
  }

  get all() {
    return [...this.byFigure.values()];
  }

  get axis() {
    return this.view?.axis ?? (this.section.dataset.axis ? `key.${this.section.dataset.axis}` : "number");
  }

  get axisName() {
    return { number: "index", time: "seconds" }[this.axis] ?? this.axis.slice(4);
  }

  get log() {
    return this.view?.log ?? false;
  }

  get smoothing() {
    return this.view?.smoothing ?? 0;
  }

  latest(key) {
    const shown = this.all.find((chart) => chart.keys[0] === key)?.latest.get(key);
    return shown ?? document.querySelector(`#latest [data-key="${CSS.escape(key)}"] td`)?.textContent ?? "";
  }

  // Create charts for new figures, and forget those of removed ones. To be called after the section was fetched again.
  find() {
    this.section = document.getElementById("charts");
    const view = document.getElementById("axis") && !this.view?.axisField.isConnected ? new ChartView() : null;
    this.view = view ?? this.view;
    if (typeof uPlot === "undefined") return;
    for (const [figure, chart] of this.byFigure) if (!figure.isConnected) this.forget(figure, chart);
    for (const figure of this.section.querySelectorAll(".chart")) this.add(figure);
    this.chooseKey();
    view?.attach(this);
  }

  forget(figure, chart) {
    this.watcher.unobserve(figure);
    this.resizer.unobserve(chart.place);
    chart.remove();
    this.byFigure.delete(figure);
  }

  add(figure) {
    if (this.byFigure.has(figure)) return;
    const chart = new Chart(figure, this);
    this.byFigure.set(figure, chart);
    this.watcher.observe(figure);
    this.resizer.observe(chart.place);
  }

  // Add the charts of new keys from a fresh section; the present ones keep their zoom and metrics. Returns false if the
  // section must be replaced instead.
  merge(fresh) {
    const list = this.section.querySelector(".charts");
    if (!list?.querySelector(".chart") || !this.view) return false;
    for (const figure of fresh.querySelectorAll(".chart")) {
      if (!list.querySelector(`[data-key="${CSS.escape(figure.dataset.key)}"]`)) list.append(figure);
    }
    this.find();
    return true;
  }

  // Add the choices that the fields of a fetched page have in addition.
  addChoices(page) {
    for (const id of FIELDS) {
      const field = document.getElementById(id);
      const known = new Set([...field?.options ?? []].map(({ value }) => value));
      for (const [i, { text, value }] of [...page.getElementById(id)?.options ?? []].entries()) {
        if (!known.has(value)) field?.add(new Option(text, value), i);
      }
    }
  }

  // On a page with one chart and a field to choose its key.
  chooseKey() {
    const select = document.getElementById("key");
    const chart = this.all[0];
    if (select && chart) select.onchange = () => chart.setKeys([select.value]);
  }

  reload() {
    this.zoom(null);
    this.all.filter((chart) => chart.series.size || chart.loading).forEach((chart) => chart.load());
  }

  redraw() {
    this.all.forEach((chart) => chart.redraw());
  }

  // A chart that shows all of its own points is not zoomed. The ranges of charts may differ.
  noteZoom({ scales, data }) {
    const { min, max } = scales.x;
    const [first, last] = [data[0][0], data[0].at(-1)];
    const all = min === first && max === last;
    if (first === last || (all ? !this.range : this.range?.min === min && this.range.max === max)) return;
    this.zoom(all ? null : { min, max });
  }

  zoom(range) {
    this.range = range;
    this.view?.showZoom(range !== null);
    clearTimeout(this.pause);
    const refine = () => this.all.filter((chart) => chart.visible || !range).forEach((chart) => chart.refine());
    this.pause = setTimeout(refine, REFINE_MS);
  }

  resetZoom() {
    this.zoom(null);
    for (const { plot: uplot } of this.all) uplot?.setScale("x", { min: uplot.data[0][0], max: uplot.data[0].at(-1) });
  }

  // Returns the keys of the event that the page has no chart or row for.
  append({ points, latest }) {
    const rows = new Map([...document.querySelectorAll("#latest tr")].map((row) => [row.dataset.key, row]));
    const charted = new Set([...document.querySelectorAll("#key option, #add-chart option")].map(({ value }) => value));
    const listed = document.getElementById("beside") !== null;
    const toX = this.toX(points);
    for (const key of Object.keys(latest)) {
      const cell = rows.get(key)?.querySelector("td");
      if (cell) (cell.textContent = latest[key].text, cell.title = latest[key].full);
    }
    this.all.forEach((chart) => chart.append(points, toX, latest));
    const missing = (key) => (listed && !rows.has(key)) || (isNumber(points[key]) && !charted.has(key));
    return Object.keys(latest).filter(missing);
  }

  toX(points) {
    if (this.axis === "time") return (_, microseconds) => (microseconds - this.startUs) / 1e6;
    if (!this.axis.startsWith("key.")) return (seq) => seq;
    const counted = points[this.axis.slice(4)] ?? [];
    const values = new Map(counted.map(([seq, , value]) => [seq, value ?? undefined]));
    return (seq) => values.get(seq);
  }
}
