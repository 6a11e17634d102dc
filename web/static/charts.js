// One small chart per metadata key, by uPlot. Without it the sparklines that came with the page stay.

const MAX_POINTS = 3000; // appended live; then the server's choice of points is fetched again
const HEIGHT = 116;
const SMALL_HEIGHT = 90;

export function shortNumber(value) {
  if (value === null || value === undefined) return "";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  const [digits, exponent] = (size < 1e-4 || size >= 1e9 ? value.toExponential(3) : value.toPrecision(4)).split("e");
  const short = digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
  return exponent ? `${short}e${Number(exponent)}` : short;
}

export function tick(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${shortNumber(value / 1e6)}M`;
  return size >= 1e4 ? `${shortNumber(value / 1e3)}k` : shortNumber(value);
}

export function size(place) {
  return { width: place.clientWidth, height: place.clientHeight || (innerWidth > 640 ? HEIGHT : SMALL_HEIGHT) };
}

// Draw `data`, [x, y, …], in the `.plot` of a figure. Charts with the same `sync` share a cursor. `lines` are what uPlot
// is to do differently for each y.
export function plot(place, data, { sync, setCursor, strokes, lines, xTick = tick, yTick = tick, yRange, yIncrs }) {
  place.replaceChildren();
  const { width, height } = size(place);
  const style = getComputedStyle(place);
  const figure = place.closest(".chart");
  const grid = { stroke: getComputedStyle(figure).borderTopColor, width: 1 };
  const font = `11px ${style.fontFamily}`;
  const stroke = getComputedStyle(figure.querySelector(".note")).color;
  const axis = { stroke, grid, ticks: { show: false }, font, gap: 4 };
  const wide = (_, labels) => 10 + 6.5 * Math.max(2, ...(labels ?? []).map((label) => label.length));
  const values = (format) => (_, splits) => splits.map(format);
  const line = { width: 1.5, points: { show: data[0].length < 2 }, spanGaps: true };
  return new uPlot({
    width, height,
    padding: [8, 6, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: sync }, points: { size: 6 }, y: false },
    scales: { x: { time: false }, y: yRange ? { range: yRange } : {} },
    axes: [{ ...axis, size: 20, space: 44, values: values(xTick) }, { ...axis, size: wide, space: 28, values: values(yTick), ...(yIncrs && { incrs: yIncrs }) }],
    series: [{}, ...data.slice(1).map((_, i) => ({ ...line, stroke: strokes?.[i] ?? style.color, dash: i < 6 ? [] : [4, 3], ...lines?.[i] }))],
    hooks: { setCursor: [setCursor] },
  }, data, place);
}

class Chart {
  constructor(figure, charts) {
    this.figure = figure;
    this.charts = charts;
    this.key = figure.dataset.key;
    this.place = figure.querySelector(".plot");
    this.value = figure.querySelector("b");
    this.note = figure.querySelector(".note");
    this.data = null; // [x, y], ascending x
    this.plot = null;
    this.loading = false;
    this.seq = -1;
  }

  async load() {
    if (this.loading) return;
    this.loading = true;
    try {
      const query = new URLSearchParams({ key: this.key, x: this.charts.axis });
      const answer = await fetch(`${this.charts.url}series?${query}`);
      if (!answer.ok) return;
      const { x, y, seq, points, kept } = await answer.json();
      this.data = [x, y];
      this.points = points;
      this.lost = points - kept;
      this.seq = Math.max(-1, ...seq);
      this.draw();
    } finally {
      this.loading = false;
    }
  }

  draw() {
    if (!this.data[0].length) return;
    if (this.plot) this.plot.setData(this.data);
    else this.make();
    const shown = this.data[0].length;
    const all = this.points.toLocaleString("en-US");
    const stored = this.lost ? `, ${(this.points - this.lost).toLocaleString("en-US")} stored` : "";
    this.note.textContent = shown < this.points ? `${shown} of ${all} points${stored}, with all peaks` : `${all} points`;
  }

  make() {
    this.plot = plot(this.place, this.data, { sync: "metadata", setCursor: (made) => this.showCursor(made) });
  }

  remake() {
    this.plot?.destroy();
    this.plot = null;
    if (this.data) this.draw();
  }

  showCursor(plot) {
    const index = plot.cursor.idx;
    this.value.textContent = index === null || index === undefined ? this.latest ?? this.value.textContent
      : `${shortNumber(this.data[1][index])} at ${shortNumber(this.data[0][index])}`;
    if (this.latest === undefined) this.latest = this.value.dataset.latest;
  }

  // `points` are [seq, microseconds, number or null]; `xs` maps seq to x.
  append(points, xs, latest) {
    this.latest = this.value.dataset.latest = latest.text;
    this.value.textContent = latest.text;
    this.value.title = latest.full;
    if (!this.data) return;
    const [x, y] = this.data;
    let stale = x.length > MAX_POINTS;
    for (const [seq, microseconds, value] of points) {
      if (seq <= this.seq || value === null) continue;
      const at = xs(seq, microseconds);
      if (at === undefined || at < x[x.length - 1]) stale = true;
      else (x.push(at), y.push(value));
      this.seq = seq;
      this.points += 1;
    }
    if (stale) this.load();
    else this.draw();
  }
}

export class Charts {
  constructor(url, startedAt) {
    this.url = url;
    this.startUs = Date.parse(startedAt) * 1000;
    this.watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = this.byFigure.get(target);
        if (isIntersecting && chart && !chart.data) chart.load();
      }
    }, { rootMargin: "200px" });
    this.resizer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const chart = this.byFigure.get(target.closest(".chart"));
        if (chart?.plot && chart.plot.width !== target.clientWidth) chart.plot.setSize(size(target));
      }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.all.forEach((chart) => chart.remake()));
    this.find();
  }

  get all() {
    return [...this.byFigure.values()];
  }

  // After the section has been fetched anew.
  find() {
    this.watcher.disconnect();
    this.resizer.disconnect();
    this.section = document.getElementById("charts");
    this.byFigure = new Map();
    if (typeof uPlot === "undefined") return;
    for (const figure of this.section.querySelectorAll(".chart")) {
      const chart = new Chart(figure, this);
      chart.value.dataset.latest = chart.value.textContent;
      chart.latest = chart.value.textContent;
      this.byFigure.set(figure, chart);
      this.watcher.observe(figure);
      this.resizer.observe(chart.place);
    }
    this.chooseAxis();
    this.chooseKey();
  }

  // Where the page has one chart for all keys.
  chooseKey() {
    const select = document.getElementById("key");
    const figure = this.section.querySelector(".chart");
    if (!select || !figure) return;
    select.onchange = () => {
      figure.dataset.key = figure.querySelector("figcaption .clip").textContent = select.value;
      figure.querySelector("b").textContent = document.querySelector(`#latest [data-key="${CSS.escape(select.value)}"] td`)?.textContent ?? "";
      figure.querySelector(".plot").replaceChildren();
      this.find();
    };
  }

  chooseAxis() {
    const select = document.getElementById("axis");
    if (!select) {
      const { axis } = this.section.dataset;
      this.axis = axis ? `key.${axis}` : "number";
      return;
    }
    if (this.axis && [...select.options].some((option) => option.value === this.axis)) select.value = this.axis;
    this.axis = select.value;
    select.addEventListener("change", () => {
      this.axis = select.value;
      this.all.filter((chart) => chart.data).forEach((chart) => chart.load());
    });
  }

  // True when every key of the event is known here; otherwise the section must be fetched anew.
  append({ points, latest }) {
    const rows = new Map([...document.querySelectorAll("#latest tr")].map((row) => [row.dataset.key, row]));
    const charts = new Map(this.all.map((chart) => [chart.key, chart]));
    const xs = this.xs(points);
    let known = true;
    for (const key of Object.keys(latest)) {
      const cell = rows.get(key)?.querySelector("td");
      if (!cell) known = false;
      else (cell.textContent = latest[key].text, cell.title = latest[key].full);
      charts.get(key)?.append(points[key], xs, latest[key]);
    }
    return known;
  }

  xs(points) {
    if (this.axis === "time") return (_, microseconds) => (microseconds - this.startUs) / 1e6;
    if (!this.axis?.startsWith("key.")) return (seq) => seq;
    const counted = points[this.axis.slice(4)] ?? [];
    const values = new Map(counted.map(([seq, , value]) => [seq, value ?? undefined]));
    return (seq) => values.get(seq);
  }
}
