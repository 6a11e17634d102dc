// The chart of a task, drawn again after each update of the page.

import { plot, shortNumber, size } from "./plot.js";

let chart = null;
let drawn = null;
const resizer = new ResizeObserver(([{ target }]) => {
  if (chart && chart.width !== target.clientWidth) chart.setSize(size(target));
});

// Trials are dots, the best value so far is a line of steps.
function draw() {
  chart?.destroy();
  chart = null;
  resizer.disconnect();
  const figure = document.getElementById("curve");
  drawn = figure?.dataset.series;
  const { x, y, best } = figure ? JSON.parse(figure.dataset.series) : {};
  if (typeof uPlot === "undefined" || !y?.some((value) => value !== null)) return;
  const place = figure.querySelector(".plot");
  const { color } = getComputedStyle(figure.querySelector(".note"));
  chart = plot(place, [x, y, best], {
    sync: "task",
    strokes: [color, getComputedStyle(place).color],
    lines: [
      { paths: () => null, points: { show: true, size: 5, fill: color } },
      { width: 2, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) },
    ],
    setCursor: ({ cursor: { idx } }) => {
      const value = shortNumber(y[idx]);
      figure.querySelector("b").textContent = value && `${value} at trial ${x[idx]}`;
    },
  });
  resizer.observe(place);
}

draw();
document.addEventListener("refreshed", () => document.getElementById("curve")?.dataset.series !== drawn && draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
