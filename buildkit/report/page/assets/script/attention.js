// What needs attention, worst first: failures, regressions with their trend, broken SLAs, flaky tasks, advice.

const MOST_OF_A_KIND = 6;
const ENOUGH_RUNS = 9; // the detector judges from the ninth execution on

function fillAttention(view, colours) {
  const { report } = view;
  const section = byId("attention");
  section.hidden = !report.run;
  if (!report.run) return;
  const failed = report.tasks.filter((task) => task.outcome === 3);
  const open = report.regressions.filter((each) => !each.allowed && each.state !== "suspect");
  const quiet = report.regressions.filter((each) => each.allowed || each.state === "suspect");
  const broken = report.slas.filter((each) => each.level === "violation");
  const alerts = [
    ...firstOf(failed, "failures", (task) => failureAlert(view, task)),
    ...firstOf(open, "regressions", (each) =>
      regressionAlert(view, each, open.indexOf(each) < MOST_OF_A_KIND),
    ),
    ...firstOf(broken, "broken SLAs", (each) => slaAlert(view, each)),
    ...firstOf(report.flaky, "flaky tasks", (each) => flakyAlert(view, each)),
    ...firstOf(quiet, "suspects", (each) => regressionAlert(view, each, false)),
    ...firstOf(report.advice, "recommendations", (each) => adviceAlert(view, each)),
    ...report.notes.map(plain),
  ];
  const numbers = [
    failed.length ? count(failed.length, "failure") : null,
    open.length ? count(open.length, "regression") : null,
    broken.length ? `${count(broken.length, "SLA")} broken` : null,
    report.flaky.length ? count(report.flaky.length, "flaky task") : null,
  ].filter(Boolean);
  byId("attention-note").textContent = numbers.join(", ");
  const well = element(
    "p",
    { class: "all-well" },
    element(
      "span",
      { class: "badge restored" },
      element("span", { class: "sign", "aria-hidden": "true" }, "✓"),
    ),
    wellText(report),
  );
  const list = byId("attention-list");
  fill(list, ...(numbers.length ? [] : [well]), element("div", { class: "alerts" }, ...alerts));
  // Charts need their place in the page to know their width.
  for (const place of list.querySelectorAll("[data-trend]"))
    drawTrend(place, report, place.dataset.trend, colours, 130);
}

/** Alerts for the first ones, and a button that puts those for the others in its place. */
function firstOf(items, noun, alertOf) {
  const first = items.slice(0, MOST_OF_A_KIND).map(alertOf);
  const rest = items.slice(MOST_OF_A_KIND);
  if (!rest.length) return first;
  const more = element(
    "button",
    { type: "button", class: "small-button", "data-key": `more ${noun}` },
    `${rest.length} more ${noun}`,
  );
  const place = element("article", { class: "alert plain-alert" }, element("div", {}, more));
  more.addEventListener("click", () => {
    const made = rest.map(alertOf);
    place.replaceWith(...made);
    made[0].querySelector("button")?.focus();
  });
  return [...first, place];
}

function wellText(report) {
  const runs = report.runs.length;
  if (runs < 2) return "Nothing failed. This is the first run: from the next ones on, this page compares.";
  if (runs < ENOUGH_RUNS) return `Nothing failed. ${runs} runs are too few to tell what got slower.`;
  return `Nothing failed, and nothing got slower within the last ${runs} runs.`;
}

function taskButton(view, name) {
  return element(
    "button",
    {
      type: "button",
      class: "link-button",
      "data-key": `task ${name}`,
      onclick: () => view.select(name, true),
    },
    name,
  );
}

function alert_(kind, label, name, ...rest) {
  return element(
    "article",
    { class: "alert plain-alert" },
    element(
      "div",
      {},
      element("h3", { class: "what" }, element("span", { class: `kind ${kind}` }, label), name),
      ...rest,
    ),
  );
}

function failureAlert(view, task) {
  const how = task.signal
    ? `killed by signal ${task.signal}`
    : task.exit === null
      ? ""
      : `exit code ${task.exit}`;
  return alert_(
    "worse",
    "failed",
    taskButton(view, task.name),
    element(
      "p",
      { class: "note" },
      [how, task.wall ? `after ${duration(task.wall)}` : "", task.log ? `log in ${task.log}` : ""]
        .filter(Boolean)
        .join(", "),
    ),
  );
}

function regressionAlert(view, each, withTrend) {
  const { report } = view;
  const spell = each.unit === "memory" ? size : (value) => duration(value / 1e3);
  const noun = each.unit === "memory" ? "more memory" : "slower";
  const label = each.allowed ? "allowed" : each.state === "suspect" ? "suspect" : noun;
  const since = element("p", { class: "note" }, `since run ${each.since_run}, ${moment(each.since_at)}`);
  const commit = commitLink(report, each.since_commit);
  if (commit) since.append(", commit ", commit);
  const more = each.together.length
    ? `Together with ${each.together.slice(0, 3).join(", ")}${each.together.length > 3 ? ` and ${each.together.length - 3} more` : ""}.`
    : null;
  const text = element(
    "div",
    {},
    element(
      "h3",
      { class: "what" },
      element(
        "span",
        { class: `kind ${each.allowed || each.state === "suspect" ? "quiet" : "worse"}` },
        label,
      ),
      taskButton(view, each.task),
    ),
    element(
      "p",
      {},
      element("span", { class: "size worse" }, change(each.effect)),
      ` ${spell(each.before)} → ${spell(each.after)}`,
    ),
    since,
    element(
      "p",
      { class: "note" },
      `${capital(sure(each.confidence))} after ${count(each.runs, "run")}. `,
      more,
    ),
    each.allowed ? element("p", { class: "note" }, `Allowed: ${each.allowed}`) : null,
  );
  if (!withTrend || each.unit !== "wall" || !report.trends.has(each.task))
    return element("article", { class: "alert plain-alert" }, text);
  return element(
    "article",
    { class: "alert" },
    text,
    element("div", { class: "chart", "data-trend": each.task }),
  );
}

function slaAlert(view, each) {
  return alert_(
    "worse",
    "SLA broken",
    taskButton(view, each.task),
    element(
      "p",
      { class: "note" },
      `${duration(each.wall_ns / 1e3)} of ${duration(each.target_s * 1e6)} allowed; ${each.violations} of ${count(each.executions, "execution")} were too long`,
    ),
  );
}

function flakyAlert(view, each) {
  return alert_(
    "quiet",
    "flaky",
    taskButton(view, each.task),
    element(
      "p",
      { class: "note" },
      `failed ${count(each.failed, "time")} and succeeded ${count(each.succeeded, "time")} with nothing changed in between; last in run ${each.last_run}`,
    ),
  );
}

function adviceAlert(view, each) {
  return alert_(
    "better",
    each.gain_ns ? `could save ${duration(each.gain_ns / 1e3)}` : "advice",
    each.text,
    element(
      "p",
      { class: "note" },
      `${capital(each.evidence)}. `,
      each.task ? taskButton(view, each.task) : null,
    ),
  );
}

function plain(text) {
  return element("article", { class: "alert plain-alert" }, element("p", { class: "note" }, text));
}
