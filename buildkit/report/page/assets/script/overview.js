// The head of the page: which run this is, how it ended, and its five numbers.

function fillOverview(report) {
  const { run } = report;
  byId("search").hidden = !run;
  byId("brand-name").textContent = report.project;
  byId("overview-title").textContent = run ? `Run ${run.id}` : "No runs yet";
  if (!run) {
    byId("run-state").hidden = true;
    fill(byId("run-facts"));
    fill(
      byId("tiles"),
      element(
        "p",
        { class: "notice" },
        "No runs are recorded in this project yet. Run ",
        element("code", {}, "doit"),
        ", then make this page again.",
      ),
    );
    return;
  }
  byId("run-state").hidden = false;
  fill(byId("run-state"), stateOf(run));
  fill(
    byId("run-facts"),
    ...facts(report).map(([name, ...value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, ...value)),
    ),
  );
  fill(byId("tiles"), ...tiles(report));
}

function stateOf(run) {
  const [kind, sign, words] =
    run.state === "running"
      ? ["executed", "…", "still running"]
      : run.state === "unfinished"
        ? ["other", "■", "did not finish: killed, or the machine went down"]
        : run.exit === 0
          ? ["restored", "✓", "succeeded"]
          : ["failed", "✕", `failed, exit code ${run.exit}`];
  return element(
    "span",
    { class: `badge state ${kind}` },
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    words,
  );
}

function facts(report) {
  const { run } = report;
  const rows = [["Started", moment(run.at)]];
  if (run.commit) rows.push(["Commit", commitLink(report, run.commit), run.dirty ? " with changes" : null]);
  rows.push(["Command", element("span", { class: "mono" }, run.command)]);
  if (run.width) rows.push(["Width", run.width > 1 ? `${run.width} slots` : "one after the other"]);
  if (run.machine) rows.push(["Machine", run.machine]);
  if (run.ci) rows.push(["CI", run.ci]);
  if (run.lane) rows.push(["Lane", run.lane]);
  return rows;
}

function tile(label, value, sub, below) {
  return element(
    "div",
    { class: "tile" },
    element("p", { class: "label" }, label),
    element("p", { class: "value" }, value),
    element("p", { class: "sub" }, ...[sub].flat()),
    below ?? null,
  );
}

function meter(label, ...parts) {
  return element(
    "div",
    { class: "meter", role: "img", "aria-label": label },
    ...parts.map(([kind, share]) =>
      element("i", { class: `${kind}-fill`, style: { width: `${share * 100}%` } }),
    ),
  );
}

function tiles(report) {
  const { run, efficiency, progress } = report;
  const made = [durationTile(report)];
  if (progress) made.push(progressTile(report));
  const asked = run.executed + run.restored + run.skipped + run.failed;
  const parts = ["executed", "restored", "skipped", "failed"].filter((kind) => run[kind]);
  const rare = { upstream_failed: "not started", ignored: "ignored", cancelled: "cancelled" };
  const words = [
    ...parts.map((kind) => `${run[kind].toLocaleString("en")} ${kind}`),
    ...Object.keys(rare)
      .filter((kind) => run[kind])
      .map((kind) => `${run[kind].toLocaleString("en")} ${rare[kind]}`),
  ].join(", ");
  made.push(
    tile(
      "Tasks",
      (asked + run.upstream_failed + run.ignored + run.cancelled).toLocaleString("en"),
      words,
      asked ? meter(words, ...parts.map((kind) => [kind, run[kind] / asked])) : null,
    ),
  );
  if (efficiency) {
    const { utilisation, task_ns: taskTime, hit_rate: hits } = efficiency;
    if (utilisation !== null && run.width > 1)
      made.push(
        tile(
          "Slots busy",
          percent(utilisation),
          `${duration(taskTime / 1e3)} of tasks on ${run.width} slots`,
          meter(`${percent(utilisation)} busy`, ["executed", Math.min(utilisation, 1)]),
        ),
      );
    if (hits !== null) {
      const moved = efficiency.bytes_restored ? `, ${size(efficiency.bytes_restored)} from the cache` : "";
      made.push(
        tile(
          "Not done again",
          percent(hits),
          `${count(run.skipped, "task")} up to date${moved}`,
          meter(`${percent(hits)} not done again`, ["restored", hits]),
        ),
      );
    }
    const saved = efficiency.saved_by_history_ns + efficiency.saved_by_parallel_ns;
    const reasons = [
      efficiency.saved_by_history_ns > 0
        ? `${duration(efficiency.saved_by_history_ns / 1e3)} not done again`
        : null,
      efficiency.saved_by_parallel_ns > 0
        ? `${duration(efficiency.saved_by_parallel_ns / 1e3)} side by side`
        : null,
    ].filter(Boolean);
    made.push(tile("Saved", duration(saved / 1e3), reasons.join(", ") || "nothing was there to save"));
  }
  return made;
}

function durationTile(report) {
  const { run, runs } = report;
  if (run.state === "running") return tile("Running for", duration(run.elapsed), endOf(report));
  if (run.wall === null) return tile("Duration", "unknown", "it did not come to its end");
  const before = runs.filter(
    (other) => other.id < run.id && other.exit === 0 && other.wall !== null && other.machine === run.machine,
  );
  // Only runs that had about as much to do say anything about this one.
  const like = before.filter(
    (other) => Math.abs(other.executed - run.executed) <= 0.25 * Math.max(run.executed, 1),
  );
  const usual = like.length >= 3 ? median(like.map((other) => other.wall)) : null;
  if (usual === null) return tile("Duration", duration(run.wall), "too few runs like it to compare");
  const ratio = run.wall / usual;
  const kind = ratio > 1.1 ? "worse" : ratio < 0.9 ? "better" : null;
  return tile("Duration", duration(run.wall), [
    element("span", { class: kind }, change(ratio)),
    ` to the median of ${like.length} runs like it`,
  ]);
}

function endOf({ progress, generated_at: now }) {
  if (!progress?.eta_at) return "";
  return `about ${duration(Math.max(progress.eta_at - now, 0) * 1e6)} to go`;
}

function progressTile({ progress }) {
  const { done, total, running } = progress;
  const share = total ? Math.min(done / total, 1) : 0;
  return tile(
    "Done",
    percent(share),
    `${done.toLocaleString("en")} of ${count(total, "task")}, ${running.length} under way`,
    meter(`${percent(share)} done`, ["executed", share]),
  );
}
