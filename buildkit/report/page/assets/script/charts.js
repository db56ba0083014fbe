// The charts over runs, by uPlot: duration per run, outcomes per run, trend of a task.

const CHART_HEIGHT = 190;
const MOST_BARS = 100;
const MOST_POINTS = 120; // beyond, a line through the medians shows what single runs hide
const MEDIAN_OF = 15;

/** Space for the labels of the vertical axis. */
function axisWidth(plot, values) {
  const longest = (values ?? []).reduce((most, value) => Math.max(most, String(value).length), 0);
  return Math.max(44, 18 + longest * 6.5);
}

function axes(colours, runs, spell) {
  const common = {
    stroke: colours.muted,
    font: "12px system-ui, sans-serif",
    grid: { stroke: colours.grid, width: 1 },
    ticks: { show: false },
  };
  return [
    {
      ...common,
      grid: { show: false },
      size: 26,
      gap: 4,
      space: 56,
      incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
      values: (_plot, splits) =>
        splits.map((at) => (Number.isInteger(at) && runs[at] ? `#${runs[at].id}` : "")),
    },
    { ...common, size: axisWidth, gap: 6, space: 28, values: (_plot, splits) => splits.map(spell) },
  ];
}

/** Round steps of time for the axis, from microseconds to days. */
const TIME_STEPS = [1e-3, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7]
  .flatMap((base) => [base, 2 * base, 5 * base])
  .filter((step) => step < 3e7)
  .concat([6e7, 1.2e8, 3e8, 6e8, 1.2e9, 1.8e9, 3.6e9, 7.2e9, 1.44e10, 2.88e10, 8.64e10]);

function tickDuration(us) {
  if (us === 0) return "0";
  if (us < 1e3) return `${+(us / 1e3).toFixed(4)} ms`;
  if (us < 1e6) return `${+(us / 1e3).toFixed(2)} ms`;
  if (us < 6e7) return `${+(us / 1e6).toFixed(2)} s`;
  if (us < 3.6e9) return `${+(us / 6e7).toFixed(1)} min`;
  return `${+(us / 3.6e9).toFixed(1)} h`;
}

/** A chart that follows the width of its place; `reading(index)` is shown for the run under the pointer. */
function drawChart(place, label, options, data, reading, rest) {
  place.plot?.destroy();
  const line = element("p", { class: "chart-reading" }, rest);
  const stage = element("div", { role: "img", "aria-label": `${label}. ${rest}` });
  fill(place, stage, line);
  const plot = new uPlot(
    {
      width: Math.max(place.clientWidth, 120),
      height: CHART_HEIGHT,
      legend: { show: false },
      padding: [10, 8, 0, 0],
      ...options,
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 }, ...options.cursor },
      hooks: {
        ...options.hooks,
        setCursor: [
          (self) =>
            (line.textContent =
              self.cursor.idx === null || self.cursor.idx === undefined ? rest : reading(self.cursor.idx)),
        ],
      },
    },
    data,
    stage,
  );
  place.plot = plot;
  place.observer?.disconnect();
  place.observer = new ResizeObserver(() => {
    const width = place.clientWidth;
    if (width > 0 && Math.abs(width - plot.width) > 1) plot.setSize({ width, height: plot.height });
  });
  place.observer.observe(place);
  return plot;
}

function runReading(run) {
  return `run ${run.id}, ${moment(run.at)}${run.commit ? `, ${shortCommit(run.commit)}` : ""}`;
}

function rangeOfRuns(runs) {
  return { time: false, range: [-0.6, runs.length - 0.4] };
}

/** Wall time of each run; failed runs have a mark of their own shape. */
function drawRuns(place, report, colours) {
  const { runs } = report;
  const walls = runs.map((run) => run.wall);
  const failed = runs.map((run) => (run.exit !== 0 && run.wall !== null ? run.wall : null));
  const known = walls.filter((wall) => wall !== null);
  const last = known.at(-1);
  const many = runs.length > MOST_POINTS;
  const numbers = `median ${duration(median(known))}, last ${duration(last)}`;
  drawChart(
    place,
    "Duration of each run",
    {
      scales: { x: rangeOfRuns(runs), y: { range: (_plot, _low, high) => [0, (high || 1) * 1.08] } },
      axes: withTimeSteps(axes(colours, runs, tickDuration)),
      series: [
        {},
        {
          stroke: colours.executed,
          width: many ? 1 : 1.5,
          alpha: many ? 0.35 : 1,
          points: { show: !many, size: 5, fill: colours.surface },
          spanGaps: true,
        },
        { stroke: colours.text, width: 2, points: { show: false }, spanGaps: true },
      ],
      hooks: { draw: [(plot) => crossOut(plot, failed, colours.failed)] },
    },
    [runs.map((run) => run.index), walls, many ? runningMedian(walls) : walls.map(() => null)],
    (index) => {
      const { wall, exit } = runs[index];
      return `${runReading(runs[index])}: ${wall === null ? "did not finish" : duration(wall)}${exit ? `, exit code ${exit}` : ""}`;
    },
    `${numbers}; ${count(failed.filter((wall) => wall !== null).length, "run")} failed (×)${many ? `; the thick line is the median of ${MEDIAN_OF}` : ""}`,
  );
}

function runningMedian(values) {
  const half = MEDIAN_OF >> 1;
  return values.map((_, index) =>
    median(values.slice(Math.max(0, index - half), index + half + 1).filter((value) => value !== null)),
  );
}

