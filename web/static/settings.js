// Redirect old addresses of the settings, once one page with anchors, to the section that has the anchor.

const anchor = location.hash.slice(1);
const picked = new URLSearchParams(location.search).size > 0 ? "badge" : "";
for (const link of document.querySelectorAll("[data-anchors]")) {
  if (link.dataset.anchors.split(" ").includes(anchor || picked)) location.replace(link.href + location.search);
}
