// Finer points for the visible part of a series when its chart is zoomed.

import { persistentFetch } from "./persistent_fetch.js";

// Fetch the points from `min` to `max` on the x axis. `first` and `end` in the result are the metadata lines that they
// cover. Returns null if the series already has every point.
export async function loadDetail(address, { x, seqs, kept }, { min, max }) {
  if (!x.length || x.length >= kept) return null;
  const after = x.findIndex((value) => value >= min);
  const from = Math.max(0, (after < 0 ? x.length : after) - 1);
  const to = Math.min(x.length - 1, x.findLastIndex((value) => value <= max) + 1);
  const lines = seqs.slice(Math.min(from, to), Math.max(from, to) + 1);
  const [first, end] = [lines.reduce((a, b) => Math.min(a, b)), lines.reduce((a, b) => Math.max(a, b)) + 1];
  const answer = await persistentFetch(`${address}&first=${first}&end=${end}`);
  return answer.ok ? { ...await answer.json(), first, end } : null;
}

// [x, y] of a series, in which the finer points replace the coarse ones of the same lines.
export function points({ x, y, seqs, detail }) {
  if (!detail) return [x, y];
  const around = x.map((at, i) => [at, y[i], seqs[i]]).filter(([, , seq]) => seq < detail.first || seq >= detail.end);
  const all = [...around, ...detail.x.map((at, i) => [at, detail.y[i]])].sort((a, b) => a[0] - b[0]);
  return [all.map(([at]) => at), all.map(([, value]) => value)];
}
