// Puts the parts together.

/** Draw all that depends on the report alone. What is the same as `before` stays as it is, with its focus. */
function drawReport(view, colours, before = null) {
  const { report } = view;
  const focused = document.activeElement?.dataset?.key;
  document.title = report.run ? `${report.project}, run ${report.run.id}` : report.project;
  fillOverview(report);
  if (!before || concerns(before) !== concerns(report)) fillAttention(view, colours);
  fillLegend(report);
  fillStages(view);
  fillSla(view);
  fillOutlook(view);
  fillOutcomes(view);
  if (!before || JSON.stringify(before.runs) !== JSON.stringify(report.runs)) drawHistory(report, colours);
  const made = `Made by buildkit ${report.buildkit} on ${moment(report.generated_at)}.`;
  byId("colophon").textContent = `${made} Charts: uPlot, © Leon Sorokin, MIT licence.`;
  if (focused && document.activeElement === document.body) {
    [...document.querySelectorAll("[data-key]")]
      .find((each) => each.dataset.key === focused)
      ?.focus({ preventScroll: true });
  }
}

/** What the section on attention shows, as a text that can be compared. */
function concerns(report) {
  const { run, runs, regressions, slas, flaky, advice, notes, tasks } = report;
  const failed = tasks.filter((task) => task.outcome === 3).map((task) => task.name);
  return JSON.stringify([run?.id, runs.length, regressions, slas, flaky, advice, notes, failed]);
}

function drawHistory(report, colours) {
  const section = byId("runs");
  section.hidden = report.runs.length < 2;
  if (section.hidden) return;
  const first = report.runs[0];
  byId("runs-note").textContent = `${count(report.runs.length, "run")} since ${moment(first.at)}`;
  drawRuns(byId("runs-chart"), report, colours);
  drawOutcomes(byId("cache-chart"), report, colours);
}

function start() {
  const report = readReport(JSON.parse(byId("report-data").textContent));
  const view = makeView(report);
  const toggleTheme = setUpTheme(view);
  drawReport(view, readColours());
  const table = makeTable(view);
  const timeline = makeTimeline(view);
  makeDetails(view);
  setUpKeyboard(view, { table, timeline, toggleTheme });
  let drawn = report;
  view.subscribe((what) => {
    if (what === "data") {
      drawReport(view, readColours(), drawn);
      drawn = view.report;
    }
    if (what === "theme") {
      const colours = readColours();
      fillAttention(view, colours);
      drawHistory(view.report, colours);
    } else if (what === "filter") pressOutcomes(view);
  });
  if (report.live) followServer(view);
  document.documentElement.dataset.ready = "true";
}

start();
