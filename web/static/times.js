// Keep the durations and the "… ago" times that the server has rendered up to date.

const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];

export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [unit, name, smaller, smallerName] of UNITS) {
    if (whole >= unit) {
      const rest = Math.floor((whole % unit) / smaller);
      return `${Math.floor(whole / unit)} ${name}` + (rest ? ` ${rest} ${smallerName}` : "");
    }
  }
  return `${whole} s`;
}

function ago(seconds) {
  if (seconds < 10) return "just now";
  for (const [unit, name] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (seconds >= unit) return `${Math.floor(seconds / unit)} ${name} ago`;
  }
}

// Keep the text node, so that patch.js finds it.
function write(element, text) {
  if (element.firstChild.data !== text) element.firstChild.data = text;
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-since]")) {
    write(element, duration((now - Date.parse(element.dataset.since)) / 1000));
  }
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = (now - Date.parse(element.dateTime)) / 1000;
    if (seconds >= 0 && seconds < 30 * 86400) write(element, ago(seconds));
  }
}

setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);
