// Drawing with uPlot, and short forms of numbers.

const HEIGHT = 116;
const SMALL_HEIGHT = 90;
const WHOLE = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

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

const whole = (values) => values.every((value) => value === null || value === undefined || Number.isInteger(value));

// Integer values get integer ticks. uPlot chooses the ticks of logarithmic axes.
function steps([, ...ys], incrs, log) {
  if (log) return {};
  if (incrs) return { incrs };
  return ys.every(whole) ? { incrs: WHOLE } : {};
}

// Draw `data`, [x, y, …], in the `.plot` of a figure, in place of a sparkline, whose accessible name it keeps. Charts
// with the same `sync` share a cursor. `lines` has uPlot's options for each y, `log` is for the y axis, and `setScale`
// is called on zooming.
export function plot(place, data, options) {
  const { sync, setCursor, setScale, strokes, lines, log, xTick = tick, yTick = tick, yRange, yIncrs } = options;
  const name = place.querySelector("svg")?.ariaLabel;
  if (name) Object.assign(place, { role: "img", ariaLabel: name });
  place.replaceChildren();
  const { width, height } = size(place);
  const style = getComputedStyle(place);
  const figure = place.closest(".chart");
  const grid = { stroke: getComputedStyle(figure).borderTopColor, width: 1 };
  const font = `12px ${style.fontFamily}`;
  const stroke = getComputedStyle(figure.querySelector(".note")).color;
  const axis = { stroke, grid, ticks: { show: false }, font, gap: 4 };
  const wide = (_, labels) => 10 + 7 * Math.max(2, ...(labels ?? []).map((label) => label.length));
  const values = (format) => (_, splits) => splits.map(format);
  const lineStyle = (i) => ({ stroke: strokes?.[i] ?? style.color, dash: i < 6 ? [] : [4, 3] });
  const line = { width: 1.5, points: { show: data[0].length < 2 }, spanGaps: true };
  return new uPlot({
    width, height,
    padding: [8, 6, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: sync }, points: { size: 6 }, y: false },
    scales: { x: { time: false }, y: { ...(yRange && { range: yRange }), distr: log ? 3 : 1 } },
    axes: [
      { ...axis, size: 20, space: 44, values: values(xTick), ...(whole(data[0]) && { incrs: WHOLE }) },
      { ...axis, size: wide, space: 28, values: values(yTick), ...steps(data, yIncrs, log) },
    ],
    series: [{}, ...data.slice(1).map((_, i) => ({ ...line, ...lineStyle(i), ...lines?.[i] }))],
    hooks: { setCursor: [setCursor], ...(setScale && { setScale: [setScale] }) },
  }, data, place);
}
