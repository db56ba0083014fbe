// Where the time goes: groups of tasks as bars, longest first, with the trend of each.

const MOST_STAGES = 12;

function fillStages(view, expanded = false) {
  const { report } = view;
  const { stages } = report;
  byId("stages").hidden = stages.length === 0;
  const longest = Math.max(1, ...stages.map((stage) => stage.time_ns));
  const shown = expanded ? stages : stages.slice(0, MOST_STAGES);
  const rest = stages.slice(shown.length);
  const rows = shown.map((stage) => element("li", {}, stageRow(view, stage, longest)));
  if (rest.length) {
    const time = rest.reduce((sum, stage) => sum + stage.time_ns, 0);
    const more = element(
      "button",
      { type: "button", onclick: () => fillStages(view, true) },
      element("span", { class: "name quiet" }, `${rest.length} more`),
      element("span", { class: "bar" }),
      element("span", { class: "number quiet" }, duration(time / 1e3)),
    );
    rows.push(element("li", {}, more));
  }
  fill(byId("stages-list"), ...rows);
  const total = stages.reduce((sum, stage) => sum + stage.time_ns, 0);
  byId("stages-note").textContent = `${duration(total / 1e3)} of task time; choose one to see its tasks`;
}

function stageRow(view, stage, longest) {
  const { report } = view;
  const kinds = new Map();
  for (const task of report.tasks) {
    if (task.stage !== stage.name || !task.wall || task.outcome === 1) continue;
    const { kind } = OUTCOMES[task.outcome];
    kinds.set(kind, (kinds.get(kind) ?? 0) + task.wall);
  }
  const sum = [...kinds.values()].reduce((total, wall) => total + wall, 0) || 1;
  const width = stage.time_ns / longest;
  const bar = element(
    "span",
    { class: "bar" },
    ...[...kinds].map(([kind, wall]) =>
      element("i", { class: `${kind}-fill`, style: { width: `${(wall / sum) * width * 100}%` } }),
    ),
  );
  const changed = stage.change !== null && Math.abs(stage.change - 1) >= 0.1;
  return element(
    "button",
    {
      type: "button",
      title: `Show the tasks of ${stage.name}`,
      "data-key": `stage ${stage.name}`,
      onclick: () => showStage(view, stage),
    },
    element(
      "span",
      { class: "name" },
      stage.name,
      stage.tasks > 1 ? element("span", { class: "quiet" }, ` × ${stage.tasks}`) : null,
    ),
    bar,
    element("span", { class: "number" }, duration(stage.time_ns / 1e3)),
    element("span", { class: "share" }, percent(stage.share)),
    sparkline(stage.points),
    element(
      "span",
      { class: `number change ${changed ? (stage.change > 1 ? "worse" : "better") : "quiet"}` },
      change(stage.change),
    ),
  );
}

function showStage(view, stage) {
  const group = view.report.tasks.some((task) => task.stage === stage.name && task.name !== stage.name);
  byId("query").value = group ? `${stage.name}:` : stage.name;
  view.filter(byId("query").value);
  byId("tasks").scrollIntoView({ block: "start", behavior: "smooth" });
}

/** A line without axes; the numbers are in the chart of the details. */
function sparkline(points) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 80 18");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  if (points.length > 1) {
    const most = Math.max(...points) || 1;
    const line = document.createElementNS(space, "polyline");
    line.setAttribute(
      "points",
      points
        .map((value, index) => `${(index / (points.length - 1)) * 78 + 1},${17 - (value / most) * 15}`)
        .join(" "),
    );
    svg.append(line);
  }
  return svg;
}
