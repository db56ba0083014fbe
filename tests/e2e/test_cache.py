"""What comes back from the cache, when, and that what comes back is right."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from .harness import Project, RunResult

PIPELINE = """
    def parse(dependencies):
        say('parse')
        return {'words': open('in').read().split()}

    def task_parse():
        return {'actions': [parse], 'file_dep': ['in']}

    def task_upper():
        return {'actions': ['say upper; echo log of upper; tr a-z A-Z < in > upper'], 'file_dep': ['in'],
                'targets': ['upper'], 'verbosity': 2}

    def task_use():
        return {'actions': ['say use %(words)s; cat upper > used'], 'file_dep': ['upper'],
                'targets': ['used'], 'getargs': {'words': ('parse', 'words')}}

    def task_check():
        return {'actions': ['say check; echo log of check; echo warning of check >&2; grep -q . used'],
                'file_dep': ['used'], 'verbosity': 2}
"""


@pytest.fixture
def pipeline(project: Project) -> Project:
    project.write("in", "one two")
    project.dodo(PIPELINE)
    first = project.run(check=0)
    assert first.ran == ("parse", "upper", "use [one, two]", "check")
    assert first.restored == []
    return project


@pytest.mark.parametrize("width", ["0", "2"])
def test_revert_of_an_edit_restores_everything(pipeline: Project, width: str):
    pipeline.write("in", "three")
    assert sorted(pipeline.run("-n", width, check=0).ran) == ["check", "parse", "upper", "use [three]"]
    assert pipeline.read("used") == "THREE"
    pipeline.write("in", "one two")
    result = pipeline.run("-n", width, check=0)
    assert result.ran == ()
    assert sorted(result.restored) == ["check", "parse", "upper", "use"]
    assert pipeline.read("upper") == pipeline.read("used") == "ONE TWO"
    again = pipeline.run("-n", width, check=0)
    assert again.ran == ()
    assert sorted(again.skipped) == ["check", "parse", "upper", "use"]


def test_restored_log_is_shown_again(pipeline: Project):
    pipeline.write("in", "three")
    pipeline.run(check=0)
    pipeline.write("in", "one two")
    result = pipeline.run(check=0)
    assert "log of upper" in result.stdout
    assert "log of check" in result.stdout
    assert "warning of check" in result.output


def test_restored_log_obeys_verbosity(pipeline: Project):
    pipeline.remove("upper")
    assert "log of upper" not in pipeline.run("-v", "0", check=0).output


def test_restored_values_reach_tasks_that_run(pipeline: Project):
    """The values of a restored task are as good as those of an executed one."""
    pipeline.write("in", "three")
    pipeline.run(check=0)
    pipeline.write("in", "one two")
    pipeline.dodo(PIPELINE.replace("say use", "say now"))
    result = pipeline.run(check=0)
    assert result.ran == ("now [one, two]",)
    assert sorted(result.restored) == ["check", "parse", "upper"]


def test_restored_result_reaches_result_dep(project: Project):
    project.dodo("""
        from doit.tools import result_dep

        def task_version():
            return {'actions': ['say version; cat in'], 'file_dep': ['in']}

        def task_pack():
            return {'actions': ['say pack; cp in pack'], 'uptodate': [result_dep('version')],
                    'targets': ['pack']}
    """)
    project.write("in", "1")
    assert project.run(check=0).ran == ("version", "pack")
    project.write("in", "2")
    assert project.run(check=0).ran == ("version", "pack")
    project.write("in", "1")
    result = project.run(check=0)
    assert result.restored[0] == "version"
    assert "version" not in result.ran
    assert project.run(check=0).ran == ()


@pytest.mark.parametrize("width", ["0", "2"])
def test_deleted_outputs_come_back_with_their_modes(project: Project, width: str):
    project.write("in", "1")
    project.dodo("""
        def task_make():
            return {'actions': ['say make', 'cp in deep/plain; cp in deep/tool; cp in deep/secret',
                                'chmod 644 deep/plain; chmod 755 deep/tool; chmod 600 deep/secret',
                                ': > empty'],
                    'file_dep': ['in'], 'targets': ['deep/plain', 'deep/tool', 'deep/secret', 'empty']}
    """)
    project.path("deep").mkdir()
    project.run("-n", width, check=0)
    before = project.files()
    project.remove("deep", "empty")
    result = project.run("-n", width, check=0)
    assert result.ran == ()
    assert result.restored == ["make"]
    assert project.files() == before
    project.path("deep/tool").chmod(0o644)
    project.remove("deep/plain")
    assert project.run("-n", width, check=0).ran == ()
    assert project.files() == before


@pytest.mark.parametrize("width", ["0", "2"])
def test_fresh_clone_is_restored_from_the_cache(pipeline: Project, width: str):
    clone = pipeline.clone("clone")
    clone.write("in", "one two")
    clone.dodo(PIPELINE)
    result = clone.run("-n", width, check=0)
    assert result.ran == ()
    assert sorted(result.restored) == ["check", "parse", "upper", "use"]
    assert clone.files() == pipeline.files()
    clone.write("in", "changed")
    assert sorted(clone.run("-n", width, check=0).ran) == ["check", "parse", "upper", "use [changed]"]


def test_without_the_cache_everything_runs_again(pipeline: Project):
    shutil.rmtree(pipeline.cache)
    pipeline.remove("upper")
    assert pipeline.run(check=0).ran == ("upper",)


def test_other_branch_and_back(pipeline: Project):
    """Definition and inputs change together, as with a switch of branches."""
    pipeline.write("in", "three")
    pipeline.dodo(PIPELINE.replace("tr a-z A-Z", "tr a-z b-za"))
    pipeline.run(check=0)
    assert pipeline.read("used") == "uisff"
    pipeline.write("in", "one two")
    pipeline.dodo(PIPELINE)
    assert pipeline.run(check=0).ran == ()
    assert pipeline.read("used") == "ONE TWO"


# --- what must not come from the cache ---


def test_failures_are_never_cached(project: Project):
    project.dodo("""
        def task_test():
            return {'actions': ['say test; cp in out; grep -q good in'], 'file_dep': ['in'],
                    'targets': ['out']}
    """)
    project.write("in", "bad")
    assert project.run().exit_code == 1
    assert project.run().ran == ("test",)
    project.write("in", "good")
    assert project.run(check=0).ran == ("test",)
    project.write("in", "bad")
    result = project.run()
    assert result.exit_code == 1
    assert result.ran == ("test",)
    project.write("in", "good")
    assert project.run(check=0).ran == ()
    assert project.read("out") == "good"


@pytest.mark.parametrize(
    "extra",
    ["'uptodate': [False],", "'uptodate': ['false'],", "'uptodate': [lambda: False],"],
    ids=["False", "command", "callable"],
)
def test_a_check_that_says_no_is_not_answered_by_the_cache(project: Project, extra: str):
    project.write("in", "1")
    project.dodo(f"""
        def task_make():
            return {{{extra} 'actions': ['say make; cp in out'], 'file_dep': ['in'], 'targets': ['out']}}
    """)
    for _run in range(3):
        assert project.run(check=0).ran == ("make",)


def test_always_execute_does_not_ask_the_cache(pipeline: Project):
    pipeline.remove("upper")
    assert "upper" in pipeline.run("-a", check=0).ran


def test_forget_executes_once_and_then_skips(pipeline: Project):
    pipeline.run("forget", "upper", check=0)
    assert pipeline.run(check=0).ran == ("upper",)
    assert pipeline.run(check=0).ran == ()


def test_tasks_without_inputs_always_execute(project: Project):
    project.dodo("""
        def task_deploy():
            return {'actions': ['say deploy']}
    """)
    assert project.run(check=0).ran == ("deploy",)
    assert project.run(check=0).ran == ("deploy",)


# --- folders, links, names ---


FOLDER = """
    def task_site():
        return {'actions': ['say site; mkdir -p site/sub; cp in site/a; cp in site/sub/b; : > site/empty',
                            'chmod 755 site/sub/b; ln -sfn sub/b site/link; mkdir -p site/void'],
                'file_dep': ['in'], 'targets': ['site']}

    def task_user():
        return {'actions': ['say user; cat site/a > used'], 'task_dep': ['site'], 'file_dep': ['in'],
                'targets': ['used']}
