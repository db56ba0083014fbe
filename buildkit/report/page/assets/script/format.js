// Numbers and texts as a person reads them, and elements made of them.
// Everything that comes from a build is untrusted: it enters the page as text, never as markup.

/** Three significant digits, no more than two decimals. */
function digits(value) {
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

/** Microseconds as `12.3 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`. */
function duration(us) {
  if (us === null || us === undefined) return "";
  if (us < 0) return `-${duration(-us)}`;
  if (us < 999_500) return `${digits(us / 1e3)} ms`;
  if (us < 59_950_000) return `${digits(us / 1e6)} s`;
  const seconds = Math.round(us / 1e6);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
  const minutes = Math.round(us / 60e6);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** Bytes in powers of 1024. */
function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 999.5 && unit < units.length - 1; unit++) value /= 1024;
  return unit ? `${digits(value)} ${units[unit]}` : `${value} B`;
}

/** A ratio of new to old as `+12%`, from tenfold on as `×12`. */
function change(ratio) {
  if (ratio === null || ratio === undefined) return "";
  if (ratio >= 10) return `×${ratio.toFixed(0)}`;
  const points = Math.round((ratio - 1) * 100);
  return `${points < 0 ? "−" : "+"}${Math.abs(points)}%`;
}

function percent(share) {
  return share > 0 && share < 0.01 ? "<1%" : `${Math.round(share * 100)}%`;
}

/** How sure a verdict is; never all the way. */
function sure(confidence) {
  return confidence > 0.99 ? "more than 99% sure" : `${Math.floor(confidence * 100)}% sure`;
}

function count(number, noun, several = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : several}`;
}

/** Unix seconds in the reader's time zone: `2026-03-04 15:06`. */
function moment(unix) {
  const at = new Date(unix * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

function shortCommit(commit) {
  return commit ? commit.slice(0, 9) : "";
}

/** An element with properties and children; a child that is a text stays a text. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "style") Object.assign(made.style, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function byId(id) {
  return document.getElementById(id);
}

function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}
