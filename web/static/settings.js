// All settings were on one page once: an address of that page with an anchor leads to the section that has it now.

const anchor = location.hash.slice(1);
const picked = new URLSearchParams(location.search).size > 0 ? "badge" : "";
for (const link of document.querySelectorAll("[data-anchors]")) {
  if (link.dataset.anchors.split(" ").includes(anchor || picked)) location.replace(link.href + location.search);
}
