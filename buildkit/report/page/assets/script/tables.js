// The two small tables: targets, and where the history leads to.

function fillSla(view) {
  const { slas } = view.report;
  byId("sla").hidden = slas.length === 0;
  const words = {
    ok: ["restored", "✓", "kept"],
    warning: ["other", "!", "near"],
    violation: ["failed", "✕", "broken"],
  };
  const head = ["Task", "Now", "Target", "Used", "State", "Broken before"].map((text, index) =>
    element("th", { scope: "col", class: index > 0 && index < 4 ? "right" : null }, text),
  );
  const rows = slas.map((each) => {
    const [kind, sign, word] = words[each.level];
    return element(
      "tr",
      {},
      element("td", {}, taskButton(view, each.task)),
      element("td", { class: "right" }, duration(each.wall_ns / 1e3)),
      element("td", { class: "right" }, duration(each.target_s * 1e6)),
      element("td", { class: "right" }, percent(each.share)),
      element(
        "td",
        {},
        element(
          "span",
          { class: `badge ${kind}` },
          element("span", { class: "sign", "aria-hidden": "true" }, sign),
          word,
        ),
      ),
      element("td", {}, `${each.violations} of ${each.executions}`),
    );
  });
  fill(byId("sla-table"), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
  const broken = slas.filter((each) => each.level === "violation").length;
  const near = slas.filter((each) => each.level === "warning").length;
  const kept = broken ? `${broken} of ${slas.length} broken` : `all ${slas.length} kept`;
  byId("sla-note").textContent = near ? `${kept}, ${near} at 80% or more` : kept;
}

function fillOutlook({ report }) {
  const { forecasts } = report;
  byId("outlook").hidden = forecasts.length === 0;
  const words = { total: "all tasks together", cache: "the cache" };
  const head = ["What", "Now", "In 30 days", "Likely", "SLA broken"].map((text, index) =>
    element("th", { scope: "col", class: index > 0 && index < 4 ? "right" : null }, text),
  );
  const rows = forecasts.map((each) => {
    const spell = each.unit === "bytes" ? size : (value) => duration(value / 1e3);
    const grown = Math.abs(each.growth - 1) >= 0.02;
    return element(
      "tr",
      {},
      element("td", {}, words[each.what] ?? each.what),
      element("td", { class: "right" }, spell(each.now)),
      element(
        "td",
        { class: `right ${grown ? (each.growth > 1 ? "worse" : "better") : ""}` },
        change(each.growth),
      ),
      element("td", { class: "right quiet" }, `${change(each.growth_low)} to ${change(each.growth_high)}`),
      element("td", {}, breaking(each)),
    );
  });
  fill(
    byId("outlook-table"),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...rows),
  );
}

function breaking({
  sla_s: target,
  breaks_in_days: days,
  breaks_earliest_days: first,
  breaks_latest_days: last,
}) {
  if (target === null) return "";
  const target_ = `${duration(target * 1e6)}: `;
  if (days === null) return `${target_}not within a year`;
  const span = first !== null && last !== null ? ` (${Math.round(first)} to ${Math.round(last)})` : "";
  return `${target_}in ${Math.round(days)} days${span}`;
}
