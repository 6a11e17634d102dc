// What one has chosen on the page with all charts: axis, logarithm, smoothing, metrics in one chart. It is in the address.

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
    this.asked = given.get("charts");
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

  begin(charts) {
    this.charts = charts;
    const changed = (field, act) => field.addEventListener("change", () => (act(), this.remember()));
    changed(this.axisField, () => charts.reload());
    changed(this.logField, () => charts.remake());
    this.smoothField.addEventListener("input", () => charts.remake());
    changed(this.smoothField, () => {});
    this.reset.addEventListener("click", () => charts.resetZoom());
    changed(this.more, () => {
      this.show([this.more.value]);
      this.more.value = "";
    });
    for (const keys of this.lists()) this.show(keys);
  }

  // Charts of the address: lists of keys. All of it may be wrong.
  lists() {
    try {
      const lists = JSON.parse(this.asked ?? "[]");
      return lists.filter((keys) => Array.isArray(keys) && keys.length && keys.every((key) => this.keys.includes(key))).slice(0, 50);
    } catch {
      return [];
    }
  }

  // Show these keys in the chart of the first one, which is made where it is not there.
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
