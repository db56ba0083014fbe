"""The page as a file: what may get into it, and what it may do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import page_sample
import pytest

from buildkit.core.execution import Decision
from buildkit.report.data import ReportData
from buildkit.report.page import build_page, page_document
from buildkit.report.page.build import json_in_html

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "buildkit" / "report" / "page" / "assets"
EVIL = "</script><script>alert(1)</script><!--\u2028\u2029&amp;'\"\udce4"


class Reader(HTMLParser):
    """Collects the scripts, styles and addresses of a page as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._inside == "style":
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    @property
    def policy(self) -> str:
        at = self.attributes.index(("meta", "http-equiv", "Content-Security-Policy"))
        return str(self.attributes[at + 1][2])


def page_of(data: ReportData, **options: object) -> str:
    return build_page(page_document(data, project="shop", **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(page_sample.report(page_sample.row("compile:a")))


def test_a_name_with_markup_stays_in_the_data() -> None:
    reader = Reader(page_of(page_sample.report(page_sample.row(EVIL))))
    assert len(reader.scripts) == 2
    assert json.loads(reader.scripts[0][1])["tasks"]["name"] == [EVIL]


def test_the_data_hold_no_character_that_could_end_them() -> None:
    text = json_in_html({"name": EVIL})
    assert not re.search(r"[<>&\u0080-\U0010ffff]", text)
    assert json.loads(text) == {"name": EVIL}


def test_a_project_with_markup_in_its_name_has_it_escaped_in_the_title() -> None:
    data = page_sample.report(page_sample.row("a"))
    page = build_page(page_document(data, project="<b>shop</b>\udce4"))
    assert "<title>&lt;b&gt;shop&lt;/b&gt;?, run 5</title>" in page
    page.encode("utf-8")


def test_a_name_like_a_place_of_the_template_is_not_filled_in() -> None:
    reader = Reader(page_of(page_sample.report(page_sample.row("@SCRIPT@"))))
    assert json.loads(reader.scripts[0][1])["tasks"]["name"] == ["@SCRIPT@"]


def test_numbers_that_json_does_not_know_are_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_in_html({"share": float("nan")})


def test_the_policy_lets_exactly_the_scripts_and_styles_of_the_file_run(page: str) -> None:
    reader = Reader(page)
    allowed = set(re.findall(r"'sha256-([^']+)'", reader.policy))
    present = {
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (reader.scripts[1][1], *reader.styles)
    }
    assert allowed == present
    assert "default-src 'none'" in reader.policy
    assert "unsafe" not in reader.policy


def test_the_file_may_connect_to_nothing_and_the_live_page_only_to_its_server(page: str) -> None:
    assert "connect-src 'none'" in Reader(page).policy
    live = page_of(page_sample.report(page_sample.row("a")), live=True)
    assert "connect-src 'self'" in Reader(live).policy


def test_the_file_loads_nothing(page: str) -> None:
    loading = [
        (tag, name, value)
        for tag, name, value in Reader(page).attributes
        if name in ("src", "href", "srcset", "action", "poster", "data")
        and not (value or "").startswith(("#", "data:"))
    ]
    assert loading == []
    assert "@import" not in page
    assert not re.search(r"url\(", "".join(Reader(page).styles))


def test_no_part_of_the_page_uses_inline_styles_or_handlers(page: str) -> None:
    assert [name for _, name, _ in Reader(page).attributes if name == "style" or name.startswith("on")] == []


@pytest.mark.parametrize("script", sorted((ASSETS / "script").glob("*.js")), ids=lambda path: path.name)
def test_scripts_put_texts_into_the_page_never_markup(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc"
    assert re.findall(ways, text) == []


@pytest.mark.parametrize("asset", sorted(ASSETS.rglob("*.js")), ids=lambda path: path.name)
def test_scripts_hold_nothing_that_ends_the_element_that_they_stand_in(asset: Path) -> None:
    assert not re.search(r"</script|<!--", asset.read_text(encoding="utf-8"), re.IGNORECASE)


def test_every_script_is_part_of_the_page(page: str) -> None:
    for script in (ASSETS / "script").glob("*.js"):
        assert script.read_text(encoding="utf-8") in page


def test_the_wheel_holds_all_parts_of_the_page(tmp_path: Path) -> None:
    wheel = pytest.importorskip(
        "hatchling.builders.wheel", reason="hatchling is not installed (extra: build)"
    )
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    held = set(zipfile.ZipFile(built).namelist())
    parts = {str(path.relative_to(ROOT)) for path in ASSETS.rglob("*") if path.is_file()}
    assert parts - held == set()


def test_the_chart_library_comes_with_its_licence(page: str) -> None:
    assert "Copyright (c) 2022 Leon Sorokin" in page
    assert "Permission is hereby granted, free of charge" in page


def test_outcomes_have_the_same_codes_in_python_and_in_the_page() -> None:
    text = (ASSETS / "script" / "model.js").read_text(encoding="utf-8")
    table = text[text.index("const OUTCOMES") : text.index("];")]
    names = re.findall(r'name: "([a-z-]+)"', table)
    assert names == [*names[:-1], "running"]
    rows = [page_sample.row("x", decision) for decision in Decision]
    document = page_document(page_sample.report(*rows), project="shop")
    assert [names[code] for code in document["tasks"]["outcome"]] == [decision.value for decision in Decision]


def test_an_empty_history_makes_a_page_too() -> None:
    page = page_of(ReportData("/project", 0.0))
    assert "<title>shop</title>" in page
    assert json.loads(Reader(page).scripts[0][1])["run"] is None
