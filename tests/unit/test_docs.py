"""The documentation names what the code has: settings, keys, commands, options; its links lead somewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import pytest

from buildkit.cli import plugin
from buildkit.cli.precedence import OUR_COMMANDS
from buildkit.core.config import Settings, TaskSettings
from buildkit.core.errors import ExitCode
from buildkit.core.execution import Decision, Execution, ReasonKind
from buildkit.report.data import ReportData
from buildkit.report.last_run import TaskRow
from buildkit.report.last_run import as_json as task_json

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
KINDS = ("tutorial.md", "howto", "reference", "explanation")  # https://diataxis.fr

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links and pictures of a page, as they are written."""
    for match in LINK.finditer(prose(page)):
        yield match[1] or match[2]


def anchors(page: Path) -> set[str]:
    """Return the fragments that the headings of a page answer to, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in (re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text) for text in headings)
    }


def named_in_a_table(page: str) -> set[str]:
    """Return the names in the first column of the tables of a reference page."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return {
        name
        for row in re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(.+?)`", row)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / unquote(name)).resolve() if name else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_begin_with_one_title(page: Path) -> None:
    titles = re.findall(r"^# .+$", prose(page), re.MULTILINE)
    assert len(titles) == 1
    assert prose(page).startswith(titles[0])


def test_every_page_of_docs_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        waiting += [
            target
            for link in links(page)
            if (target := Path(os.path.normpath(page.parent / link.partition("#")[0]))).suffix == ".md"
            and target.exists()
        ]
    assert sorted(set((ROOT / "docs").rglob("*.md")) - seen) == []


@pytest.mark.parametrize("kind", KINDS)
def test_docs_have_all_four_kinds(kind: str) -> None:
    place = ROOT / "docs" / kind
    assert place.is_file() or list(place.glob("*.md"))


def test_every_setting_is_in_the_reference_and_no_other() -> None:
    named = named_in_a_table("settings.md")
    settings = set(Settings._fields)
    variables = {name for name in named if name.isupper()}
    assert named - variables == settings


def test_every_environment_variable_is_in_the_reference_and_no_other() -> None:
    named = {name for name in named_in_a_table("settings.md") if name.startswith("BUILDKIT")}
    pattern = re.compile(r"""["'](BUILDKIT(?:_[A-Z]+)*)["']""")
    used = {
        name
        for module in (ROOT / "buildkit").rglob("*.py")
        for name in pattern.findall(module.read_text(encoding="utf-8"))
    }
    assert used == named


def test_every_task_setting_is_in_the_reference_and_no_other() -> None:
    assert named_in_a_table("task-settings.md") == set(TaskSettings._fields)


def section(page: str, title: str) -> str:
    """Return what stands under a heading of the second level, up to the next one."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return next(part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(title + "\n"))


@pytest.mark.parametrize("name", sorted(OUR_COMMANDS))
def test_every_option_of_our_commands_is_in_the_reference_and_no_other(name: str) -> None:
    options = [
        {f"--{option[kind]}" for kind in ("long", "inverse") if option.get(kind)}
        for option in getattr(plugin, name).cmd_options
    ]
    rows = re.findall(r"^\| (`-.+?) \|", section("commands.md", f"doit {name}"), re.MULTILINE)
    named = {option for row in rows for option in re.findall(r"`(--.+?)`", row)}
    assert [option for option in options if not option & named] == []
    assert named - set().union(*options) == set()


def test_every_key_of_the_report_is_in_the_reference_and_no_other() -> None:
    text = (REFERENCE / "report-json.md").read_text(encoding="utf-8")
    report, task = (
        {
            name
            for row in re.findall(r"^\| (.+?) \|", part, re.MULTILINE)
            for name in re.findall(r"`(.+?)`", row)
        }
        for part in text.split("## A task")
    )
    keys = {field.name for field in fields(ReportData)} - {"rows"}
    assert report == keys | {"tasks", "hidden_tasks"}
    assert task == set(task_json(TaskRow(Execution("a", Decision.EXECUTED))))


def test_every_exit_code_is_in_the_reference_and_no_other() -> None:
    text = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes == {code.value for code in ExitCode}


def test_every_reason_is_explained_and_no_other() -> None:
    text = (ROOT / "docs" / "howto" / "debug-a-miss.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| .+ \|$", text, re.MULTILINE)
    explained = {reason for row in rows for reason in row.split(", ")} - {"reason", "---"}
    assert explained == {kind.value for kind in ReasonKind}
