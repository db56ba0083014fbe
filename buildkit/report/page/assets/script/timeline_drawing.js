// What the timeline looks like: pure drawing of a scene (see timeline.js), of which only what is in sight.

const AXIS_HEIGHT = 24;
const OVERVIEW_HEIGHT = 40;
const LEAST_LABEL = 34; // pixels
const LABEL_FONT = "12px system-ui, sans-serif";

function drawTimeline(scene) {
  const { canvas, width, gutter, colours, view } = scene;
  const ctx = prepared(canvas);
  const height = scene.tops.at(-1) + 2;
  ctx.fillStyle = colours.surface;
  ctx.fillRect(0, 0, width, height);
  drawTimeAxis(ctx, scene, height);
  drawLaneLabels(ctx, scene);
  ctx.save();
  ctx.beginPath();
  ctx.rect(gutter, 0, width - gutter, height);
  ctx.clip();
  for (let lane = 0; lane < scene.rows.length; lane++) drawLane(ctx, scene, lane);
  if (!view.matches) drawPath(ctx, scene);
  ctx.restore();
}

/** The context of a canvas, in CSS pixels. */
function prepared(canvas) {
  const ctx = canvas.getContext("2d");
  ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  ctx.font = LABEL_FONT;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  return ctx;
}

function xOf({ from, span, gutter, width }, us) {
  return gutter + ((us - from) / span) * (width - gutter);
}

function drawTimeAxis(ctx, scene, height) {
  const { from, span, width, gutter, colours } = scene;
  const step = TIME_STEPS.find((each) => (each / span) * (width - gutter) >= 84) ?? TIME_STEPS.at(-1);
  for (let at = Math.ceil(from / step) * step; at <= from + span; at += step) {
    const x = xOf(scene, at);
    ctx.fillStyle = colours.grid;
    ctx.fillRect(Math.round(x), AXIS_HEIGHT - 6, 1, height - AXIS_HEIGHT + 6);
    ctx.fillStyle = colours.muted;
    const text = tickDuration(at);
    if (x + ctx.measureText(text).width + 4 < width) ctx.fillText(text, Math.round(x) + 4, AXIS_HEIGHT / 2);
  }
}

function drawLaneLabels(ctx, { view, tops, width, gutter, laneHeight, colours }) {
  const { lanes } = view.report;
  lanes.forEach((lane, index) => {
    if (index > 0 && lanes[index - 1] === lane) return; // several rows of the cache have one label
    const y = tops[index];
    ctx.fillStyle = colours.grid;
    ctx.fillRect(gutter, y, width - gutter, 1);
    ctx.fillStyle = colours.muted;
    ctx.fillText(
      width < 600 ? lane.replace("slot ", "") : lane,
      0,
      y + (lane === "cache" ? 8 : laneHeight / 2 + 1),
    );
  });
}

function drawLane(ctx, scene, lane) {
  const { view, rows, tops, from, span, gutter, width } = scene;
  const tasks = rows[lane];
  const y = tops[lane] + 3;
  const height = tops[lane + 1] - tops[lane] - 5;
  const isTelling = (task) =>
    task.outcome === 3 || task.name === view.selected || (view.matches?.has(task.name) ?? false);
  let covered = -1; // the last pixel that something was drawn on: what lies wholly in it would not be seen
  for (let index = firstInSight(tasks, from); index < tasks.length; index++) {
    const task = tasks[index];
    if (task.start > from + span) break;
    const left = Math.max(xOf(scene, task.start), gutter - 4);
    const right = Math.min(xOf(scene, task.end), width + 4);
    if (right <= covered && !isTelling(task)) continue;
    covered = Math.floor(right);
    drawTask(ctx, scene, task, { x: left, y, wide: Math.max(right - left, 1), high: height });
  }
}

