// `doit ui`: the server says when the history changed, and the page asks for the new report.

const LEAST_PAUSE_MS = 1000;

function followServer(view) {
  const note = byId("live");
  note.hidden = false;
  let asking = false;
  let again = false;

  function say(kind, text) {
    note.className = `live ${kind}`;
    note.textContent = text;
    note.title = text;
  }

  async function ask() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    again = false;
    const began = performance.now();
    try {
      const answer = await fetch("data.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      view.replace(readReport(await answer.json()));
      tell();
    } catch {
      say("lost", "not connected");
    }
    // A long history takes its time to read, and the build beside it needs the machine more.
    const pause = Math.max(LEAST_PAUSE_MS, 5 * (performance.now() - began));
    setTimeout(() => {
      asking = false;
      if (again) ask();
    }, pause);
  }

  function tell() {
    const running = view.report.run?.state === "running";
    say(running ? "running" : "idle", running ? "a run goes on" : "live");
  }

  const source = new EventSource("events");
  source.addEventListener("changed", ask);
  source.addEventListener("open", ask); // what changed since this page was made, or while nobody was there
  source.addEventListener("error", () => say("lost", "not connected"));
}
