// Charts of metadata keys, several in one if one likes. Without uPlot the sparklines that came with the page stay.

import { loadDetail, points } from "./chart_detail.js";
import { menu, save, savePicture, table } from "./chart_menu.js";
import { plot, shortNumber, size } from "./plot.js";

const MAX_POINTS = 3000; // appended live; then the server's choice of points is fetched again
const REFINE_MS = 150; // after the last zoom
const MOST_KEYS = 8; // in one chart, as many as there are colours

// Exponential moving average, as if the values before the first had been its own.
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
    this.series = new Map(); // by key: x ascending, y, seqs, seq of the last point, points, kept, detail
    this.plot = null;
    this.loading = false;
    const value = this.caption.querySelector("b");
    this.latest = new Map([[this.keys[0], value.textContent]]);
    if (charts.view) menu(this);
  }

  get title() {
    return this.keys.join(", ");
  }

  // The values that are drawn: x, then y of each key.
  get data() {
    const found = this.keys.map((key) => this.series.get(key)).filter(Boolean).map(points);
    return found.length > 1 ? uPlot.join(found) : found[0] ?? [[], []];
  }

  async load() {
    if (this.loading) return;
    this.loading = true;
    try {
      await Promise.all(this.keys.map((key) => this.loadKey(key)));
    } finally {
      this.loading = false;
    }
    this.remake();
  }

  async loadKey(key) {
    const answer = await fetch(this.address(key));
    if (!answer.ok) return;
    const { x, y, seq, points: many, kept } = await answer.json();
    this.series.set(key, { x, y, points: many, kept, seqs: seq, seq: Math.max(-1, ...seq) });
  }

  address(key) {
    return `${this.charts.url}series?${new URLSearchParams({ key, x: this.charts.axis })}`;
  }

  // Fetch finer points of what is shown, or forget them when all is shown.
  async refine() {
    const { range } = this.charts;
    const shown = this.keys.map((key) => [this.address(key), this.series.get(key)]).filter(([, series]) => series && (range || series.detail));
    if (!shown.length) return;
    const found = await Promise.all(shown.map(([address, series]) => range && loadDetail(address, series, range)));
    if (range !== this.charts.range || !this.plot) return;
    shown.forEach(([, series], i) => (series.detail = found[i]));
    this.draw();
  }

  setKeys(keys) {
    this.keys = [...new Set(keys)].slice(0, MOST_KEYS);
    this.captions();
    return this.load();
  }

  captions() {
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
    } else this.make([data[0], ...drawn], ys.length);
    this.describe(data);
  }

  make(data, count) {
    const colours = [...this.caption.querySelectorAll(".key")].map((key) => getComputedStyle(key).color);
    const strokes = count > 1 ? colours : [getComputedStyle(this.place).color];
    const faint = { alpha: 0.3, width: 1 };
    this.plot = plot(this.place, data, {
      sync: "metadata",
      log: this.charts.log,
      strokes: [...strokes, ...strokes],
      lines: data.length - 1 > count ? data.slice(1).map((_, i) => (i < count ? faint : {})) : [],
      setCursor: ({ cursor }) => this.showCursor(cursor.idx),
      setScale: (made, scale) => scale === "x" && this.charts.noteZoom(made),
    });
    if (this.charts.range) this.plot.setScale("x", { ...this.charts.range });
  }

  describe([x, ...ys]) {
    const found = this.keys.map((key) => this.series.get(key)).filter(Boolean);
    const all = found.reduce((sum, { points }) => sum + points, 0);
    const lost = found.reduce((sum, { points, kept }) => sum + points - kept, 0);
    const shown = found.reduce((sum, one) => sum + points(one)[0].length, 0);
    const number = (value) => value.toLocaleString("en-US");
    const stored = lost ? `, ${number(all - lost)} stored` : "";
    const said = shown < all ? `${number(shown)} of ${number(all)} points${stored}, with all peaks` : `${number(all)} ${all === 1 ? "point" : "points"}`;
    this.note.textContent = said;
    const values = ys.flat().filter((value) => typeof value === "number");
    const low = shortNumber(Math.min(...values));
    const high = shortNumber(Math.max(...values));
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", `${this.title} over ${this.charts.axisName}: ${said}, ${low} to ${high}, x from ${shortNumber(x[0])} to ${shortNumber(x.at(-1))}`);
  }

  remake() {
    this.plot?.destroy();
    this.plot = null;
    if (this.series.size) this.draw();
  }

  showCursor(index) {
    const { data } = this;
    [...this.caption.querySelectorAll(".key b")].forEach((value, i) => {
      const at = index === null || index === undefined ? null : data[i + 1]?.[index];
      const alone = this.keys.length === 1 ? ` at ${shortNumber(data[0][index])}` : "";
      value.textContent = at === null || at === undefined ? this.latest.get(this.keys[i]) ?? this.charts.latest(this.keys[i]) : `${shortNumber(at)}${alone}`;
    });
  }

  // `points` are, by key, [seq, microseconds, number or null]; `xs` maps seq to x.
  append(points, xs, latest) {
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
        const at = xs(seq, microseconds);
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
    save(`${this.charts.url}series.csv?${query}`);
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
  // `view` is what one has chosen on the page with all charts; on others there is none.
  constructor(url, startedAt, view = null) {
    this.url = url;
    this.view = view;
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
        const made = this.byFigure.get(target.closest(".chart"))?.plot;
        const now = size(target);
        if (made && (made.width !== now.width || made.height !== now.height)) made.setSize(now);
      }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.all.forEach((chart) => chart.remake()));
    this.byFigure = new Map();
    this.find();
    view?.begin(this);
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

  // Call this after the section was fetched again. Figures that are still there keep their charts.
  find() {
    this.section = document.getElementById("charts");
    if (typeof uPlot === "undefined") return;
    for (const [figure] of this.byFigure) if (!figure.isConnected) this.byFigure.delete(figure);
    for (const figure of this.section.querySelectorAll(".chart")) this.add(figure);
    this.chooseKey();
  }

  add(figure) {
    if (this.byFigure.has(figure)) return;
    const chart = new Chart(figure, this);
    this.byFigure.set(figure, chart);
    this.watcher.observe(figure);
    this.resizer.observe(chart.place);
  }

  // Charts of new keys only: those on the page keep what one has done with them. False if they do not fit there.
  merge(fresh) {
    const list = this.section.querySelector(".charts");
    if (!list?.querySelector(".chart") || !this.view) return false;
    for (const figure of fresh.querySelectorAll(".chart")) {
      if (!list.querySelector(`[data-key="${CSS.escape(figure.dataset.key)}"]`)) list.append(figure);
    }
    this.find();
    return true;
  }

  // Where the page has one chart for all keys.
  chooseKey() {
    const select = document.getElementById("key");
    const chart = this.all[0];
    if (select && chart) select.onchange = () => chart.setKeys([select.value]);
  }

  reload() {
    this.zoom(null);
    this.all.filter((chart) => chart.series.size).forEach((chart) => chart.load());
  }

  remake() {
    this.all.forEach((chart) => chart.remake());
  }

  // A chart that shows exactly its own values is not zoomed; charts may reach differently far.
  noteZoom(made) {
    const { min, max } = made.scales.x;
    const [first, last] = [made.data[0][0], made.data[0].at(-1)];
    const all = min === first && max === last;
    if (first === last || (all ? !this.range : this.range?.min === min && this.range.max === max)) return;
    this.zoom(all ? null : { min, max });
  }

  zoom(range) {
    this.range = range;
    this.view?.showZoom(range !== null);
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.all.filter((chart) => chart.visible || !range).forEach((chart) => chart.refine()), REFINE_MS);
  }

  resetZoom() {
    this.zoom(null);
    for (const { plot: made } of this.all) made?.setScale("x", { min: made.data[0][0], max: made.data[0].at(-1) });
  }

  // Returns false if the event has a key without a chart: the section must be fetched again.
  append({ points, latest }) {
    const rows = new Map([...document.querySelectorAll("#latest tr")].map((row) => [row.dataset.key, row]));
    const known = new Set([...rows.keys(), ...this.all.flatMap((chart) => chart.keys), ...(this.view?.keys ?? [])]);
    const xs = this.xs(points);
    for (const key of Object.keys(latest)) {
      const cell = rows.get(key)?.querySelector("td");
      if (cell) (cell.textContent = latest[key].text, cell.title = latest[key].full);
    }
    this.all.forEach((chart) => chart.append(points, xs, latest));
    return Object.keys(latest).every((key) => known.has(key));
  }

  xs(points) {
    if (this.axis === "time") return (_, microseconds) => (microseconds - this.startUs) / 1e6;
    if (!this.axis.startsWith("key.")) return (seq) => seq;
    const counted = points[this.axis.slice(4)] ?? [];
    const values = new Map(counted.map(([seq, , value]) => [seq, value ?? undefined]));
    return (seq) => values.get(seq);
  }
}