"""


@pytest.fixture
def folder(project: Project) -> Project:
    project.write("in", "1")
    project.dodo(FOLDER)
    assert project.run(check=0).ran == ("site", "user")
    assert project.run(check=0).ran == ()
    return project


def test_deleted_folder_comes_back(folder: Project):
    before = folder.files()
    folder.remove("site")
    result = folder.run(check=0)
    assert result.ran == ()
    assert result.restored == ["site"]
    assert folder.files() == before
    assert folder.path("site/link").is_symlink()


def test_altered_file_in_a_folder_comes_back(folder: Project):
    before = folder.files()
    folder.write("site/sub/b", "other")
    assert folder.run(check=0).ran == ()
    assert folder.files() == before
    folder.remove("site/a")
    assert folder.run(check=0).ran == ()
    assert folder.files() == before


def test_other_files_in_an_output_folder_are_left_alone(folder: Project):
    folder.write("site/of-the-user", "mine")
    folder.remove("site/a")
    assert folder.run(check=0).ran == ()
    assert folder.read("site/of-the-user") == "mine"
    assert folder.read("site/a") == "1"
    assert folder.run(check=0).ran == ()


def test_folder_of_an_older_state_comes_back(folder: Project):
    before = folder.files()
    folder.write("in", "2")
    assert folder.run(check=0).ran == ("site", "user")
    folder.write("in", "1")
    assert folder.run(check=0).ran == ()
    assert folder.files() == before


def test_input_that_is_a_link(project: Project):
    project.write("one", "1")
    project.write("two", "2")
    project.path("in").symlink_to("one")
    project.dodo("""
        def task_copy():
            return {'actions': ['say copy; cat in > out'], 'file_dep': ['in'], 'targets': ['out']}
    """)
    assert project.run(check=0).ran == ("copy",)
    assert project.run(check=0).ran == ()
    project.write("one", "changed behind the link")
    assert project.run(check=0).ran == ("copy",)
    project.remove("in")
    project.path("in").symlink_to("two")
    assert project.run(check=0).ran == ("copy",)
    assert project.read("out") == "2"
    project.remove("in")
    project.path("in").symlink_to("one")
    assert project.run(check=0).ran == ()
    assert project.read("out") == "changed behind the link"


def test_output_that_is_a_link(project: Project):
    project.write("in", "1")
    project.dodo("""
        def task_link():
            return {'actions': ['say link; cp in file; ln -sfn file link'], 'file_dep': ['in'],
                    'targets': ['file', 'link']}
    """)
    assert project.run(check=0).ran == ("link",)
    assert project.run(check=0).ran == ()
    before = project.files()
    project.remove("link", "file")
    assert project.run(check=0).ran == ()
    assert project.files() == before
    project.remove("link")
    project.write("link", "a file in its place")
    assert project.run(check=0).ran == ()
    assert project.files() == before


def test_executable_bit_of_an_input_counts(project: Project):
    project.write("in", "1", mode=0o644)
    project.dodo("""
        def task_copy():
            return {'actions': ['say copy; rm -f out; cp in out'], 'file_dep': ['in'], 'targets': ['out']}
    """)
    project.run(check=0)
    project.path("in").chmod(0o755)
    assert project.run(check=0).ran == ("copy",)
    assert stat.S_IMODE(project.path("out").stat().st_mode) & 0o100
    project.path("in").chmod(0o644)
    assert project.run(check=0).ran == ()
    assert not stat.S_IMODE(project.path("out").stat().st_mode) & 0o100


def test_empty_input_and_output(project: Project):
    project.write("in", "")
    project.dodo("""
        def task_copy():
            return {'actions': ['say copy; cp in out'], 'file_dep': ['in'], 'targets': ['out']}
    """)
    assert project.run(check=0).ran == ("copy",)
    project.write("in", "1")
    assert project.run(check=0).ran == ("copy",)
    project.write("in", "")
    assert project.run(check=0).ran == ()
    assert project.read("out") == ""


def test_names_that_are_not_utf_8(project: Project):
    source, target = b"in-\xff", b"out-\xe4"
    project.write(source, "1")
    project.dodo("""
        import os, shutil

        SOURCE, TARGET = os.fsdecode(b'in-\\xff'), os.fsdecode(b'out-\\xe4')

        def copy():
            say('function')
            shutil.copy(SOURCE, TARGET + '.py')

        def task_copy():
            yield {'name': 'command', 'actions': ['say command', ['cp', SOURCE, TARGET]],
                   'file_dep': [SOURCE], 'targets': [TARGET]}
            yield {'name': 'function', 'actions': [copy], 'file_dep': [SOURCE], 'targets': [TARGET + '.py']}
    """)
    assert project.run(check=0).ran == ("command", "function")
    assert project.run(check=0).ran == ()
    before = project.files()
    project.remove(target, target + b".py")
    assert project.run(check=0).ran == ()
    assert project.files() == before
    project.write(source, "2")
    assert project.run("-n", "2", check=0).ran != ()
    assert project.read(target) == "2"
    project.remove(source)
    result = project.run()
    assert result.exit_code == 2
    assert "Traceback" not in result.output


# --- settings of tasks ---


def meta(settings: str) -> str:
    return f"""
    def task_make():
        return {{'actions': ['say make; echo the log; cp in out'], 'file_dep': ['in'],
                'targets': ['out'], 'verbosity': 2, 'meta': {{'buildkit': {settings}}}}}
    """


def revert(project: Project) -> RunResult:
    """Build, edit, build, take the edit back; return what the next run does."""
    project.write("in", "1")
    project.run(check=0)
    project.write("in", "2")
    project.run(check=0)
    project.write("in", "1")
    return project.run(check=0)


def test_setting_cache(project: Project):
    project.dodo(meta("{'cache': False}"))
    assert revert(project).ran == ("make",)
    assert project.run(check=0).ran == ()


def test_setting_cache_log(project: Project):
    project.dodo(meta("{'cache_log': False}"))
    result = revert(project)
    assert result.restored == ["make"]
    assert "the log" not in result.output


def test_setting_env(project: Project):
    project.dodo(meta("{'env': ['MODE', 'UNSET']}"))
    project.write("in", "1")
    assert project.run(env={"MODE": "a"}).ran == ("make",)
    assert project.run(env={"MODE": "a", "OTHER": "x"}).ran == ()
    assert project.run(env={"MODE": "b"}).ran == ("make",)
    assert project.run(env={"MODE": "b", "UNSET": ""}).ran == ("make",)
    assert project.run(env={"MODE": "a"}).ran == ()


def test_setting_tools(project: Project):
    tool = project.base / "bin" / "othertool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    project.dodo(meta("{'tools': ['othertool']}"))
    project.write("in", "1")
    assert project.run(check=0).ran == ("make",)
    tool.write_text("#!/bin/sh\n# a new release\n")
    assert project.run(check=0).ran == ("make",)
    assert project.run(check=0).ran == ()


def test_values_of_variables_are_never_written(project: Project):
    """Neither declared ones, nor those that a command names, nor those that an action passes on."""
    secrets = {name: f"hidden-{name.lower()}-4711" for name in ("DECLARED", "NAMED", "PASSED", "UNUSED")}
    project.write("in", "1")
    project.dodo("""
        import os
        from doit.action import CmdAction

        def use():
            assert os.environ['DECLARED']

        def task_use():
            return {'actions': ['test -n "$NAMED" && cp in out', use,
                                CmdAction('test -n "$X"', env={**os.environ, 'X': os.environ['PASSED']})],
                    'file_dep': ['in'], 'targets': ['out'], 'meta': {'buildkit': {'env': ['DECLARED']}}}

        def task_fails():
            return {'actions': ['test -n "$NAMED" && exit 1'], 'file_dep': ['in']}
    """)
    assert project.run("--continue", env=secrets).exit_code == 1
    assert (
        project.run("-n", "2", "--continue", env=secrets | {"DECLARED": "hidden-other-4711"}).exit_code == 1
    )
    written = [
        path
        for top in (project.path(".buildkit"), project.cache)
        for path in top.rglob("*")
        if path.is_file()
    ]
    assert len(written) > 3
    for path in written:
        content = path.read_bytes()
        for secret in [*secrets.values(), "hidden-other-4711"]:
            assert secret.encode() not in content, f"{secret} is in {path}"


# --- what the other commands say about all this ---


def letters(project: Project) -> dict[str, str]:
    listed = project.run("list", "-s", "--template", "{status} {name}", check=0).stdout.splitlines()
    return {name: letter for letter, name in map(str.split, listed)}


def test_list_status_sees_what_the_engine_sees(pipeline: Project):
    fresh = dict.fromkeys(("parse", "upper", "use", "check"), "U")
    assert letters(pipeline) == fresh
    pipeline.write("upper", "altered")
    assert letters(pipeline)["upper"] == "R"
    pipeline.run(check=0)
    assert letters(pipeline) == fresh
    pipeline.dodo(PIPELINE.replace("say check", "say other"))
    assert letters(pipeline) == fresh | {"check": "R"}
    pipeline.run("ignore", "check", check=0)
    assert letters(pipeline)["check"] == "I"
    pipeline.run("forget", "check", check=0)
    assert letters(pipeline)["check"] == "R"


def test_state_folder_is_private_and_ignored_by_git(pipeline: Project):
    assert pipeline.read(".buildkit/.gitignore").strip().endswith("*")
    for top in (pipeline.path(".buildkit"), pipeline.cache):
        for path in (top, *top.rglob("*")):
            assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0 or path.name == ".gitignore", path


def test_deleting_all_state_costs_nothing_but_the_record(pipeline: Project):
    shutil.rmtree(pipeline.path(".buildkit"))
    assert pipeline.run(check=0).ran == ()
    assert pipeline.run(check=0).restored == []


def test_cache_inside_the_project(project: Project):
    project.write("in", "1")
    project.dodo(meta("{}"))
    inside = {"BUILDKIT_CACHE_DIR": ".buildkit/cache"}
    assert project.run(env=inside, check=0).ran == ("make",)
    assert project.path(".buildkit/cache/index.db").exists()
    assert not project.cache.exists()
    clone = project.clone("clone")
    clone.write("in", "1")
    clone.dodo(meta("{}"))
    shutil.copytree(project.path(".buildkit/cache"), clone.path(".buildkit/cache"))
    assert clone.run(env=inside, check=0).ran == ()
    assert clone.read("out") == "1"


def test_cache_folder_in_the_home_of_the_account(project: Project):
    project.write("in", "1")
    project.dodo(meta("{}"))
    project.run(env={"BUILDKIT_CACHE_DIR": "", "XDG_CACHE_HOME": str(project.base / "xdg")}, check=0)
    assert (project.base / "xdg" / "buildkit" / "index.db").exists()


def test_cache_that_cannot_be_used_is_a_warning_not_an_error(project: Project):
    project.write("in", "1")
    project.dodo(meta("{}"))
    project.write("blocked", "a file where the cache should be")
    result = project.run(env={"BUILDKIT_CACHE_DIR": str(project.path("blocked"))}, check=0)
    assert result.ran == ("make",)
    assert "Traceback" not in result.output
    assert project.run(env={"BUILDKIT_CACHE_DIR": str(project.path("blocked"))}, check=0).ran == ()


def test_large_project_of_many_outputs(project: Project):
    project.dodo("""
        def task_copy():
            for n in range(300):
                yield {'name': str(n), 'actions': [f'cp in {n}.out'], 'file_dep': ['in'],
                       'targets': [f'{n}.out']}
    """)
    project.write("in", "1")
    assert len(project.run("-n", "2", check=0).executed) == 300
    for number in range(300):
        os.unlink(project.path(f"{number}.out"))
    assert len(project.run("-n", "2", check=0).restored) == 300
    assert len(project.run("-n", "2", check=0).skipped) == 300
