// Finer points of the part of a series that a zoomed chart shows.

// Returns the part between `min` and `max` of the x axis, with the metadata lines from which and up to which it reaches;
// null where all points are drawn already.
export async function loadDetail(address, { x, seqs, kept }, { min, max }) {
  if (!x.length || x.length >= kept) return null;
  const after = x.findIndex((value) => value >= min);
  const from = Math.max(0, (after < 0 ? x.length : after) - 1);
  const to = Math.min(x.length - 1, x.findLastIndex((value) => value <= max) + 1);
  const lines = seqs.slice(Math.min(from, to), Math.max(from, to) + 1);
  const [first, end] = [lines.reduce((a, b) => Math.min(a, b)), lines.reduce((a, b) => Math.max(a, b)) + 1];
  const answer = await fetch(`${address}&first=${first}&end=${end}`);
  return answer.ok ? { ...await answer.json(), first, end } : null;
}

// The points of a series, those of its detail in place of the coarser ones.
export function points({ x, y, seqs, detail }) {
  if (!detail) return [x, y];
  const around = x.map((at, i) => [at, y[i], seqs[i]]).filter(([, , seq]) => seq < detail.first || seq >= detail.end);
  const all = [...around, ...detail.x.map((at, i) => [at, detail.y[i]])].sort((a, b) => a[0] - b[0]);
  return [all.map(([at]) => at), all.map(([, value]) => value)];
}
