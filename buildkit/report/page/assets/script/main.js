// Puts the parts together.

function drawReport(view, colours) {
  const { report } = view;
  document.title = report.run ? `${report.project}, run ${report.run.id}` : report.project;
  fillOverview(report);
  fillAttention(view, colours);
  fillLegend(report);
  fillStages(view);
  fillSla(view);
  fillOutlook(view);
  fillOutcomes(view);
  drawHistory(report, colours);
  const made = `Made by buildkit ${report.buildkit} on ${moment(report.generated_at)}.`;
  byId("colophon").textContent = `${made} Charts: uPlot, © Leon Sorokin, MIT licence.`;
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
  view.subscribe((what) => {
    if (what === "data") drawReport(view, readColours());
    else if (what === "theme") {
      const colours = readColours();
      fillAttention(view, colours);
      drawHistory(view.report, colours);
    } else if (what === "filter") pressOutcomes(view);
  });
  if (report.live) followServer(view);
  document.documentElement.dataset.ready = "true";
}

start();