/** Index of the first task that may last beyond `from`; rows are sorted by start. */
function firstInSight(tasks, from) {
  let low = 0;
  let high = tasks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tasks[middle].reach < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawTask(ctx, scene, task, { x, y, wide, high }) {
  const { view, colours, hovered, gutter } = scene;
  const dimmed = view.matches && !view.matches.has(task.name);
  ctx.globalAlpha = dimmed ? 0.16 : task.outcome === RUNNING ? 0.65 : 1;
  ctx.fillStyle = colours[OUTCOMES[task.outcome].kind];
  const shown = wide > 3 ? wide - 1 : wide; // a gap between neighbours
  if (wide > 8) {
    ctx.beginPath();
    ctx.roundRect(x, y, shown, high, 3);
    ctx.fill();
  } else ctx.fillRect(x, y, shown, high);
  if (wide > LEAST_LABEL && high >= 12) {
    ctx.fillStyle = colours["on-colour"];
    const sign = task.outcome === 0 ? "" : `${OUTCOMES[task.outcome].sign} `;
    const left = Math.max(x, gutter) + 6;
    ctx.fillText(shortened(ctx, sign + task.name, x + shown - 4 - left), left, y + high / 2 + 1);
  }
  ctx.globalAlpha = 1;
  if (task.name === view.selected || task === hovered) {
    ctx.strokeStyle = colours.text;
    ctx.lineWidth = task.name === view.selected ? 2 : 1;
    ctx.strokeRect(x + 0.5, y - 0.5, Math.max(shown - 1, 1), high + 1);
  }
}

/** As much of the text as there is room for, nothing where that would say nothing. */
function shortened(ctx, text, room) {
  const letter = ctx.measureText("n").width;
  if (text.length * letter * 0.6 < room && ctx.measureText(text).width <= room) return text;
  let cut = text.slice(0, Math.ceil(room / (letter * 0.6)));
  while (cut.length && ctx.measureText(`${cut}…`).width > room) cut = cut.slice(0, -1);
  return cut.length > 2 ? `${cut}…` : "";
}

/** The chain that made the run as long as it was: a stripe along its tasks, and lines from one to the next. */
function drawPath(ctx, scene) {
  const { view, colours, tops, laneHeight, from, span } = scene;
  ctx.strokeStyle = colours.critical;
  ctx.fillStyle = colours.critical;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  let previous = null;
  for (const task of view.report.path) {
    if (task.lane < 0) continue;
    const y = tops[task.lane];
    if (task.end >= from && task.start <= from + span) {
      const x = xOf(scene, task.start);
      ctx.fillRect(x, y + laneHeight - 4, Math.max(xOf(scene, task.end) - x - 1, 2), 4);
    }
    if (previous) {
      // Along the row until the next one starts (it may have waited for a slot), then over to its row.
      const x = Math.round(xOf(scene, task.start)) + 0.5;
      ctx.moveTo(xOf(scene, previous.end) - 1, tops[previous.lane] + laneHeight - 2);
      ctx.lineTo(x, tops[previous.lane] + laneHeight - 2);
      ctx.lineTo(x, y + laneHeight - 2);
    }
    previous = task;
  }
  ctx.stroke();
}

/** How many tasks were under way, in 400 steps over the run. */
function countBusy(tasks, length) {
  const bins = new Float64Array(400);
  for (const task of tasks) {
    const first = (task.start / length) * bins.length;
    const last = Math.min((task.end / length) * bins.length, bins.length);
    for (let bin = Math.floor(first); bin < last; bin++)
      bins[bin] += Math.min(last, bin + 1) - Math.max(first, bin);
  }
  return bins;
}

function drawOverview(scene) {
  const { overview, width, gutter, colours, busy } = scene;
  const ctx = prepared(overview);
  const wide = width - gutter;
  ctx.fillStyle = colours.surface;
  ctx.fillRect(0, 0, width, OVERVIEW_HEIGHT);
  ctx.fillStyle = colours.sunken;
  ctx.fillRect(gutter, 0, wide, OVERVIEW_HEIGHT);
  const most = Math.max(1, ...busy);
  ctx.fillStyle = colours.executed;
  ctx.globalAlpha = 0.45;
  ctx.beginPath();
  ctx.moveTo(gutter, OVERVIEW_HEIGHT);
  busy.forEach((number, bin) => {
    const y = OVERVIEW_HEIGHT - (number / most) * (OVERVIEW_HEIGHT - 4);
    ctx.lineTo(gutter + (bin / busy.length) * wide, y);
    ctx.lineTo(gutter + ((bin + 1) / busy.length) * wide, y);
  });
  ctx.lineTo(width, OVERVIEW_HEIGHT);
  ctx.fill();
  ctx.globalAlpha = 1;
  ctx.fillStyle = colours.muted;
  ctx.fillText("busy", 0, OVERVIEW_HEIGHT / 2);
  if (scene.span < scene.total) drawFrame(ctx, scene);
}

/** A frame around the part that the timeline shows. */
function drawFrame(ctx, { from, span, total, gutter, width, colours }) {
  const left = gutter + (from / total) * (width - gutter);
  const right = gutter + ((from + span) / total) * (width - gutter);
  ctx.fillStyle = colours.surface;
  ctx.globalAlpha = 0.6;
  ctx.fillRect(gutter, 0, left - gutter, OVERVIEW_HEIGHT);
  ctx.fillRect(right, 0, width - right, OVERVIEW_HEIGHT);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = colours.accent;
  ctx.lineWidth = 2;
  ctx.strokeRect(left + 1, 1, Math.max(right - left - 2, 2), OVERVIEW_HEIGHT - 2);
}
