// The keys of the page. What is typed into the filter stays there, except Esc and the arrows up and down.

function setUpKeyboard(view, { table, timeline, toggleTheme }) {
  const query = byId("query");
  const help = byId("keys");
  const clear = () => {
    query.value = "";
    view.filter("", new Set());
  };
  const openHelp = () => help.showModal();
  byId("help").addEventListener("click", openHelp);

  const actions = {
    "/": () => {
      query.focus();
      query.select();
    },
    "?": openHelp,
    t: toggleTheme,
    ArrowDown: () => table.move(1),
    ArrowUp: () => table.move(-1),
    ArrowLeft: () => timeline.pan(-0.2),
    ArrowRight: () => timeline.pan(0.2),
    "+": () => timeline.zoom(1.6),
    "=": () => timeline.zoom(1.6),
    "-": () => timeline.zoom(1 / 1.6),
    0: timeline.fit,
    Enter: () => view.selected !== null && view.select(view.selected, true),
    Escape: () => (view.detailed ? view.select(null) : clear()),
  };

  addEventListener("keydown", (event) => {
    if (help.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target === query;
    if (typing && !["Escape", "ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
    // Arrows move rows and timeline only from there or from the page as a whole, and scroll it otherwise.
    const place = event.target;
    const free = place === document.body || place === byId("content");
    const inTable = table.element.contains(place) || typing;
    const inTimeline = place === timeline.element;
    if (/^Arrow(Up|Down)$/.test(event.key) && !(inTable || inTimeline || (free && view.selected !== null)))
      return;
    if (/^Arrow(Left|Right)$/.test(event.key) && !(free || inTimeline)) return;
    if (event.key === "Enter" && !(inTable || inTimeline || free)) return;
    if (event.key === "Enter" && place.tagName === "BUTTON") return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  let waiting = 0;
  query.addEventListener("input", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => view.filter(query.value));
  });
}
