// All tasks in a table that holds only the rows in sight, sorted and filtered at once.

const ROW_HEIGHT = 34;
const OVERSCAN = 8;
const PRINTED_ROWS = 150;
const PAPER_WIDTH = 620; // pixels: leaves out the columns for which a sheet has no room

// `least`: the width of the table in pixels from which the column is shown.
const COLUMNS = [
  { id: "name", title: "Task", text: true, width: null, least: 0, value: (task) => task.folded },
  {
    id: "outcome",
    title: "Outcome",
    text: true,
    width: 118,
    least: 0,
    value: (task) => INTEREST.indexOf(task.outcome),
  },
  {
    id: "wall",
    title: "Time",
    width: 108,
    least: 0,
    value: (task) => task.wall || null,
    show: (task) => (task.wall ? duration(task.wall) : ""),
  },
  {
    id: "change",
    title: "Change",
    width: 84,
    least: 520,
    value: (task) => task.change,
    show: (task) => change(task.change),
  },
  {
    id: "cpu",
    title: "CPU",
    width: 108,
    least: 760,
    value: (task) => task.cpu,
    show: (task) => duration(task.cpu),
  },
  {
    id: "rss",
    title: "Memory",
    width: 96,
    least: 860,
    value: (task) => task.rss,
    show: (task) => size(task.rss),
  },
  {
    id: "queue",
    title: "Waited",
    width: 112,
    least: 960,
    value: (task) => task.queue || null,
    show: (task) => (task.queue >= 1000 ? duration(task.queue) : ""),
  },
  {
    id: "reason",
    title: "Reason",
    text: true,
    width: 260,
    least: 640,
    value: (task) => task.reason,
    show: (task) => task.reason,
  },
];
const INTEREST = [7, 3, 6, 4, 0, 1, 5, 2]; // codes of outcomes, the most telling first

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
    columns = COLUMNS.filter((column) => room >= column.least);
    const groups = element(
      "colgroup",
      {},
      ...columns.map((column) => {
        const narrow = room < 520;
        const width =
          column.id === "outcome" && narrow ? 44 : column.id === "wall" && narrow ? 96 : column.width;
        return element("col", width ? { style: { width: `${width}px` } } : {});
      }),
    );
    table.querySelector("colgroup")?.remove();
    table.prepend(groups);
    fill(head, element("tr", {}, ...columns.map(headCell)));
    drawn = "";
    draw();
  }

  function headCell(column) {
    const active = sorting.id === column.id;
    const title = column.id === "outcome" && box.clientWidth < 520 ? "" : column.title;
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
    const { value } = COLUMNS.find((column) => column.id === sorting.id);
    const sign = sorting.down ? -1 : 1;
    const keyed = view.matching.map((task) => [value(task), task]);
    keyed.sort(([one, first], [other, second]) => {
      if (one === null || other === null)
        return (one === null) - (other === null) || second.wall - first.wall;
      if (one < other) return -sign;
      if (one > other) return sign;
      return second.wall - first.wall || first.index - second.index;
    });
    rows = keyed.map(([, task]) => task);
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
    const height = box.clientHeight || 400;
    const first = printing ? 0 : Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const last = printing
      ? Math.min(rows.length, PRINTED_ROWS)
      : Math.min(rows.length, Math.ceil((box.scrollTop + height) / ROW_HEIGHT) + OVERSCAN);
    const now = `${first}-${last}-${view.selected}`;
    if (now === drawn) return;
    drawn = now;
    if (!rows.length) {
      fill(
        body,
        element(
          "tr",
          {},
          element(
            "td",
            { class: "nothing", colspan: String(columns.length) },
            view.report.tasks.length ? "No task matches. Esc clears the filter." : "This run had no tasks.",
          ),
        ),
      );
      return;
    }
    const made = [spacer(first)];
    for (let index = first; index < last; index++) made.push(rowOf(rows[index], index));
    if (!printing) made.push(spacer(rows.length - last));
    else if (last < rows.length)
      made.push(
        element(
          "tr",
          {},
          element(
            "td",
            { colspan: String(columns.length), class: "nothing" },
            `${(rows.length - last).toLocaleString("en")} more tasks are not printed`,
          ),
        ),
      );
    fill(body, ...made);
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

  function cellOf(column, task) {
    if (column.id === "name") {
      const mark = element(
        "span",
        task.critical ? { class: "on-path", title: "on the critical path" } : { class: "off-path" },
      );
      return element("td", { title: task.name }, mark, task.name);
    }
    if (column.id === "outcome") return element("td", {}, badge(task.outcome, true));
    const text = column.show(task);
    const changed = column.id === "change" && task.change !== null && Math.abs(task.change - 1) >= 0.1;
    const kind = changed ? (task.change > 1 ? "worse" : "better") : "";
    return element(
      "td",
      { class: `${column.text ? "" : "right"} ${kind}`, title: column.text ? text : null },
      text,
    );
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

/** Show which of the buttons are pressed, without making them anew: the focus stays where it is. */
function pressOutcomes(view) {
  for (const chip of byId("outcomes").children)
    chip.setAttribute("aria-pressed", String(view.outcomes.has(Number(chip.dataset.code))));
}

/** Buttons that show only some outcomes. */
function fillOutcomes(view) {
  const place = byId("outcomes");
  const counts = new Map();
  for (const task of view.report.tasks) counts.set(task.outcome, (counts.get(task.outcome) ?? 0) + 1);
  const present = INTEREST.filter((outcome) => counts.has(outcome));
  fill(
    place,
    ...present.map((outcome) => {
      const press = () => {
        const chosen = new Set(view.outcomes);
        if (!chosen.delete(outcome)) chosen.add(outcome);
        view.filter(view.query, chosen);
      };
      return element(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-pressed": "false",
          "data-code": String(outcome),
          "data-key": `outcome ${outcome}`,
          onclick: press,
        },
        badge(outcome),
        element("span", { class: "count" }, counts.get(outcome).toLocaleString("en")),
      );
    }),
  );
  pressOutcomes(view);
}
