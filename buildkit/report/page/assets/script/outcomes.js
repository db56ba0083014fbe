// The buttons that show only tasks with some outcomes.

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
