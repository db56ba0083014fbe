// The report as objects. The embedded JSON holds columns, because ten thousand tasks repeat no names there.

// In the order of the codes that the JSON uses; `kind` names the colour and the sign.
const OUTCOMES = [
  { name: "executed", kind: "executed", sign: "▸", word: "executed" },
  { name: "restored", kind: "restored", sign: "↺", word: "restored" },
  { name: "skipped", kind: "skipped", sign: "–", word: "skipped" },
  { name: "failed", kind: "failed", sign: "✕", word: "failed" },
  { name: "upstream-failed", kind: "other", sign: "!", word: "not started" },
  { name: "ignored", kind: "other", sign: "○", word: "ignored" },
  { name: "cancelled", kind: "other", sign: "■", word: "cancelled" },
  { name: "running", kind: "executed", sign: "…", word: "running" },
];

const RUNNING = 7;
const MOST_ROWS = 64;
const MOST_CACHE_ROWS = 4;

/** Read the document and return the report that all parts of the page share. */
function readReport(document_) {
  const tasks = withRunning(readTasks(document_.tasks), document_.progress);
  const byName = new Map(tasks.map((task) => [task.name, task]));
  const runs = rowsOf(document_.runs);
  const runById = new Map(runs.map((run) => [run.id, run]));
  const trends = new Map(
    document_.trends.map((trend) => [trend.task, { ...trend, points: readPoints(trend, runs) }]),
  );
  const regressions = document_.regressions.map((each) => ({
    ...each,
    since: runById.get(each.since_run) ?? null,
  }));
  const path = document_.critical_path.map((name) => byName.get(name)).filter(Boolean);
  for (const task of path) task.critical = true;
  return { ...document_, tasks, byName, runs, runById, trends, regressions, path, ...assignLanes(tasks) };
}

function rowsOf(columns) {
  const names = Object.keys(columns);
  const length = names.length ? columns[names[0]].length : 0;
  return Array.from({ length }, (_, index) => {
    const row = { index };
    for (const name of names) row[name] = columns[name][index];
    return row;
  });
}

function readTasks(columns) {
  return rowsOf(columns).map(complete);
}

/** Add what follows from the columns. */
function complete(task) {
  task.end = task.start + task.wall;
  task.folded = task.name.toLowerCase();
  task.stage = task.name.includes(":") ? task.name.slice(0, task.name.indexOf(":")) : task.name;
  task.change = task.typical && task.outcome === 0 ? task.wall / task.typical : null;
  task.critical = false;
  task.lane = -1;
  return task;
}

/** Add what is under way, in the place of what the task may have recorded in this run before. */
function withRunning(tasks, progress) {
  if (!progress?.running.length) return tasks;
  const names = new Set(progress.running.map((each) => each.task));
  const running = progress.running.map((each) => ({
    name: each.task,
    outcome: RUNNING,
    start: each.start,
    wall: Math.max(each.wall, 1),
    queue: 0,
    cpu: null,
    rss: null,
    typical: each.expected,
    slot: each.slot,
    attempt: 1,
    exit: null,
    signal: null,
    saved: 0,
    reason: each.expected ? `running, expected to take ${duration(each.expected)}` : "running",
    log: null,
    uncacheable: null,
  }));
  const all = [...tasks.filter((task) => !names.has(task.name)), ...running.map(complete)];
  all.forEach((task, index) => (task.index = index));
  return all;
}

function readPoints(trend, runs) {
  return trend.run.map((run, index) => ({ run: runs[run], wall: trend.wall[index] }));
}

/**
 * Give each task that took time a row of the timeline: its slot where it is known, otherwise the first row
 * that is free. What came from the cache has rows of its own, for it needs no slot.
 */
function assignLanes(tasks) {
  const timed = tasks.filter((task) => task.wall > 0).sort((one, other) => one.start - other.start);
  const known = timed.filter((task) => task.outcome !== 1 && task.slot !== null);
  const unknown = timed.filter((task) => task.outcome !== 1 && task.slot === null);
  const restored = timed.filter((task) => task.outcome === 1);
  const slots = [...new Set(known.map((task) => task.slot))].sort((one, other) => one - other);
  const rowOfSlot = new Map(slots.map((slot, row) => [slot, row]));
  for (const task of known) task.lane = rowOfSlot.get(task.slot);
  const labels = slots.map((slot) => `slot ${slot}`);
  const free = pack(unknown, labels.length, MOST_ROWS);
  for (let row = 0; row < free; row++) labels.push(`row ${labels.length + 1}`);
  const cache = pack(restored, labels.length, MOST_CACHE_ROWS);
  for (let row = 0; row < cache; row++) labels.push("cache");
  return { lanes: labels, timed };
}

/**
 * Put tasks that are sorted by start into as few rows as they need, and return how many. Where that would be
 * more than `most`, tasks overlap in the row that is free first.
 */
function pack(tasks, firstRow, most) {
  const ends = [];
  for (const task of tasks) {
    let row = ends.findIndex((end) => end <= task.start);
    if (row < 0) row = ends.length < most ? ends.push(0) - 1 : ends.indexOf(Math.min(...ends));
    ends[row] = Math.max(ends[row], task.end);
    task.lane = firstRow + row;
  }
  return ends.length;
}

function median(numbers) {
  if (!numbers.length) return null;
  const ordered = [...numbers].sort((one, other) => one - other);
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}

function commitLink(report, commit) {
  if (!commit) return null;
  const text = element("span", { class: "mono" }, shortCommit(commit));
  // Only a full hash makes an address: anything else in the history is a text.
  if (!report.commit_url || !/^[0-9a-f]{40,64}$/.test(commit)) return text;
  return element(
    "a",
    { href: report.commit_url + commit, rel: "noreferrer noopener", target: "_blank" },
    text,
  );
}

function badge(outcome, compact = false) {
  const { kind, sign, word } = OUTCOMES[outcome];
  return element(
    "span",
    { class: `badge ${kind}${compact ? " compact" : ""}`, title: compact ? word : null },
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    element("span", { class: "word" }, word),
  );
}
