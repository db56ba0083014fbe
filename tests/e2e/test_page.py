"""The page in a real browser: what a reader sees, and what their keys and pointer do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildkit.core.execution import Cost, Decision, Execution
from buildkit.state.database import open_database
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary

from .chromium import Browser, Page, chromium, find_chromium
from .harness import BOTH_STOCK, Project

ROOT = Path(__file__).parents[2]
READY = "document.documentElement.dataset.ready === 'true'"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = "<img src=x onerror=alert(1)>:</script>\u2028"

pytestmark = [
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed (Debian: chromium)"),
    pytest.mark.skipif(bool(os.environ.get(BOTH_STOCK)), reason="says what buildkit adds to doit"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(str(tmp_path_factory.mktemp("profile"))) as started:
        yield started


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a project with a past: 40 runs of 150 tasks, as `doit report --html` writes it."""
    directory = tmp_path_factory.mktemp("shop")
    generator = ROOT / "benchmarks" / "page_history.py"
    subprocess.run(
        [sys.executable, generator, directory, "40"], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    return report(directory)


def report(directory: Path, *options: str) -> Path:
    """Write the page of the project in the directory, and return its path."""
    path = directory / "report.html"
    subprocess.run(
        [sys.executable, "-m", "doit", "report", "--html", path, *options],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return path


def record(directory: Path, *executions: Execution, runs: int = 1) -> None:
    """Make a history of runs that all did the same."""
    connection = open_database(str(directory), warn=print)
    history = History(connection)
    for number in range(runs):
        info = RunInfo(time.time() - 100 + number, ("doit",), str(directory), width=2, git_commit=COMMIT)
        run_id = history.begin_run(info)
        history.add_executions(run_id, executions)
        end = max((each.started_ns + each.cost.wall_ns for each in executions), default=0)
        history.finish_run(run_id, RunSummary(end, 0, executed=len(executions)))
    connection.close()


@pytest.fixture
def page(browser: Browser, shop: Path) -> Iterator[Page]:
    yield from opened(browser, shop)


def opened(browser: Browser, path: Path, width: int = 1280, *, dark: bool = False) -> Iterator[Page]:
    """Give a page that is drawn; whatever it complains about fails the test."""
    page = browser.open_page(width, dark=dark)
    page.open(path.as_uri())
    page.wait_until(READY)
    page.settle()
    yield page
    assert page.troubles == []
    page.close()


def rows(page: Page) -> list[str]:
    return list(
        page.evaluate("[...document.querySelectorAll('#tasks-table tr.row')].map((row) => row.dataset.task)")
    )


def shown(page: Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.querySelector({json.dumps(selector)}).checkVisibility()"))


def sight(page: Page) -> tuple[float, float]:
    """Return from when on and how much of the run the timeline shows, in microseconds."""
    data = "document.querySelector('#timeline-canvas').dataset"
    start, span = page.evaluate(f"[Number({data}.from), Number({data}.span)]")
    return start, span


def test_everything_is_drawn_and_nothing_is_loaded(page: Page, shop: Path) -> None:
    for section in ("overview", "attention", "timeline", "stages", "runs", "sla", "tasks"):
        assert shown(page, f"#{section}"), section
    assert page.requests == [shop.as_uri()]
    assert page.text("#overview-title") == "Run 40"
    assert "failed" in page.text("#run-state")


def test_regressions_come_before_the_timeline_with_their_trend(page: Page) -> None:
    text = page.text("#attention")
    assert re.search(r"test:checkout\s+\+\d+%", text)
    assert (
        page.evaluate("document.querySelectorAll('#attention [data-trend=\"test:checkout\"] canvas').length")
        == 1
    )
    assert page.evaluate(
        "document.querySelector('#attention').compareDocumentPosition(document.querySelector('#timeline'))"
        " === Node.DOCUMENT_POSITION_FOLLOWING"
    )


def test_charts_and_timeline_have_something_on_them(page: Page) -> None:
    empty = page.evaluate(
        """[...document.querySelectorAll("main canvas")].filter((canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const pixels = new Uint32Array(data.buffer);
            return new Set(pixels).size < 3;
        }).map((canvas) => canvas.parentElement.id || canvas.id)"""
    )
    assert empty == []


def test_typing_filters_at_once(page: Page) -> None:
    page.press("/")
    page.type("gateway TEST")
    assert rows(page) == ["test:gateway"]
    assert page.text("#matches") == "1 of 150"
    page.press("Escape")
    assert len(rows(page)) > 10
    assert page.evaluate("document.querySelector('#query').value") == ""


def test_a_filter_that_matches_nothing_says_so(page: Page) -> None:
    page.press("/")
    page.type("no such task")
    assert rows(page) == []
    assert "No task matches" in page.text("#tasks-table")


def test_outcomes_filter_too(page: Page) -> None:
    page.click_on("#outcomes .chip")
    assert rows(page) == ["test:gateway"]
    assert page.evaluate("document.querySelector('#outcomes .chip').getAttribute('aria-pressed')") == "true"
    page.click_on("#outcomes .chip")
    assert len(rows(page)) > 10


def test_columns_sort_both_ways(page: Page) -> None:
    column = "[...document.querySelectorAll('#tasks-table tr.row td:nth-child(3)')]"
    times = f"{column}.slice(0, 3).map((cell) => cell.innerText)"
    page.click_on("#tasks-table thead th:nth-child(3) button")
    assert page.evaluate("document.querySelector('#tasks-table th:nth-child(3)').ariaSort") == "descending"
    longest = page.evaluate(times)
    assert all(longest)
    page.click_on("#tasks-table thead th:nth-child(3) button")
    assert page.evaluate("document.querySelector('#tasks-table th:nth-child(3)').ariaSort") == "ascending"
    assert page.evaluate(times) != longest


def test_zooming_keeps_what_is_under_the_pointer_in_its_place(page: Page) -> None:
    left, top, width = page.evaluate(
        """(() => {
            const canvas = document.querySelector("#timeline-canvas");
            canvas.scrollIntoView({ block: "center", behavior: "instant" });
            const box = canvas.getBoundingClientRect();
            return [box.left + 60, box.top + 60, box.width - 60];
        })()"""
    )
    _, whole = sight(page)
    page.mouse("mouseWheel", left + width / 4, top, deltaX=0, deltaY=-400, modifiers=2)
    page.settle()
    start, span = sight(page)
    assert span < whole / 2
    assert start + span / 4 == pytest.approx(whole / 4, rel=0.01)


def test_a_plain_wheel_goes_on_scrolling_the_page(page: Page) -> None:
    x, y = page.evaluate(
        """(() => {
            const canvas = document.querySelector("#timeline-canvas");
            canvas.scrollIntoView({ block: "center", behavior: "instant" });
            const box = canvas.getBoundingClientRect();
            return [box.left + 300, box.top + 60];
        })()"""
    )
    before = sight(page), page.evaluate("scrollY")
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=200)
    page.wait_until(f"scrollY > {before[1]}")
    assert sight(page) == before[0]


def test_dragging_and_keys_move_the_timeline(page: Page) -> None:
    page.click_on("#zoom-in")
    page.click_on("#zoom-in")
    start, span = sight(page)
    box = page.evaluate(
        "(({ left, top }) => [left, top])(document.querySelector('#timeline-canvas').getBoundingClientRect())"
    )
    x, y = box[0] + 500, box[1] + 60
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    page.mouse("mouseMoved", x - 200, y, button="left", buttons=1)
    page.mouse("mouseReleased", x - 200, y, button="left")
    page.settle()
    dragged = sight(page)
    assert dragged[0] > start
    assert dragged[1] == span
    assert not shown(page, "#details")
    page.evaluate("document.querySelector('#timeline-canvas').focus()")
    page.press("ArrowLeft")
    assert sight(page)[0] < dragged[0]
    page.press("0")
    assert sight(page)[0] == 0
    assert sight(page)[1] > span


def test_a_click_on_the_timeline_opens_the_task(page: Page) -> None:
    page.press("/")
    page.type("test:checkout")
    page.press("ArrowDown")
    assert page.evaluate("document.querySelector('#tasks-table tr.selected').dataset.task") == "test:checkout"
    page.press("Enter")
    assert page.text("#details-title") == "test:checkout"
    assert shown(page, "#details .chart canvas")
    assert "Latest executions" in page.text("#details")


def test_escape_closes_the_details_and_returns_to_where_they_were_opened(page: Page) -> None:
    page.evaluate("document.querySelector('#attention .link-button').focus()")
    page.press("Enter", "\r")
    assert shown(page, "#details")
    page.press("Escape")
    assert not shown(page, "#details")
    assert page.evaluate("document.activeElement.className") == "link-button"


def test_arrows_walk_through_the_table_and_keep_the_row_in_sight(page: Page) -> None:
    page.evaluate("document.querySelector('#tasks-box').focus()")
    for _ in range(40):
        page.press("ArrowDown")
    inside = page.evaluate(
        """(() => {
            const row = document.querySelector("#tasks-table tr.selected").getBoundingClientRect();
            const box = document.querySelector("#tasks-box").getBoundingClientRect();
            return row.top >= box.top && row.bottom <= box.bottom + 1;
        })()"""
    )
    assert inside


def test_the_theme_follows_the_system_and_the_choice_is_remembered(browser: Browser, shop: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    for page in opened(browser, shop, dark=True):
        dark = page.evaluate(colour)
        page.press("t")
        light = page.evaluate(colour)
        assert dark != light
        page.open(shop.as_uri())
        page.wait_until(READY)
        assert page.evaluate(colour) == light
        page.evaluate("localStorage.clear()")


def test_help_opens_and_closes(page: Page) -> None:
    page.press("?")
    assert page.evaluate("document.querySelector('#keys').open")
    page.press("Escape")
    assert not page.evaluate("document.querySelector('#keys').open")


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out_or_lies_upon_another(browser: Browser, shop: Path, width: int) -> None:
    for page in opened(browser, shop, width):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        overlaps = page.evaluate(
            """[
                ".toolbar > *", ".tile", "main > section", ".card-head > *", ".stages li", ".chip",
            ].flatMap((group) => {
                const places = [...document.querySelectorAll(group)].filter((each) => each.checkVisibility());
                const boxes = places.map((each) => each.getBoundingClientRect());
                return boxes.flatMap((one, index) => boxes.slice(index + 1).filter((other) =>
                    one.left < other.right - 1 && other.left < one.right - 1 &&
                    one.top < other.bottom - 1 && other.top < one.bottom - 1).map(() => group));
            })"""
        )
        assert overlaps == []


def test_everything_that_can_be_reached_has_a_name(page: Page) -> None:
    page.call("Accessibility.enable")
    nameless = [
        node["role"]["value"]
        for node in page.call("Accessibility.getFullAXTree")["nodes"]
        if any(
            each["name"] == "focusable" and each["value"].get("value") for each in node.get("properties", ())
        )
        and not node.get("name", {}).get("value")
        and node["role"]["value"] != "main"
    ]
    assert nameless == []


def test_it_prints_in_light_colours_with_more_rows_than_are_in_sight(browser: Browser, shop: Path) -> None:
    for page in opened(browser, shop, dark=True):
        page.evaluate(
            """addEventListener("beforeprint", () => {
                const rows = document.querySelectorAll("#tasks-table tr.row").length;
                window.printed = [document.documentElement.dataset.theme, rows];
            })"""
        )
        document = page.call("Page.printToPDF", {"printBackground": True})["data"]
        assert len(document) > 20_000
        assert page.evaluate("window.printed") == ["light", 150]
        assert page.evaluate("document.documentElement.dataset.theme") is None
        assert len(rows(page)) < 60


def test_names_with_markup_are_shown_as_they_are(browser: Browser, tmp_path: Path) -> None:
    record(tmp_path, Execution(HOSTILE, Decision.EXECUTED, cost=Cost(10**9), slot=1), runs=3)
    for page in opened(browser, report(tmp_path)):
        assert rows(page) == [HOSTILE]
        page.evaluate("document.querySelector('#tasks-table tr.row').click()")
        page.settle()
        assert page.evaluate("document.querySelector('#details-title').textContent") == HOSTILE
        assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_commits_are_linked_where_the_remote_is_known(browser: Browser, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    remote = ["git", "-C", tmp_path, "remote", "add", "origin", "git@github.com:owner/name.git"]
    subprocess.run(remote, check=True)
    record(tmp_path, Execution("a", Decision.EXECUTED, cost=Cost(10**9), slot=1))
    for page in opened(browser, report(tmp_path)):
        link = page.evaluate("document.querySelector('#run-facts a').href")
        assert link == f"https://github.com/owner/name/commit/{COMMIT}"


def test_ten_thousand_tasks_take_no_more_rows_than_a_few(browser: Browser, tmp_path: Path) -> None:
    many = [
        Execution(
            f"stage{number % 7}:task{number}",
            Decision.EXECUTED,
            started_ns=number * 10**6,
            cost=Cost(10**6),
            slot=1,
        )
        for number in range(10_000)
    ]
    record(tmp_path, *many)
    for page in opened(browser, report(tmp_path)):
        assert page.text("#tasks-note") == "10,000 tasks"
        assert len(rows(page)) < 60
        page.evaluate("document.querySelector('#tasks-box').scrollTop = 1e9")
        page.wait_until(
            "document.querySelector('#tasks-table tr.row:nth-last-child(1)')?.ariaRowIndex === '10001'"
        )


def test_the_first_run_says_that_there_is_nothing_to_compare_with(browser: Browser, tmp_path: Path) -> None:
    record(tmp_path, Execution("a", Decision.EXECUTED, cost=Cost(10**9), slot=1))
    for page in opened(browser, report(tmp_path)):
        assert "This is the first run" in page.text("#attention")
        assert not shown(page, "#runs")


def test_an_empty_history_says_so(browser: Browser, tmp_path: Path) -> None:
    for page in opened(browser, report(tmp_path)):
        assert page.text("#overview-title") == "No runs yet"
        assert not shown(page, "#tasks")


def test_ui_follows_a_run_and_ends_with_ctrl_c(browser: Browser, project: Project) -> None:
    project.dodo(
        """
        def task_first():
            return {'actions': ['true']}

        def task_waiting():
            return {'actions': ['cat gate'], 'task_dep': ['first']}
        """
    )
    os.mkfifo(project.path("gate"))
    ui = project.start("ui", "--no-open")
    assert ui.stdout is not None
    address = ui.stdout.readline().decode().strip()
    page = browser.open_page()
    page.open(address)
    page.wait_until(f"{READY} && document.querySelector('#live').innerText === 'live'")
    assert page.text("#overview-title") == "No runs yet"

    build = project.start("-n", "2")
    page.wait_until("document.querySelector('#run-state').innerText.includes('still running')")
    page.wait_until("document.querySelector('tr[data-task=waiting]')?.innerText.includes('running')")
    with project.path("gate").open("w"):
        pass
    build.communicate()
    page.wait_until("document.querySelector('#run-state').innerText.includes('succeeded')")
    assert rows(page) == ["waiting", "first"] or rows(page) == ["first", "waiting"]
    assert page.troubles == []

    ui.send_signal(signal.SIGINT)
    said, _ = ui.communicate()
    assert (ui.returncode, said) == (0, b"Ctrl-C ends it.\n")
    page.wait_until("document.querySelector('#live').innerText === 'not connected'")
    page.close()


def test_ui_shows_what_does_not_change_without_asking_again_and_again(
    browser: Browser, project: Project
) -> None:
    project.dodo("def task_a():\n    return {'actions': ['true']}\n")
    project.run()
    ui = project.start("ui", "--no-open")
    assert ui.stdout is not None
    page = browser.open_page()
    page.open(ui.stdout.readline().decode().strip())
    page.wait_until(f"{READY} && document.querySelector('#live').innerText === 'live'")
    page.evaluate("new Promise((done) => setTimeout(done, 2500))")  # five looks of the server
    assert sum(request.endswith("data.json") for request in page.requests) <= 2
    ui.send_signal(signal.SIGINT)
    ui.communicate()
    page.close()
