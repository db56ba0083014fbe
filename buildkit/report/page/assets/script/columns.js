// The columns of the table of all tasks: what they hold, how wide they are, and how they sort.

// `least`: the width of the table in pixels from which the column is shown.
const COLUMNS = [
  { id: "name", title: "Task", text: true, width: null, least: 0, value: (task) => task.folded },
  {
    id: "outcome",
    title: "Outcome",
    text: true,
    width: 118,
    least: 0,
    value: (task) => INTEREST.indexOf(task.outcome),
  },
  {
    id: "wall",
    title: "Time",
    width: 108,
    least: 0,
    value: (task) => task.wall || null,
    show: (task) => (task.wall ? duration(task.wall) : ""),
  },
  {
    id: "change",
    title: "Change",
    width: 84,
    least: 520,
    value: (task) => task.change,
    show: (task) => change(task.change),
  },
  {
    id: "cpu",
    title: "CPU",
    width: 108,
    least: 760,
    value: (task) => task.cpu,
    show: (task) => duration(task.cpu),
  },
  {
    id: "rss",
    title: "Memory",
    width: 96,
    least: 860,
    value: (task) => task.rss,
    show: (task) => size(task.rss),
  },
  {
    id: "queue",
    title: "Waited",
    width: 112,
    least: 960,
    value: (task) => task.queue || null,
    show: (task) => (task.queue >= 1000 ? duration(task.queue) : ""),
  },
  {
    id: "reason",
    title: "Reason",
    text: true,
    width: 260,
    least: 640,
    value: (task) => task.reason,
    show: (task) => task.reason,
  },
];
const INTEREST = [7, 3, 6, 4, 0, 1, 5, 2]; // codes of outcomes, the most telling first
const NARROW = 520; // pixels

/** The columns for which there is room in so many pixels. */
function columnsFor(room) {
  return COLUMNS.filter((column) => room >= column.least);
}

/** Pixels, or null for what is left. A narrow table shows the signs of outcomes alone. */
function widthOf(column, room) {
  if (room < NARROW && column.id === "outcome") return 44;
  if (room < NARROW && column.id === "wall") return 96;
  return column.width;
}

/** The tasks in the order of a column; what is unknown comes last, and equal ones by their time. */
function sortedBy(tasks, { id, down }) {
  const { value } = COLUMNS.find((column) => column.id === id);
  const sign = down ? -1 : 1;
  const keyed = tasks.map((task) => [value(task), task]);
  keyed.sort(([one, first], [other, second]) => {
    if (one === null || other === null) return (one === null) - (other === null) || second.wall - first.wall;
    if (one < other) return -sign;
    if (one > other) return sign;
    return second.wall - first.wall || first.index - second.index;
  });
  return keyed.map(([, task]) => task);
}

function cellOf(column, task) {
  if (column.id === "name") {
    const mark = element(
      "span",
      task.critical ? { class: "on-path", title: "on the critical path" } : { class: "off-path" },
    );
    return element("td", { title: task.name }, mark, task.name);
  }
  if (column.id === "outcome") return element("td", {}, badge(task.outcome, true));
  const text = column.show(task);
  const changed = column.id === "change" && task.change !== null && Math.abs(task.change - 1) >= 0.1;
  const kind = changed ? (task.change > 1 ? "worse" : "better") : "";
  return element(
    "td",
    { class: `${column.text ? "" : "right"} ${kind}`, title: column.text ? text : null },
    text,
  );
}