function withTimeSteps([x, y]) {
  return [x, { ...y, incrs: TIME_STEPS }];
}

/** Mark the values that are not null with crosses. */
function crossOut(plot, values, colour) {
  const { ctx } = plot;
  const reach = 3.5 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.beginPath();
  values.forEach((value, index) => {
    if (value === null) return;
    const x = plot.valToPos(plot.data[0][index], "x", true);
    const y = plot.valToPos(value, "y", true);
    ctx.moveTo(x - reach, y - reach);
    ctx.lineTo(x + reach, y + reach);
    ctx.moveTo(x + reach, y - reach);
    ctx.lineTo(x - reach, y + reach);
  });
  ctx.stroke();
  ctx.restore();
}

/** Runs next to each other, put together so that there is a bar for each group and room for all of them. */
function groupsOfRuns(runs) {
  const length = Math.ceil(runs.length / MOST_BARS);
  const groups = [];
  for (let first = 0; first < runs.length; first += length) {
    const group = runs.slice(first, first + length);
    const sum = (kind) => group.reduce((total, run) => total + run[kind], 0);
    const [executed, restored, skipped, failed] = ["executed", "restored", "skipped", "failed"].map(sum);
    groups.push({ runs: group, at: first + (group.length - 1) / 2, executed, restored, skipped, failed });
  }
  return groups;
}

/** What became of the tasks of each run, as shares of a bar. */
function drawOutcomes(place, report, colours) {
  const { runs } = report;
  const groups = groupsOfRuns(runs);
  const total = (group) => group.executed + group.restored + group.skipped + group.failed;
  // Stacked: the first layer is the whole, and each following one covers a part of it.
  const layers = ["failed", "executed", "restored", "skipped"];
  const bars = uPlot.paths.bars({ size: [0.82, 28], gap: 1 });
  const styleOf = (name) => ({
    fill: colours[name],
    stroke: colours[name],
    width: 0,
    paths: bars,
    points: { show: false },
  });
  const shareFrom = (layer) => (group) =>
    total(group) ? layers.slice(layer).reduce((sum, kind) => sum + group[kind], 0) / total(group) : null;
  const served = runs.reduce((sum, run) => sum + run.restored + run.skipped, 0);
  const asked = runs.reduce((sum, run) => sum + total(run), 0);
  drawChart(
    place,
    "Share of tasks that were skipped, restored, executed and failed in each run",
    {
      scales: { x: rangeOfRuns(runs), y: { range: [0, 1] } },
      axes: axes(colours, runs, (value) => `${Math.round(value * 100)}%`),
      series: [{}, ...layers.map(styleOf)],
      cursor: { points: { show: false } },
    },
    [groups.map((group) => group.at), ...layers.map((_, layer) => groups.map(shareFrom(layer)))],
    (index) => {
      const { runs: group, executed, restored, skipped, failed } = groups[index];
      const which = group.length > 1 ? `runs ${group[0].id} to ${group.at(-1).id}` : runReading(group[0]);
      return `${which}: ${executed} executed, ${restored} restored, ${skipped} skipped, ${failed} failed`;
    },
    `${asked ? percent(served / asked) : "none"} skipped (grey) or restored from the cache (green), over all runs`,
  );
}

/** The successful executions of one task, with the points where it changed. */
function drawTrend(place, report, task, colours, height = 150) {
  const trend = report.trends.get(task);
  const points = trend?.points ?? [];
  const changes = report.regressions.filter((each) => each.task === task && each.unit === "wall");
  const { runs } = report;
  const first = points.length ? points[0].run.index : 0;
  return drawChart(
    place,
    `Wall time of ${task}`,
    {
      height,
      scales: {
        x: { time: false, range: [first - 0.6, runs.length - 0.4] },
        y: { range: (_plot, _low, high) => [0, (high || 1) * 1.18] },
      },
      axes: withTimeSteps(axes(colours, runs, tickDuration)),
      series: [
        {},
        {
          stroke: colours.executed,
          width: 1.5,
          spanGaps: true,
          points: { show: points.length < 160, size: 5, fill: colours.surface },
        },
      ],
      hooks: { draw: [(self) => markChanges(self, changes, colours)] },
    },
    [points.map((point) => point.run.index), points.map((point) => point.wall)],
    (index) => `${runReading(points[index].run)}: ${duration(points[index].wall)}`,
    points.length
      ? `${count(points.length, "execution")}, median ${duration(trend.median)}, 95% below ${duration(trend.p95)}`
      : "no executions recorded",
  );
}

/** A dashed line where a change set in, and by how much. */
function markChanges(plot, changes, colours) {
  const { ctx } = plot;
  const ratio = devicePixelRatio;
  const { left, top, width, height } = plot.bbox;
  ctx.save();
  ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  for (const each of changes) {
    if (!each.since) continue;
    const x = plot.valToPos(each.since.index - 0.5, "x", true);
    if (x < left - 1 || x > left + width) continue;
    const colour = each.effect >= 1 ? colours.worse : colours.better;
    ctx.strokeStyle = colour;
    ctx.fillStyle = colour;
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    const text = change(each.effect);
    const room = ctx.measureText(text).width + 6 * ratio;
    const leftwards = x + room > left + width;
    ctx.textAlign = leftwards ? "right" : "left";
    ctx.fillText(text, x + (leftwards ? -5 : 5) * ratio, top + 1 * ratio);
  }
  ctx.restore();
}
