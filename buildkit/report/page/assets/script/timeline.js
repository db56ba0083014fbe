// The timeline of the run: one row per slot, on a canvas that draws only what is in sight.
// Below it, how many slots were busy over the whole run; it shows and moves the part in sight.

const AXIS_HEIGHT = 24;
const OVERVIEW_HEIGHT = 40;
const LEAST_SPAN_US = 20;
const LEAST_LABEL = 34; // pixels

function makeTimeline(view) {
  const canvas = byId("timeline-canvas");
  const overview = byId("timeline-overview");
  const box = byId("timeline-box");
  const tip = byId("timeline-tip");
  let colours = readColours();
  let rows = []; // tasks by lane, each sorted by start; a few may overlap
  let total = 1; // µs
  let from = 0;
  let span = 1;
  let laneHeight = 22;
  let tops = []; // y of each lane, and at the end that below the last one
  let gutter = 60;
  let width = 0;
  let pending = 0;
  let hovered = null;
  let busy = [];

  function load() {
    const { lanes, timed, run } = view.report;
    rows = lanes.map(() => []);
    for (const task of timed) {
      const row = rows[task.lane];
      task.reach = Math.max(task.end, row.at(-1)?.reach ?? 0); // until when this task or an earlier one lasts
      row.push(task);
    }
    const wholeBefore = span >= total;
    const end = timed.reduce((latest, task) => Math.max(latest, task.end), 0);
    total = Math.max(run?.wall ?? 0, end, 1);
    if (wholeBefore) [from, span] = [0, total];
    const slots = lanes.filter((lane) => lane !== "cache").length;
    laneHeight = slots <= 12 ? 26 : slots <= 32 ? 18 : 12;
    // A restore takes milliseconds: low rows do, even where many come at once.
    const slim = Math.min(laneHeight, 10);
    tops = [AXIS_HEIGHT];
    for (const lane of lanes) tops.push(tops.at(-1) + (lane === "cache" ? slim : laneHeight));
    busy = countBusy(timed, total);
    byId("timeline").hidden = timed.length === 0;
    canvas.setAttribute("aria-label", describe());
    layOut();
  }

  function describe() {
    const { lanes, timed, path } = view.report;
    const chain = path.length
      ? ` Critical path: ${path
          .slice(-6)
          .map((task) => task.name)
          .join(", then ")}.`
      : "";
    return `${count(timed.length, "task")} on ${count(lanes.length, "row")} in ${duration(total)}.${chain}`;
  }

  function layOut() {
    width = box.clientWidth;
    if (!width) return;
    gutter = width < 600 ? 44 : 60;
    resize(canvas, width, tops.at(-1) + 2);
    resize(overview, width, OVERVIEW_HEIGHT);
    draw();
  }

  function resize(target, wide, high) {
    target.style.height = `${high}px`;
    target.width = Math.round(wide * devicePixelRatio);
    target.height = Math.round(high * devicePixelRatio);
  }

  function xOf(us) {
    return gutter + ((us - from) / span) * (width - gutter);
  }

  function usAt(x) {
    return from + ((x - gutter) / (width - gutter)) * span;
  }

  function schedule() {
    if (!pending) pending = requestAnimationFrame(draw);
  }

  function draw() {
    pending = 0;
    if (!width) return;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    const height = canvas.height / devicePixelRatio;
    ctx.fillStyle = colours.surface;
    ctx.fillRect(0, 0, width, height);
    drawAxis(ctx, height);
    ctx.save();
    ctx.beginPath();
    ctx.rect(gutter, 0, width - gutter, height);
    ctx.clip();
    for (let lane = 0; lane < rows.length; lane++) drawLane(ctx, lane);
    if (!view.matches) drawPath(ctx);
    ctx.restore();
    drawOverview();
    canvas.dataset.from = String(from);
    canvas.dataset.span = String(span);
  }

  function drawAxis(ctx, height) {
    ctx.font = "12px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    const step = TIME_STEPS.find((each) => (each / span) * (width - gutter) >= 84) ?? TIME_STEPS.at(-1);
    ctx.textAlign = "left";
    for (let at = Math.ceil(from / step) * step; at <= from + span; at += step) {
      const x = xOf(at);
      ctx.fillStyle = colours.grid;
      ctx.fillRect(Math.round(x), AXIS_HEIGHT - 6, 1, height - AXIS_HEIGHT + 6);
      ctx.fillStyle = colours.muted;
      const text = tickDuration(at);
      if (x + ctx.measureText(text).width + 4 < width) ctx.fillText(text, Math.round(x) + 4, AXIS_HEIGHT / 2);
    }
    const { lanes } = view.report;
    for (let lane = 0; lane < rows.length; lane++) {
      const y = tops[lane];
      const label = width < 600 ? lanes[lane].replace("slot ", "") : lanes[lane];
      if (lane > 0 && lanes[lane - 1] === lanes[lane]) continue;
      ctx.fillStyle = colours.grid;
      ctx.fillRect(gutter, y, width - gutter, 1);
      ctx.fillStyle = colours.muted;
      ctx.fillText(label, 0, y + (label === "cache" ? 8 : laneHeight / 2 + 1));
    }
  }

  function drawLane(ctx, lane) {
    const tasks = rows[lane];
    const y = tops[lane] + 3;
    const height = tops[lane + 1] - tops[lane] - 5;
    let covered = -1; // the last pixel that something was drawn on: what lies wholly in it would not be seen
    for (let index = firstInSight(tasks); index < tasks.length; index++) {
      const task = tasks[index];
      if (task.start > from + span) break;
      const left = Math.max(xOf(task.start), gutter - 4);
      const right = Math.min(xOf(task.end), width + 4);
      const wanted = isTelling(task);
      if (right <= covered && !wanted) continue;
      covered = Math.floor(right);
      drawTask(ctx, task, left, y, Math.max(right - left, 1), height);
    }
  }

  function isTelling(task) {
    return task.outcome === 3 || task.name === view.selected || (view.matches?.has(task.name) ?? false);
  }

  /** Index of the first task that may be in sight; rows are sorted by start. */
  function firstInSight(tasks) {
    let low = 0;
    let high = tasks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tasks[middle].reach < from) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function drawTask(ctx, task, x, y, wide, high) {
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
      ctx.textAlign = "left";
      ctx.font = "12px system-ui, sans-serif";
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
  function drawPath(ctx) {
    const { path } = view.report;
    ctx.strokeStyle = colours.critical;
    ctx.fillStyle = colours.critical;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    let previous = null;
    for (const task of path) {
      if (task.lane < 0) continue;
      const y = tops[task.lane];
      if (task.end >= from && task.start <= from + span) {
        const x = xOf(task.start);
        ctx.fillRect(x, y + laneHeight - 4, Math.max(xOf(task.end) - x - 1, 2), 4);
      }
      if (previous) {
        // Along the row until the next one starts (it may have waited for a slot), then over to its row.
        const x = Math.round(xOf(task.start)) + 0.5;
        ctx.moveTo(xOf(previous.end) - 1, tops[previous.lane] + laneHeight - 2);
        ctx.lineTo(x, tops[previous.lane] + laneHeight - 2);
        ctx.lineTo(x, y + laneHeight - 2);
      }
      previous = task;
    }
    ctx.stroke();
  }

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

  function drawOverview() {
    const ctx = overview.getContext("2d");
    ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
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
    for (let bin = 0; bin < busy.length; bin++) {
      const y = OVERVIEW_HEIGHT - (busy[bin] / most) * (OVERVIEW_HEIGHT - 4);
      ctx.lineTo(gutter + (bin / busy.length) * wide, y);
      ctx.lineTo(gutter + ((bin + 1) / busy.length) * wide, y);
    }
    ctx.lineTo(width, OVERVIEW_HEIGHT);
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.fillStyle = colours.muted;
    ctx.font = "12px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    ctx.fillText("busy", 0, OVERVIEW_HEIGHT / 2);
    const left = gutter + (from / total) * wide;
    const right = gutter + ((from + span) / total) * wide;
    if (span < total) {
      ctx.fillStyle = colours.surface;
      ctx.globalAlpha = 0.6;
      ctx.fillRect(gutter, 0, left - gutter, OVERVIEW_HEIGHT);
      ctx.fillRect(right, 0, width - right, OVERVIEW_HEIGHT);
      ctx.globalAlpha = 1;
      ctx.strokeStyle = colours.accent;
      ctx.lineWidth = 2;
      ctx.strokeRect(left + 1, 1, Math.max(right - left - 2, 2), OVERVIEW_HEIGHT - 2);
    }
  }

  function look(nextFrom, nextSpan) {
    span = Math.min(Math.max(nextSpan, LEAST_SPAN_US), total);
    from = Math.min(Math.max(nextFrom, 0), total - span);
    schedule();
  }

  /** Zoom so that the moment at `x` stays where it is. */
  function zoom(factor, x = gutter + (width - gutter) / 2) {
    const at = usAt(x);
    const next = Math.min(Math.max(span / factor, LEAST_SPAN_US), total);
    look(at - ((x - gutter) / (width - gutter)) * next, next);
  }

  function pan(share) {
    look(from + share * span, span);
  }

  function taskAt(x, y) {
    const tasks = rows[tops.findLastIndex((top) => top <= y)];
    if (!tasks || x < gutter) return null;
    const at = usAt(x);
    const reach = (2 / (width - gutter)) * span; // two pixels: short tasks can be hit, too
    let found = null;
    for (let index = firstInSight(tasks); index < tasks.length && tasks[index].start <= at + reach; index++) {
      if (tasks[index].end >= at - reach) found = tasks[index];
    }
    return found;
  }

  function point(event) {
    const place = canvas.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  }

  function hover(task, x, y) {
    if (task !== hovered) {
      hovered = task;
      canvas.classList.toggle("over", task !== null);
      schedule();
    }
    tip.hidden = task === null;
    if (!task) return;
    const wait = task.queue > 1000 ? ` Waited ${duration(task.queue)} for a slot.` : "";
    fill(
      tip,
      element("b", {}, task.name),
      element(
        "div",
        {},
        badge(task.outcome),
        ` ${duration(task.wall)}${task.change ? ` (${change(task.change)})` : ""}`,
      ),
      element(
        "div",
        { class: "quiet" },
        `from ${duration(task.start)} to ${duration(task.end)}.${wait}${task.critical ? " On the critical path." : ""}`,
      ),
    );
    const left = Math.min(Math.max(x - tip.offsetWidth / 2, 0), width - tip.offsetWidth);
    const below = y + 20;
    tip.style.left = `${left}px`;
    tip.style.top = `${below}px`;
  }

  // Pointers: one drags, two pinch; a click without a move selects.
  const pointers = new Map();
  let moved = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, point(event));
    moved = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = point(event);
    const before = pointers.get(event.pointerId);
    if (!before) return hover(taskAt(x, y), x, y);
    if (Math.abs(x - before[0]) < 3 && !moved) return undefined;
    moved = true;
    hover(null);
    canvas.classList.add("dragging");
    if (pointers.size === 1) look(from - ((x - before[0]) / (width - gutter)) * span, span);
    else {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId)[0].slice(1);
      const apart = Math.abs(before[0] - other[0]) || 1;
      zoom((Math.abs(x - other[0]) || 1) / apart, (x + other[0]) / 2);
    }
    pointers.set(event.pointerId, [x, y]);
    return undefined;
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    canvas.classList.remove("dragging");
  };
  canvas.addEventListener("pointerup", (event) => {
    if (!moved && pointers.has(event.pointerId)) {
      const task = taskAt(...point(event));
      if (task) view.select(task.name, true);
    }
    release(event);
  });
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("dblclick", (event) => {
    const task = taskAt(...point(event));
    if (task) look(task.start - task.wall * 0.1, task.wall * 1.2);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      // A plain vertical wheel goes on scrolling the page.
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : 0.004)), point(event)[0]);
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        pan(((event.deltaX || event.deltaY) / width) * (event.deltaMode ? 20 : 1));
      }
    },
    { passive: false },
  );
  const centre = (event) => {
    if (!(event.buttons & 1)) return;
    const place = overview.getBoundingClientRect();
    look(((event.clientX - place.left - gutter) / (width - gutter)) * total - span / 2, span);
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    centre(event);
  });
  overview.addEventListener("pointermove", centre);

  byId("zoom-in").addEventListener("click", () => zoom(2));
  byId("zoom-out").addEventListener("click", () => zoom(0.5));
  byId("zoom-fit").addEventListener("click", () => look(0, total));
  new ResizeObserver(() => {
    if (box.clientWidth !== width) layOut();
  }).observe(box);

  view.subscribe((what) => {
    if (what === "theme") colours = readColours();
    if (what === "data") load();
    else if (what === "theme")
      draw(); // at once: paper does not wait for a frame
    else schedule();
  });
  load();
  return { zoom, pan, fit: () => look(0, total), element: canvas };
}

function fillLegend(report) {
  const words = {
    executed: "executed",
    restored: "restored from the cache",
    failed: "failed",
    other: "cancelled",
  };
  const present = new Set(report.timed.map((task) => OUTCOMES[task.outcome].kind));
  const items = Object.keys(words)
    .filter((kind) => present.has(kind))
    .map((kind) => element("li", {}, element("i", { class: `${kind}-fill` }), words[kind]));
  if (report.path.length)
    items.push(element("li", {}, element("i", { class: "critical-mark" }), "critical path"));
  fill(byId("timeline-legend"), ...items);
  const length = report.efficiency?.critical_ns;
  const wall = report.run?.wall;
  const share = length && wall ? `, ${percent(length / 1e3 / wall)} of the run` : "";
  byId("timeline-note").textContent = report.path.length
    ? `${count(report.path.length, "task")} on the critical path, ${duration(length / 1e3)}${share}`
    : "";
}
