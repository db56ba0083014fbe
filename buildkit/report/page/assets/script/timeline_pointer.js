// The pointer on the timeline: hover, drag, pinch, wheel, click and double click.

/** Listen. `touch(task)` marks the task that is pointed at; the others change what is in sight. */
function setUpPointer(scene, { look, zoom, pan, touch }) {
  const { canvas, view } = scene;
  const pointers = new Map(); // one drags, two pinch
  let moved = false; // a click without a move selects

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event, canvas));
    moved = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = placeOf(event, canvas);
    const before = pointers.get(event.pointerId);
    if (!before) {
      point(scene, taskAt(scene, x, y), x, y, touch);
      return;
    }
    if (Math.abs(x - before[0]) < 3 && !moved) return;
    moved = true;
    point(scene, null, x, y, touch);
    canvas.classList.add("dragging");
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = Math.abs(before[0] - other[0]) || 1;
      zoom((Math.abs(x - other[0]) || 1) / apart, (x + other[0]) / 2);
    } else look(scene.from - ((x - before[0]) / (scene.width - scene.gutter)) * scene.span, scene.span);
    pointers.set(event.pointerId, [x, y]);
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    canvas.classList.remove("dragging");
  };
  canvas.addEventListener("pointerup", (event) => {
    const task = !moved && pointers.has(event.pointerId) ? taskAt(scene, ...placeOf(event, canvas)) : null;
    if (task) view.select(task.name, true);
    release(event);
  });
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => point(scene, null, 0, 0, touch));
  canvas.addEventListener("dblclick", (event) => {
    const task = taskAt(scene, ...placeOf(event, canvas));
    if (task) look(task.start - task.wall * 0.1, task.wall * 1.2);
  });
  canvas.addEventListener("wheel", (event) => turn(event, scene, { zoom, pan }), { passive: false });
  setUpOverview(scene, look);
}

/** A plain vertical wheel goes on scrolling the page. */
function turn(event, { canvas, width }, { zoom, pan }) {
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : 0.004)), placeOf(event, canvas)[0]);
  } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    pan(((event.deltaX || event.deltaY) / width) * (event.deltaMode ? 20 : 1));
  }
}

function setUpOverview(scene, look) {
  const { overview } = scene;
  const centre = (event) => {
    if (!(event.buttons & 1)) return;
    const share = (placeOf(event, overview)[0] - scene.gutter) / (scene.width - scene.gutter);
    look(share * scene.total - scene.span / 2, scene.span);
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    centre(event);
  });
  overview.addEventListener("pointermove", centre);
}

function placeOf(event, canvas) {
  const place = canvas.getBoundingClientRect();
  return [event.clientX - place.left, event.clientY - place.top];
}

function taskAt({ rows, tops, gutter, width, from, span }, x, y) {
  const tasks = rows[tops.findLastIndex((top) => top <= y)];
  if (!tasks || x < gutter) return null;
  const at = from + ((x - gutter) / (width - gutter)) * span;
  const reach = (2 / (width - gutter)) * span; // two pixels: short tasks can be hit, too
  let found = null;
  for (
    let index = firstInSight(tasks, from);
    index < tasks.length && tasks[index].start <= at + reach;
    index++
  ) {
    if (tasks[index].end >= at - reach) found = tasks[index];
  }
  return found;
}

/** Show what the pointer is on, in a box below it. */
function point({ tip, width }, task, x, y, touch) {
  touch(task);
  tip.hidden = task === null;
  if (!task) return;
  const wait = task.queue > 1000 ? ` Waited ${duration(task.queue)} for a slot.` : "";
  const changed = task.change ? ` (${change(task.change)})` : "";
  const when = `from ${duration(task.start)} to ${duration(task.end)}.${wait}`;
  fill(
    tip,
    element("b", {}, task.name),
    element("div", {}, badge(task.outcome), ` ${duration(task.wall)}${changed}`),
    element("div", { class: "quiet" }, when, task.critical ? " On the critical path." : ""),
  );
  tip.style.left = `${Math.min(Math.max(x - tip.offsetWidth / 2, 0), width - tip.offsetWidth)}px`;
  tip.style.top = `${y + 20}px`;
}
