// One task beside the page: what became of it and why, what it cost, its trend, and where it changed.

function makeDetails(view) {
  const aside = byId("details");
  const title = byId("details-title");
  const body = byId("details-body");
  let colours = readColours();
  let opener = null;

  function show() {
    const open = view.detailed && view.selected !== null;
    if (open && aside.hidden) opener = document.activeElement;
    const closing = !open && !aside.hidden;
    aside.hidden = !open;
    document.body.classList.toggle("with-details", open);
    if (closing && opener?.isConnected) opener.focus({ preventScroll: true });
    if (!open) return;
    const { report } = view;
    const task = report.byName.get(view.selected);
    title.textContent = view.selected;
    const trend = element("div", { class: "chart" });
    fill(
      body,
      task ? badge(task.outcome) : element("p", { class: "note" }, "not part of this run"),
      task?.reason ? element("p", { class: "note" }, task.reason) : null,
      task ? numbers(report, task) : null,
      bottleneckOf(report),
      task?.log ? element("p", { class: "note" }, "Its log: ", element("code", {}, task.log)) : null,
      task?.uncacheable ? element("p", { class: "note" }, `Not cached: ${task.uncacheable}`) : null,
      element("h3", {}, "Trend"),
      report.trends.has(view.selected) ? trend : element("p", { class: "note" }, trendMissing(report, task)),
      ...changesOf(report),
      ...recentOf(report),
    );
    if (report.trends.has(view.selected)) drawTrend(trend, report, view.selected, colours, 170);
  }

  function bottleneckOf(report) {
    const found = report.bottlenecks.find((each) => each.task === view.selected);
    if (!found) return null;
    const gain =
      found.gain_ns > 0 ? ` In half the time, the run would save ${duration(found.gain_ns / 1e3)}.` : "";
    return element(
      "p",
      { class: "note" },
      `A bottleneck: ${found.ratio.toFixed(1)} times the mean of the run.${gain}`,
    );
  }

  function trendMissing(report, task) {
    if (report.trends_omitted) return "Not in this page: it keeps the trends of the tasks that take longest.";
    return task?.outcome === 2
      ? "Its executions lie before the runs that this page covers."
      : "No successful execution yet.";
  }

  function numbers(report, task) {
    const pairs = [
      ["Time", duration(task.wall)],
      ["Usually", duration(task.typical)],
      ["Change", change(task.change)],
      ["CPU", duration(task.cpu)],
      ["Memory", size(task.rss)],
      ["Waited", task.queue ? duration(task.queue) : ""],
      ["Started at", task.wall ? duration(task.start) || "0" : ""],
      ["Exit code", task.exit === null || task.outcome === 1 ? "" : String(task.exit)],
      ["Attempt", task.attempt > 1 ? String(task.attempt) : ""],
      ["Saved", task.saved ? duration(task.saved) : ""],
      ["Critical path", task.critical ? "yes" : report.path.length && task.wall ? "no" : ""],
    ].filter(([, value]) => value !== "");
    return element(
      "dl",
      { class: "numbers" },
      ...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
    );
  }

  function changesOf(report) {
    const changes = report.regressions.filter((each) => each.task === view.selected);
    if (!changes.length) return [];
    const items = changes.map((each) => {
      const spell = each.unit === "memory" ? size : (value) => duration(value / 1e3);
      const item = element(
        "li",
        {},
        element("b", { class: each.effect > 1 ? "worse" : "better" }, change(each.effect)),
        ` ${each.unit === "memory" ? "memory" : "time"}, ${spell(each.before)} → ${spell(each.after)}, since run ${each.since_run}`,
      );
      const after = commitLink(report, each.since_commit);
      if (after) item.append(", commit ", after);
      item.append(`; ${each.state}, ${sure(each.confidence)}`);
      return item;
    });
    return [element("h3", {}, "Changes"), element("ul", { class: "changes" }, ...items)];
  }

  function recentOf(report) {
    const points = (report.trends.get(view.selected)?.points ?? []).slice(-8).reverse();
    if (!points.length) return [];
    const rows = points.map(({ run, wall }) =>
      element(
        "tr",
        {},
        element("td", {}, `#${run.id}`),
        element("td", {}, moment(run.at)),
        element("td", { class: "right" }, duration(wall)),
        element("td", {}, commitLink(report, run.commit) ?? ""),
      ),
    );
    const head = ["Run", "Started", "Time", "Commit"].map((text) =>
      element("th", { scope: "col", class: text === "Time" ? "right" : null }, text),
    );
    return [
      element("h3", {}, "Latest executions"),
      element(
        "table",
        { class: "plain" },
        element("thead", {}, element("tr", {}, ...head)),
        element("tbody", {}, ...rows),
      ),
    ];
  }

  byId("details-close").addEventListener("click", () => view.select(null));
  view.subscribe((what) => {
    if (what === "theme") colours = readColours();
    if (what !== "filter") show();
  });
}
