// The menu of a chart: add a metric, full screen, table of values, download.

const MOST_ROWS = 1000; // of a table; the CSV has all

export function addMenu(chart) {
  const details = document.createElement("details");
  details.className = "menu chart-menu";
  details.innerHTML = `<summary></summary><div>
<label>Add metric <select></select></label>
<button type="button" class="plain" data-do="large">Full screen</button>
<button type="button" class="plain" data-do="table">Table of values</button>
<button type="button" class="plain" data-do="picture">Save as PNG</button>
<button type="button" class="plain" data-do="values">Save all values as CSV</button>
</div>`;
  details.querySelector("summary").setAttribute("aria-label", `Menu of chart ${chart.title}`);
  const select = details.querySelector("select");
  details.addEventListener("toggle", () => {
    const others = (chart.charts.view?.keys ?? []).filter((key) => !chart.keys.includes(key));
    select.replaceChildren(new Option("Choose…", ""), ...others.map((key) => new Option(key, key)));
  });
  select.addEventListener("change", () => {
    details.open = false;
    chart.setKeys([...chart.keys, select.value]);
    chart.charts.view.remember();
  });
  const acts = {
    large: () => (document.fullscreenElement ? document.exitFullscreen() : chart.figure.requestFullscreen()),
    table: () => chart.toggleTable(),
    picture: () => chart.savePicture(),
    values: () => chart.saveValues(),
  };
  details.addEventListener("click", ({ target }) => {
    const act = acts[target.dataset?.do];
    if (!act) return;
    details.open = false;
    act();
  });
  chart.caption.append(details);
}

export function download(address, name = "") {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

// Download a PNG of the chart with its title, on the background colour of the page.
export function savePicture(plot, figure, title) {
  if (!plot) return;
  const { canvas } = plot.ctx;
  const copy = document.createElement("canvas");
  const ratio = canvas.width / plot.width;
  copy.width = canvas.width;
  copy.height = canvas.height + 24 * ratio;
  const paper = copy.getContext("2d");
  paper.fillStyle = getComputedStyle(document.documentElement).backgroundColor;
  paper.fillRect(0, 0, copy.width, copy.height);
  paper.fillStyle = getComputedStyle(figure).color;
  paper.font = `${14 * ratio}px sans-serif`;
  paper.fillText(title, 10 * ratio, 17 * ratio);
  paper.drawImage(canvas, 0, 24 * ratio);
  copy.toBlob((picture) => {
    const address = URL.createObjectURL(picture);
    download(address, `${title.replace(/[^\w.-]+/g, "_")}.png`);
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  });
}

// The drawn values as text, for screen readers among others.
export function table(axis, keys, [x, ...ys]) {
  const box = document.createElement("div");
  box.className = "data-table table-box";
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `Values of ${keys.join(", ")}`);
  const made = document.createElement("table");
  const row = (place, cells, name) => {
    const line = place.insertRow();
    for (const text of cells) {
      const cell = document.createElement(name);
      if (name === "th") cell.scope = "col";
      cell.className = "n";
      cell.textContent = text ?? "";
      line.append(cell);
    }
  };
  row(made.createTHead(), [axis, ...keys], "th");
  const body = made.createTBody();
  for (let i = 0; i < Math.min(x.length, MOST_ROWS); i += 1) row(body, [x[i], ...ys.map((y) => y[i])], "td");
  box.append(made);
  return box;
}
