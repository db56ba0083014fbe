// The timeline of the run: one row per slot, and below it how many slots were busy over the whole run.
// This is what is in sight and why it changes; timeline_drawing.js draws it, timeline_pointer.js listens.

const LEAST_SPAN_US = 20;

function makeTimeline(view) {
  const box = byId("timeline-box");
  const scene = {
    view,
    canvas: byId("timeline-canvas"),
    overview: byId("timeline-overview"),
    tip: byId("timeline-tip"),
    colours: readColours(),
    rows: [], // tasks by lane, each sorted by start; a few may overlap
    tops: [AXIS_HEIGHT], // y of each lane, and at the end that below the last one
    laneHeight: 26,
    busy: [],
    total: 1, // µs, as the following two
    from: 0,
    span: 1,
    gutter: 60, // pixels, as the width
    width: 0,
    hovered: null,
  };
  let pending = 0;

  function load() {
    loadTasks(scene);
    byId("timeline").hidden = view.report.timed.length === 0;
    scene.canvas.setAttribute("aria-label", describe(scene));
    layOut();
  }

  function layOut() {
    scene.width = box.clientWidth;
    if (!scene.width) return;
    scene.gutter = scene.width < 600 ? 44 : 60;
    resize(scene.canvas, scene.width, scene.tops.at(-1) + 2);
    resize(scene.overview, scene.width, OVERVIEW_HEIGHT);
    draw();
  }

  function draw() {
    pending = 0;
    if (!scene.width) return;
    drawTimeline(scene);
    drawOverview(scene);
    scene.canvas.dataset.from = String(scene.from);
    scene.canvas.dataset.span = String(scene.span);
  }

  function schedule() {
    if (!pending) pending = requestAnimationFrame(draw);
  }

  function look(from, span) {
    scene.span = Math.min(Math.max(span, LEAST_SPAN_US), scene.total);
    scene.from = Math.min(Math.max(from, 0), scene.total - scene.span);
    schedule();
  }

  /** Zoom so that the moment at `x` stays where it is. */
  function zoom(factor, x = scene.gutter + (scene.width - scene.gutter) / 2) {
    const share = (x - scene.gutter) / (scene.width - scene.gutter);
    const span = Math.min(Math.max(scene.span / factor, LEAST_SPAN_US), scene.total);
    look(scene.from + share * (scene.span - span), span);
  }

  function pan(share) {
    look(scene.from + share * scene.span, scene.span);
  }

  function fit() {
    look(0, scene.total);
  }

  function touch(task) {
    if (task === scene.hovered) return;
    scene.hovered = task;
    scene.canvas.classList.toggle("over", task !== null);
    schedule();
  }

  setUpPointer(scene, { look, zoom, pan, touch });
  byId("zoom-in").addEventListener("click", () => zoom(2));
  byId("zoom-out").addEventListener("click", () => zoom(0.5));
  byId("zoom-fit").addEventListener("click", fit);
  new ResizeObserver(() => {
    if (box.clientWidth !== scene.width) layOut();
  }).observe(box);
  view.subscribe((what) => {
    if (what === "data") load();
    else if (what === "theme") {
      scene.colours = readColours();
      draw(); // at once: paper does not wait for a frame
    } else schedule();
  });
  load();
  return { zoom, pan, fit, element: scene.canvas };
}

/** Put the tasks of the report into the scene. What was in sight stays, the whole run included. */
function loadTasks(scene) {
  const { lanes, timed, run } = scene.view.report;
  scene.rows = lanes.map(() => []);
  for (const task of timed) {
    const row = scene.rows[task.lane];
    task.reach = Math.max(task.end, row.at(-1)?.reach ?? 0); // until when this task or an earlier one lasts
    row.push(task);
  }
  const wholeBefore = scene.span >= scene.total;
  const end = timed.reduce((latest, task) => Math.max(latest, task.end), 0);
  scene.total = Math.max(run?.wall ?? 0, end, 1);
  if (wholeBefore) [scene.from, scene.span] = [0, scene.total];
  const slots = lanes.filter((lane) => lane !== "cache").length;
  scene.laneHeight = slots <= 12 ? 26 : slots <= 32 ? 18 : 12;
  // A restore takes milliseconds: low rows do, even where many come at once.
  const slim = Math.min(scene.laneHeight, 10);
  scene.tops = [AXIS_HEIGHT];
  for (const lane of lanes) scene.tops.push(scene.tops.at(-1) + (lane === "cache" ? slim : scene.laneHeight));
  scene.busy = countBusy(timed, scene.total);
}

/** The timeline in words. */
function describe({ view, total }) {
  const { lanes, timed, path } = view.report;
  const last = path.slice(-6).map((task) => task.name);
  const chain = last.length ? ` Critical path: ${last.join(", then ")}.` : "";
  return `${count(timed.length, "task")} on ${count(lanes.length, "row")} in ${duration(total)}.${chain}`;
}

function resize(canvas, wide, high) {
  canvas.style.height = `${high}px`;
  canvas.width = Math.round(wide * devicePixelRatio);
  canvas.height = Math.round(high * devicePixelRatio);
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
