// What the reader looks for at the moment: filter, selection, theme. Parts of the page subscribe to it.

function makeView(report) {
  const listeners = [];
  const view = {
    report,
    query: "",
    outcomes: new Set(), // empty: all
    selected: null, // name of a task
    detailed: false, // whether the details are open
    matching: report.tasks,
    matches: null, // Set of names, null while everything matches

    /** Call `listener(what)` after a change; `what` is a set of "filter", "selection", "theme", "data". */
    subscribe(listener) {
      listeners.push(listener);
    },
    tell(what) {
      for (const listener of listeners) listener(what);
    },
    filter(query, outcomes = view.outcomes) {
      view.query = query;
      view.outcomes = outcomes;
      const words = query.toLowerCase().split(/\s+/).filter(Boolean);
      view.matching = view.report.tasks.filter(
        (task) =>
          (!outcomes.size || outcomes.has(task.outcome)) && words.every((word) => task.folded.includes(word)),
      );
      const everything = !words.length && !outcomes.size;
      view.matches = everything ? null : new Set(view.matching.map((task) => task.name));
      view.tell("filter");
    },
    select(name, detailed = view.detailed) {
      view.selected = name;
      view.detailed = detailed && name !== null;
      view.tell("selection");
    },
    replace(next) {
      view.report = next;
      view.filter(view.query);
      view.tell("data");
    },
  };
  return view;
}

/** The colours of the theme as canvases need them; ask again after it changed. */
function readColours() {
  const probe = element("span", { hidden: true });
  document.body.append(probe);
  const names = [
    "surface",
    "sunken",
    "border",
    "strong-border",
    "text",
    "muted",
    "accent",
    "focus",
    "executed",
    "restored",
    "skipped",
    "failed",
    "other",
    "critical",
    "grid",
    "on-colour",
    "worse",
    "better",
  ];
  const colours = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colours;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Remember the choice where the browser lets a file do so. */
function rememberTheme(theme) {
  try {
    localStorage.setItem("buildkit-theme", theme);
  } catch {
    // Private windows and some browsers for file:// refuse: the choice then lasts as long as the page.
  }
}

function rememberedTheme() {
  try {
    const theme = localStorage.getItem("buildkit-theme");
    return theme === "dark" || theme === "light" ? theme : null;
  } catch {
    return null;
  }
}

function setUpTheme(view) {
  const root = document.documentElement;
  const remembered = rememberedTheme();
  if (remembered) root.dataset.theme = remembered;
  const toggle = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    rememberTheme(root.dataset.theme);
    view.tell("theme");
  };
  byId("theme").addEventListener("click", toggle);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.tell("theme"));
  // Paper is white: canvases are drawn anew for it, and back again.
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    view.tell("theme");
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    view.tell("theme");
  });
  return toggle;
}
