"""The test bed itself: a comparison that cannot fail would prove nothing about buildkit."""

from __future__ import annotations

import pytest

from .harness import Project, Twins

COPY = """
    def task_copy():
        return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}
"""
SAYS_ITS_FILE = """
    def task_speak():
        return {'actions': ['say $(cat in)']}
"""


@pytest.fixture
def copying(twins: Twins) -> Twins:
    twins.write("in", "text")
    twins.dodo(COPY)
    return twins


def test_equal_worlds_pass(copying: Twins):
    assert copying.run().ran == ["copy"]
    assert copying.run().ran == []


def test_another_content_fails(copying: Twins):
    copying.buildkit.write("in", "TEXT")
    with pytest.raises(AssertionError, match="'in' differs"):
        copying.run()


def test_another_mode_fails(copying: Twins):
    copying.run()
    copying.buildkit.path("in").chmod(0o755)
    with pytest.raises(AssertionError, match="'in' differs"):
        copying.run("list")


def test_a_missing_file_fails(copying: Twins):
    copying.stock.write("extra", "")
    with pytest.raises(AssertionError, match="'extra' differs"):
        copying.run()


def test_another_exit_code_fails(copying: Twins):
    copying.buildkit.write("dodo.py", "syntax error")
    with pytest.raises(AssertionError, match="exit codes differ"):
        copying.run()


def test_another_executed_set_fails(twins: Twins):
    twins.dodo(SAYS_ITS_FILE)
    twins.stock.write("in", "one")
    twins.buildkit.write("in", "two")
    with pytest.raises(AssertionError, match="other actions ran"):
        twins.run()


def test_another_order_fails_unless_the_run_is_parallel(twins: Twins):
    twins.dodo("""
        def task_speak():
            return {'actions': ['for word in $(cat in); do say $word; done']}
    """)
    twins.stock.write("in", "one two")
    twins.buildkit.write("in", "two one")
    with pytest.raises(AssertionError, match="other actions ran"):
        twins.run()
    assert sorted(twins.run("-n", "2", files=False).ran) == ["one", "two"]


def test_another_reporter_line_fails(twins: Twins):
    twins.dodo("""
        def task_speak():
            return {'actions': ['true'], 'title': lambda task: open('in').read()}
    """)
    twins.stock.write("in", "one")
    twins.buildkit.write("in", "two")
    with pytest.raises(AssertionError, match="the reporters name other tasks"):
        twins.run()


def test_a_view_that_differs_fails(twins: Twins):
    twins.dodo("""
        def task_speak():
            return {'actions': ['cat in'], 'verbosity': 2}
    """)
    twins.stock.write("in", "one")
    twins.buildkit.write("in", "two")
    pair = twins.run(files=False)
    with pytest.raises(AssertionError):
        pair.shows("one")


def test_a_wrong_exit_code_is_told(stock: Project):
    stock.dodo(COPY)
    with pytest.raises(AssertionError, match="exit code is not 0"):
        stock.run(check=0)


def test_private_state_is_no_difference(copying: Twins):
    copying.buildkit.write(".buildkit/notes", "ours")
    copying.stock.write(".doit.db.dat", "theirs")
    assert copying.run("list").exit_code == 0


def test_both_ways_to_say_reach_the_journal(stock: Project):
    stock.dodo("""
        def task_speak():
            return {'actions': ['say command', (say, ['function'])]}
    """)
    assert stock.run(check=0).ran == ("command", "function")


def test_stock_sees_no_plug_in(stock: Project):
    """Stock doit knows no command `report`, whatever is installed beside it."""
    stock.dodo("""
        def task_report():
            return {'actions': ['say report']}
    """)
    assert stock.run("report", check=0).ran == ("report",)
