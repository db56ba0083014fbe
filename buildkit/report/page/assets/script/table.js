// All tasks in a table that holds only the rows in sight, sorted and filtered at once.

const ROW_HEIGHT = 34;
const OVERSCAN = 8;
const PRINTED_ROWS = 150;
const PAPER_WIDTH = 620; // pixels: leaves out the columns for which a sheet has no room

function makeTable(view) {
  const box = byId("tasks-box");
  const table = byId("tasks-table");
  const head = element("thead");
  const body = element("tbody");
  fill(table, head, body);
  let columns = [];
  let sorting = { id: "outcome", down: false };
  let rows = [];
  let printing = false;
  let drawn = "";

  function arrange() {
    const room = printing ? PAPER_WIDTH : box.clientWidth;
    columns = columnsFor(room);
    const made = columns.map((column) => {
      const wide = widthOf(column, room);
      return element("col", wide ? { style: { width: `${wide}px` } } : {});
    });
    table.querySelector("colgroup")?.remove();
    table.prepend(element("colgroup", {}, ...made));
    fill(head, element("tr", {}, ...columns.map(headCell)));
    drawn = "";
    draw();
  }

  function headCell(column) {
    const active = sorting.id === column.id;
    const title = column.id === "outcome" && box.clientWidth < NARROW ? "" : column.title;
    return element(
      "th",
      {
        scope: "col",
        class: column.text ? null : "right",
        "aria-sort": active ? (sorting.down ? "descending" : "ascending") : null,
      },
      element(
        "button",
        {
          type: "button",
          "aria-label": `Sort by ${column.title.toLowerCase()}`,
          onclick: () => sortBy(column),
        },
        title,
      ),
    );
  }

  function sortBy(column) {
    // Numbers begin with the largest, texts with the first.
    sorting = { id: column.id, down: sorting.id === column.id ? !sorting.down : !column.text };
    sort();
    fill(head, element("tr", {}, ...columns.map(headCell)));
    head.querySelector("[aria-sort] button")?.focus({ preventScroll: true });
    box.scrollTop = 0;
    drawn = "";
    draw();
  }

  function sort() {
    rows = sortedBy(view.matching, sorting);
    const all = view.report.tasks.length;
    byId("tasks-note").textContent =
      rows.length === all
        ? count(all, "task")
        : `${rows.length.toLocaleString("en")} of ${count(all, "task")}`;
    byId("matches").textContent = view.matches
      ? `${rows.length.toLocaleString("en")} of ${all.toLocaleString("en")}`
      : "";
    table.setAttribute("aria-rowcount", String(rows.length + 1));
  }

  function draw() {
    const [first, last] = printing ? [0, Math.min(rows.length, PRINTED_ROWS)] : inSight();
    const now = `${first}-${last}-${view.selected}`;
    if (now === drawn) return;
    drawn = now;
    const made = rows.slice(first, last).map((task, index) => rowOf(task, first + index));
    if (!rows.length)
      made.push(
        remark(
          view.report.tasks.length ? "No task matches. Esc clears the filter." : "This run had no tasks.",
        ),
      );
    else if (!printing) made.push(spacer(rows.length - last));
    else if (last < rows.length)
      made.push(remark(`${(rows.length - last).toLocaleString("en")} more tasks are not printed`));
    fill(body, spacer(first), ...made);
  }

  function inSight() {
    const height = box.clientHeight || 400;
    const last = Math.ceil((box.scrollTop + height) / ROW_HEIGHT) + OVERSCAN;
    return [Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - OVERSCAN), Math.min(rows.length, last)];
  }

  function remark(text) {
    return element("tr", {}, element("td", { class: "nothing", colspan: String(columns.length) }, text));
  }

  function spacer(number) {
    if (number <= 0) return null;
    return element(
      "tr",
      { class: "spacer", "aria-hidden": "true" },
      element("td", { colspan: String(columns.length), style: { height: `${number * ROW_HEIGHT}px` } }),
    );
  }

  function rowOf(task, index) {
    const row = element("tr", {
      class: task.name === view.selected ? "row selected" : "row",
      "aria-rowindex": String(index + 2),
      "aria-selected": task.name === view.selected ? "true" : null,
    });
    row.dataset.task = task.name;
    for (const column of columns) row.append(cellOf(column, task));
    return row;
  }

  function move(step) {
    if (!rows.length) return;
    const now = rows.findIndex((task) => task.name === view.selected);
    const next =
      now < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(now + step, 0), rows.length - 1);
    view.select(rows[next].name);
  }

  function reveal() {
    const index = rows.findIndex((task) => task.name === view.selected);
    if (index < 0) return;
    const top = index * ROW_HEIGHT;
    const room = box.clientHeight - ROW_HEIGHT - 4;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW_HEIGHT > box.scrollTop + room) box.scrollTop = top + ROW_HEIGHT - room;
  }

  function refresh() {
    byId("tasks").hidden = !view.report.run;
    sort();
    drawn = "";
    draw();
  }

  box.addEventListener("scroll", draw, { passive: true });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr.row");
    if (row) view.select(row.dataset.task, true);
  });
  let width = 0;
  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    arrange();
  }).observe(box);
  addEventListener("beforeprint", () => {
    printing = true;
    arrange();
  });
  addEventListener("afterprint", () => {
    printing = false;
    arrange();
  });
  view.subscribe((what) => {
    if (what === "filter") {
      box.scrollTop = 0;
      refresh();
    } else if (what === "data") refresh();
    else if (what === "selection") {
      reveal();
      draw();
    }
  });
  refresh();
  arrange();
  return { move, element: box };
}
