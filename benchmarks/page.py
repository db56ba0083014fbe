"""Measures how fast the page of a large run opens in headless Chromium, and how fast it answers.

`python benchmarks/page.py [TASKS] [RUNS]`, by default 10,000 tasks in each of 20 runs. Opening is measured
from the request for the file until everything is drawn, in a browser that has just started with an empty
profile, and again in the same browser.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests", "e2e")]

from chromium import Page, chromium, find_chromium  # noqa: E402 - lies beside the tests that use it, too

from benchmarks import page_history  # noqa: E402 - the same

READY = "document.documentElement.dataset.ready === 'true'"
ZOOM = """new Promise((done) => {
    const canvas = document.querySelector("#timeline-canvas");
    const times = [];
    const step = (left) => {
        if (!left) return done(times);
        const began = performance.now();
        const turn = { deltaY: left % 2 ? -90 : 60, ctrlKey: true, clientX: 500 };
        canvas.dispatchEvent(new WheelEvent("wheel", turn));
        requestAnimationFrame(() => { times.push(performance.now() - began); step(left - 1); });
    };
    step(40);
})"""
FILTER = """(() => {
    const query = document.querySelector("#query");
    return ["t", "te", "test:", "test:co", "zzz", ""].map((text) => {
        const began = performance.now();
        query.value = text;
        query.dispatchEvent(new Event("input"));
        return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
            done(performance.now() - began))));
    }).reduce(async (times, time) => [...await times, await time], []);
})()"""


def opening_s(page: Page, path: str) -> float:
    """Return the seconds until everything is drawn."""
    began = time.perf_counter()
    page.open(f"file://{path}")
    page.wait_until(READY)
    page.settle()
    return time.perf_counter() - began


def main() -> None:
    """Make the page and print the figures."""
    tasks, runs = (
        int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 10_000), (2, 20))
    )
    if find_chromium() is None:
        sys.exit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as directory:
        page_history.make(directory, runs, tasks)
        path = os.path.join(directory, "report.html")
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "doit", "report", "--html", path], cwd=directory, check=True)
        print(f"{time.perf_counter() - began:8.3f} s  doit report --html, {runs} runs of {tasks:,} tasks")
        print(f"{os.path.getsize(path) / 1e6:8.2f} MB the file")
        cold = []
        for number in range(3):
            with chromium(os.path.join(directory, f"profile{number}")) as browser:
                page = browser.open_page()
                cold.append(opening_s(page, path))
                warm = [opening_s(page, path) for _ in range(3)]
                zoom = page.evaluate(ZOOM)
                filtering = page.evaluate(FILTER)
        print(f"{statistics.median(cold):8.3f} s  opens in a new browser")
        print(f"{statistics.median(warm):8.3f} s  opens in the same one")
        print(f"{statistics.median(zoom):8.1f} ms a step of zooming, at most {max(zoom):.1f} ms")
        print(f"{statistics.median(filtering):8.1f} ms from a letter in the filter to the picture")


if __name__ == "__main__":
    main()
