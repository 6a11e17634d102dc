// The settings of the page with all charts, kept in its address: axis, logarithmic scale, smoothing, and which metrics
// share a chart.

const MOST_CHARTS = 50;

export class ChartView {
  constructor() {
    this.axisField = document.getElementById("axis");
    this.logField = document.getElementById("log-scale");
    this.smoothField = document.getElementById("smoothing");
    this.reset = document.getElementById("reset-zoom");
    this.more = document.getElementById("add-chart");
    const given = new URLSearchParams(location.search);
    const axis = given.get("x");
    if ([...this.axisField.options].some(({ value }) => value === axis)) this.axisField.value = axis;
    this.logField.checked = given.get("log") === "1";
    this.smoothField.value = Number(given.get("smooth")) || 0;
    this.wanted = given.get("charts");
  }

  get axis() {
    return this.axisField.value;
  }

  get log() {
    return this.logField.checked;
  }

  get smoothing() {
    return Number(this.smoothField.value);
  }

  get keys() {
    return [...this.more.options].map(({ value }) => value).filter(Boolean);
  }

  attach(charts) {
    this.charts = charts;
    const changed = (field, act) => field.addEventListener("change", () => (act(), this.remember()));
    changed(this.axisField, () => charts.reload());
    changed(this.logField, () => charts.redraw());
    this.smoothField.addEventListener("input", () => charts.redraw());
    changed(this.smoothField, () => {});
    this.reset.addEventListener("click", () => charts.resetZoom());
    changed(this.more, () => {
      this.show([this.more.value]);
      this.more.value = "";
    });
    for (const keys of this.lists()) this.show(keys);
  }

  // The charts in the address, each a list of keys. It may contain anything.
  lists() {
    try {
      const lists = JSON.parse(this.wanted ?? "[]");
      const known = (keys) => Array.isArray(keys) && keys.length && keys.every((key) => this.keys.includes(key));
      return lists.filter(known).slice(0, MOST_CHARTS);
    } catch {
      return [];
    }
  }

  // Show these keys in the chart of the first one. A missing chart is added, as a copy of another figure.
  show([first, ...others]) {
    let chart = this.charts.all.find(({ keys }) => keys[0] === first);
    const model = this.charts.all[0];
    if (!chart && model) {
      const figure = model.figure.cloneNode(true);
      figure.dataset.key = first;
      figure.querySelectorAll(".menu, .data-table, .key + .key").forEach((part) => part.remove());
      figure.querySelector(".plot").replaceChildren();
      figure.querySelector(".clip").textContent = first;
      figure.querySelector("b").textContent = "";
      model.figure.parentElement.append(figure);
      this.charts.add(figure);
      chart = this.charts.byFigure.get(figure);
      chart.added = true;
    }
    chart?.setKeys([first, ...others]);
  }

  showZoom(zoomed) {
    this.reset.disabled = !zoomed;
  }

  remember() {
    const query = new URLSearchParams();
    if (this.axisField.selectedIndex > 0) query.set("x", this.axis);
    if (this.log) query.set("log", "1");
    if (this.smoothing) query.set("smooth", this.smoothing);
    const lists = this.charts.all.filter(({ keys, added }) => keys.length > 1 || added).map(({ keys }) => keys);
    if (lists.length) query.set("charts", JSON.stringify(lists));
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
  }
}
