"""Reports in words: terminals of all widths, Markdown, CSV, and two runs side by side."""

import csv
import io
import json

import pytest
from history_maker import HistoryMaker, executed, failed, noisy

from buildkit.core.execution import Decision, Execution
from buildkit.report.collect import Query, collect, view_of
from buildkit.report.compare import compare
from buildkit.report.last_run import rows_of
from buildkit.report.sections import sections_of, sparkline
from buildkit.report.writing import Style, Writing, comparison_of, csv_of, json_of, text_of


@pytest.fixture
def maker(tmp_path):
    maker = HistoryMaker(str(tmp_path))
    yield maker
    maker.history.connection.close()


@pytest.fixture
def full(maker):
    """Return a report in which every section has something to say but the forecast."""
    name = "a_group_with_a_long_name:and/a/task/with/a/path.c"
    for wall_s in noisy(30):
        maker.run(executed(name, wall_s), executed("b:1", 0.2), executed("b:2", 0.2), executed("b:3", 0.2))
    maker.run(failed("flaky", key="0" * 15))
    for wall_s in noisy(7, 3.0, seed=2):
        tasks = [executed("b:1", 0.2, sla_s=0.1), executed("b:2", 0.2), executed("b:3", 0.9)]
        maker.run(executed(name, wall_s), executed("flaky", key="0" * 15), *tasks, wall_s=6, path=[name])
    return collect(maker.history, Query(), now=maker.at)


def test_every_section_is_there(full):
    titles = [section.title for section in sections_of(full, everything=False)]
    assert titles == [
        "Slower, or hungrier, than before",
        "Stages, by time",
        "Efficiency",
        "Bottlenecks",
        "Targets (SLA)",
        "Flaky: failed and succeeded with nothing changed",
        "Failures, by reason",
        "Recommendations",
    ]


def test_long_tables_are_shortened_unless_everything_is_asked_for(maker):
    maker.run(*(executed(f"t{number}", 1 + number / 100, sla_s=0.1) for number in range(30)))
    data = collect(maker.history, Query())
    for section in sections_of(data, everything=False):
        assert len(section.rows) <= 12
    slas = next(one for one in sections_of(data, everything=False) if "SLA" in one.title)
    assert slas.lines[-1] == "18 more; --all shows them"
    slas = next(one for one in sections_of(data, everything=True) if "SLA" in one.title)
    assert len(slas.rows) == 30


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_report_fits_the_terminal(full, width):
    lines = text_of(full, Writing(width=width)).splitlines()
    too_long = [line for line in lines if len(line) > width]
    assert too_long == []


def test_a_pipe_gets_whole_lines(full):
    assert "a_group_with_a_long_name:and/a/task/with/a/path.c" in text_of(full, Writing())


def test_markdown_has_a_title_sections_and_tables(full):
    text = text_of(full, Writing(style=Style.MARKDOWN))
    assert text.startswith("# Run 38, ")
    assert "\n## Tasks\n" in text
    assert "\n## Efficiency\n" in text
    assert "|" in text.split("## Efficiency")[1].splitlines()[2]
    assert "\n- " in text.split("## Recommendations")[1]


def test_other_formats_of_tabulate_are_taken(full):
    assert "+---" in text_of(full, Writing(table_format="grid", width=80))


def test_json_has_every_part_with_numbers(full):
    document = json.loads(json_of(full, Writing()))
    assert document["schema"] == 2
    assert document["regressions"][0]["unit"] == "wall"
    assert document["slas"][0]["level"] == "violation"
    assert document["tasks"][0]["outcome"] == "executed"
    assert len(document["runs"]) == 38


def test_csv_has_a_row_per_task_with_a_header(full):
    rows = list(csv.DictReader(io.StringIO(csv_of(full, Writing()))))
    assert {row["task"] for row in rows} == {row.execution.task for row in full.rows}
    assert rows[0]["reasons"] == "input changed: a.c"
    assert int(rows[0]["wall_ns"]) > 10**9


def test_csv_quotes_what_needs_it(maker):
    maker.run(executed('odd,"name'))
    text = csv_of(collect(maker.history, Query()), Writing())
    assert next(csv.DictReader(io.StringIO(text)))["task"] == 'odd,"name'


def test_a_bar_in_a_name_ends_no_cell_of_markdown(maker):
    maker.run(executed("a|b"))
    assert "| a\\|b " in text_of(collect(maker.history, Query()), Writing(style=Style.MARKDOWN))


def test_names_cannot_drive_the_terminal(maker):
    maker.run(executed("a\x1b[31m", 9), executed("b", 1), executed("c", 1), path=["a\x1b[31m"])
    for style in (Style.TEXT, Style.MARKDOWN):
        assert "\x1b" not in text_of(collect(maker.history, Query()), Writing(style=style))


def test_a_run_of_nothing_but_skips_is_short(maker):
    maker.run(skipped=["a", "b"])
    lines = text_of(collect(maker.history, Query()), Writing()).splitlines()
    assert len(lines) == 7


def test_a_sparkline_goes_from_the_smallest_to_the_largest():
    assert sparkline([0, 50, 100]) == "▁▅█"
    assert sparkline([1, 2]) == ""
    assert sparkline(range(100)).count("▁") < 5
    assert len(sparkline(range(100))) == 20


def test_noise_in_a_sparkline_looks_like_noise():
    assert set(sparkline([1000, 1001, 1002, 1000])) == {"▁"}


def sides(maker, first, second):
    runs = [maker.history.run_by_id(id_) for id_ in (first, second)]
    pairs = compare(*(rows_of(maker.history, run) for run in runs))
    return [view_of(run, lambda _run: False) for run in runs], pairs


def test_two_runs_are_compared_task_by_task(maker):
    first = maker.run(executed("a", 1), executed("b", 5), executed("gone", 1))
    second = maker.run(executed("a", 2), Execution("b", Decision.RESTORED), executed("new", 0.1), width=2)
    views, pairs = sides(maker, first, second)
    assert [(pair.task, pair.difference_ns / 1e9) for pair in pairs] == [
        ("b", -5.0),
        ("a", 1.0),
        ("gone", -1.0),
        ("new", 0.1),
    ]
    assert [pair.change for pair in pairs] == [None, 2.0, None, None]
    text = comparison_of(*views, pairs, Writing())
    assert "different widths: 4 and 2" in text
    assert "executed > restored" in text
    assert "executed > not there" in text
    document = json.loads(comparison_of(*views, pairs, Writing(style=Style.JSON)))
    assert document["tasks"][1]["change_ratio"] == 2.0
    rows = list(csv.DictReader(io.StringIO(comparison_of(*views, pairs, Writing(style=Style.CSV)))))
    assert rows[2] == {
        "task": "gone",
        "before_wall_ns": "1000000000",
        "after_wall_ns": "",
        "difference_ns": "-1000000000",
        "change_ratio": "",
        "before_outcome": "executed",
        "after_outcome": "",
    }


def test_runs_on_different_machines_are_said_to_be_so(maker):
    views, pairs = sides(maker, maker.run(executed("a")), maker.run(executed("a"), machine="other"))
    assert "different classes of machine" in comparison_of(*views, pairs, Writing())
