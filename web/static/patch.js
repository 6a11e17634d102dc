// Update a part of the page to a new version from the server. It changes only what differs from the server's previous
// version, so focus, selection, input, opened and scrolled elements, and changes by scripts stay.

const shown = new WeakMap(); // the server's version of each node of the page

// `node` is part of the page as it was loaded, and `server` an equal copy.
export function remember(node, server) {
  shown.set(node, server);
  node.childNodes.forEach((child, i) => remember(child, server.childNodes[i]));
}

// Returns the new elements that have an id, such as rows.
export function patch(node, fresh) {
  const before = shown.get(node);
  if (before.isEqualNode(fresh)) return [];
  shown.set(node, fresh);
  if (node.nodeType !== Node.ELEMENT_NODE) {
    node.nodeValue = fresh.nodeValue;
    return [];
  }
  for (const { name } of [...before.attributes, ...fresh.attributes]) {
    const value = fresh.getAttribute(name);
    if (value === before.getAttribute(name)) continue;
    if (value === null) node.removeAttribute(name);
    else node.setAttribute(name, value);
  }
  const ours = [...node.childNodes].filter((child) => shown.has(child)); // not those that scripts have added
  if (ours.length !== before.childNodes.length) return []; // a script draws here
  return patchChildren(node, ours, fresh);
}

function patchChildren(node, ours, fresh) {
  const matching = match(ours, [...fresh.childNodes]);
  const kept = new Set(matching.values());
  for (const child of ours) if (!kept.has(child)) child.remove();
  const added = [];
  let place = ours.find((child) => kept.has(child)) ?? null;
  for (const version of fresh.childNodes) {
    let child = matching.get(version);
    if (child) added.push(...patch(child, version));
    else {
      child = document.importNode(version, true);
      remember(child, version);
      if (child.id) added.push(child);
    }
    if (child === place) place = next(place);
    else move(node, child, place);
  }
  return added;
}

function next(child) {
  do child = child.nextSibling;
  while (child && !shown.has(child));
  return child;
}

// Elements match by id. Those without an id match the first unmatched element of the same name.
function match(ours, versions) {
  const key = (node) => (node.id ? `id ${node.id}` : node.nodeName);
  const left = new Map();
  for (const node of ours) left.set(key(node), [...(left.get(key(node)) ?? []), node]);
  return new Map(versions.map((version) => [version, left.get(key(version))?.shift()]).filter(([, child]) => child));
}

function move(parent, child, place) {
  const focused = child.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(child, place);
  focused?.focus({ preventScroll: true });
}
