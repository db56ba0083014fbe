"""Programs that embed doit, and tasks that are named like buildkit's commands, go on working."""

from __future__ import annotations

import pytest

from .harness import Twins

BEGIN = """
import os
import sys

def say(word):
    with open(os.environ['JOURNAL'], 'a') as journal:
        journal.write(word + '\\n')

"""

LOADERS = {
    "module loader": """
from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain

def task_copy():
    return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}

def task_say():
    return {'actions': [(say, ['said'])]}

DOIT_CONFIG = {'verbosity': 2, 'default_tasks': ['copy', 'say']}

if __name__ == '__main__':
    sys.exit(DoitMain(ModuleTaskLoader(globals())).run(sys.argv[1:]))
""",
    "module loader of a dict": """
from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain

def make_copy():
    return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}

def make_say():
    return {'actions': [(say, ['said'])]}

if __name__ == '__main__':
    loader = ModuleTaskLoader({'task_copy': make_copy, 'task_say': make_say, 'DOIT_CONFIG': {}})
    sys.exit(DoitMain(loader, extra_config={'GLOBAL': {'verbosity': 2}}).run(sys.argv[1:]))
""",
    "own loader": """
from doit.cmd_base import TaskLoader2
from doit.doit_cmd import DoitMain
from doit.task import dict_to_task

class OwnLoader(TaskLoader2):
    def setup(self, opt_values):
        self.name = 'copy'

    def load_doit_config(self):
        return {'verbosity': 2}

    def load_tasks(self, cmd, pos_args):
        return [
            dict_to_task({'name': self.name, 'actions': ['say copy && cp in out'], 'file_dep': ['in'],
                          'targets': ['out']}),
            dict_to_task({'name': 'say', 'actions': [(say, ['said'])]}),
        ]

class OwnMain(DoitMain):
    BIN_NAME = 'own'

if __name__ == '__main__':
    sys.exit(OwnMain(OwnLoader()).run(sys.argv[1:]))
""",
    "api run": """
import doit

def task_copy():
    return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}

def task_say():
    return {'actions': [(say, ['said'])]}

if __name__ == '__main__':
    doit.run(globals())
""",
}


@pytest.mark.parametrize("kind", LOADERS)
def test_own_program(twins: Twins, kind: str):
    twins.write("own.py", BEGIN + LOADERS[kind])
    twins.write("in", "1")
    assert twins.script("own.py").ran == ["copy", "said"]
    assert twins.script("own.py").ran == ["said"]
    assert twins.script("own.py", "list", "-q").same(lambda result: result.stdout.split()) == ["copy", "say"]
    assert twins.script("own.py", "run", "out").ran == []
    twins.write("in", "2")
    assert twins.script("own.py", "-a", "copy").ran == ["copy"]
    assert sorted(twins.script("own.py", "-n", "2").ran) == ["said"]
    assert twins.script("own.py", "forget", "copy").exit_code == 0
    assert twins.script("own.py", "copy").ran == ["copy"]
    assert twins.script("own.py", "nosuch").exit_code == 3


def test_api_run_tasks(twins: Twins):
    twins.write(
        "own.py",
        BEGIN
        + """
from doit.api import run_tasks
from doit.cmd_base import ModuleTaskLoader
from doit.exceptions import InvalidCommand

def show(level, words=None):
    say(f'show {level} {words}')

def task_show():
    return {'actions': [show], 'params': [{'name': 'level', 'type': int, 'default': 1}], 'pos_arg': 'words'}

def task_copy():
    return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}

def task_fails():
    return {'actions': [lambda: False]}

if __name__ == '__main__':
    config = {'GLOBAL': {'verbosity': 0, 'reporter': 'zero'}}
    loader = lambda: ModuleTaskLoader(globals())
    options = {'show': {'level': 7, 'words': ['a', 'b']}, 'copy': {}}
    codes = [run_tasks(loader(), options, extra_config=config)]
    codes.append(run_tasks(loader(), {'copy': {}}))
    codes.append(run_tasks(loader(), {'fails': {}}, extra_config=config))
    try:
        run_tasks(loader(), {'nosuch': {}})
    except InvalidCommand as error:
        codes.append('nosuch' in str(error))
    say(str(codes))
""",
    )
    twins.write("in", "1")
    assert twins.script("own.py").ran == ["show 7 ['a', 'b']", "copy", "[0, 0, 1, True]"]


# The way that the static site generator Nikola uses doit: own names for commands, own loader,
# late tasks, a reporter class and an output stream from the configuration.
SITE = (
    BEGIN
    + """
from doit.cmd_base import TaskLoader2
from doit.cmd_clean import Clean as DoitClean
from doit.cmd_help import Help as DoitHelp
from doit.cmd_run import Run as DoitRun
from doit.doit_cmd import DoitMain
from doit.loader import generate_tasks
from doit.reporter import ExecutedOnlyReporter
from doit.cmd_base import Command

class Help(DoitHelp):
    @staticmethod
    def print_usage(cmds):
        print('usage of the site')
        for name in sorted(cmds):
            print('site', name, cmds[name].doc_purpose and 'documented')

class Build(DoitRun):
    doc_purpose = 'build the site'

    def __init__(self, *args, **kwargs):
        self.cmd_options = (*self.cmd_options, {
            'name': 'strict', 'long': 'strict', 'type': bool, 'default': False, 'help': 'be strict'})
        super().__init__(*args, **kwargs)

class Clean(DoitClean):
    def clean_tasks(self, tasks, dryrun, *rest):
        say('clean ' + ' '.join(task.name for task in tasks))
        return super().clean_tasks(tasks, dryrun, *rest)

class Hello(Command):
    name = 'hello'
    doc_purpose = 'say hello'

    def execute(self, opt_values, pos_args):
        print('hello')
        return 0

class SiteLoader(TaskLoader2):
    def load_doit_config(self):
        return {'reporter': ExecutedOnlyReporter, 'outfile': sys.stderr, 'default_tasks': ['render', 'post']}

    def load_tasks(self, cmd, pos_args):
        return generate_tasks('render', self.render()) + generate_tasks('post', self.post())

    def render(self):
        yield {'basename': 'render', 'name': None, 'doc': 'group'}
        for name in ('one', 'two'):
            yield {'basename': 'render', 'name': f'output/{name}.html',
                   'actions': [(self.page, [name])], 'file_dep': [name + '.txt'],
                   'targets': [f'output/{name}.html'], 'clean': True}

    def post(self):
        yield {'basename': 'post', 'name': 'map', 'actions': ['say map && ls output > output/map.txt'],
               'file_dep': ['output/one.html', 'output/two.html'], 'targets': ['output/map.txt'],
               'task_dep': ['render:output/one.html', 'render:output/two.html'], 'clean': True}

    def page(self, name):
        say('page ' + name)
        os.makedirs('output', exist_ok=True)
        with open(name + '.txt') as source, open(f'output/{name}.html', 'w') as page:
            page.write('<p>' + source.read())

class Site(DoitMain):
    DOIT_CMDS = [*DoitMain.DOIT_CMDS, Help, Build, Clean]
    TaskLoader = SiteLoader

    def __init__(self):
        super().__init__()
        self.task_loader = self.TaskLoader()

    def get_cmds(self):
        commands = super().get_cmds()
        commands['hello'] = Hello
        return commands

    def run(self, arguments):
        return super().run(arguments)

if __name__ == '__main__':
    sys.exit(Site().run(sys.argv[1:]))
"""
)


@pytest.fixture
def site(twins: Twins) -> Twins:
    twins.write("site.py", SITE)
    twins.write("one.txt", "one")
    twins.write("two.txt", "two")
    return twins


@pytest.mark.parametrize("command", [[], ["run"], ["build"], ["build", "--strict"]], ids=" ".join)
def test_site_generator_builds(site: Twins, command: list[str]):
    pair = site.script("site.py", *command, reporter=False)
    assert pair.exit_code == 0
    assert pair.ran == ["page one", "page two", "map"]
    assert site.script("site.py", *command, reporter=False).ran == []
    site.write("two.txt", "changed")
    assert site.script("site.py", *command, reporter=False).ran == ["page two", "map"]
    lines = site.script("site.py", "list", "-q", "--all").same(lambda result: result.stdout.split())
    assert "render:output/one.html" in lines


def test_site_generator_cleans_and_has_its_own_commands(site: Twins):
    site.script("site.py", "build", reporter=False)
    pair = site.script("site.py", "clean")
    assert pair.ran[0].startswith("clean ")
    assert not site.buildkit.path("output/one.html").exists()
    assert site.script("site.py", "hello").shows("hello")
    assert site.script("site.py", "--help").exit_code == 0
    assert site.script("site.py", "build", "nosuch").exit_code == 3


NAMED = """
    from doit import create_after

    def task_report():
        return {'actions': ['say report %(level)s'],
                'params': [{'name': 'level', 'short': 'l', 'default': 'low'}]}

    def task_graph():
        for name in ('a', 'b'):
            yield {'name': name, 'actions': [f'say graph:{name}']}

    def task_cache():
        return {'actions': ['say cache && cp in cached'], 'file_dep': ['in'], 'targets': ['cached'],
                'clean': True}

    @create_after(executed='cache')
    def task_explain():
        return {'actions': ['say explain']}
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report"], ["report low"]),
        (["report", "-l", "high"], ["report high"]),
        (["run", "report"], ["report low"]),
        (["graph"], ["graph:a", "graph:b"]),
        (["graph:b"], ["graph:b"]),
        (["cache"], ["cache"]),
        (["cached"], ["cache"]),
        (["explain"], ["cache", "explain"]),
        (["run", "explain", "graph:a"], ["cache", "explain", "graph:a"]),
        (["report", "cache"], ["report low", "cache"]),
        (["-n", "2", "report"], ["report low"]),
        ([], ["report low", "graph:a", "graph:b", "cache", "explain"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] != "report low" else None,
)
def test_tasks_named_like_commands_of_buildkit(twins: Twins, arguments: list[str], expected: list[str]):
    twins.write("in", "1")
    twins.dodo(NAMED)
    pair = twins.run(*arguments)
    assert pair.exit_code == 0
    assert pair.ran == expected


def test_other_commands_on_tasks_named_like_commands_of_buildkit(twins: Twins):
    twins.write("in", "1")
    twins.dodo(NAMED)
    listed = twins.run("list", "-q", "--all").same(lambda result: result.stdout.split())
    assert listed == ["cache", "explain", "graph", "graph:a", "graph:b", "report"]
    twins.run("cache")
    assert twins.run("info", "cache").exit_code == 0
    assert twins.run("forget", "cache").exit_code == 0
    assert twins.run("cache").ran == ["cache"]
    assert twins.run("clean", "cache").exit_code == 0
    assert twins.run("ignore", "report").exit_code == 0
    assert twins.run("report").ran == []


def test_loader_plug_in(twins: Twins):
    twins.write(
        "own_loader.py",
        """
from doit.cmd_base import TaskLoader2
from doit.task import dict_to_task

class Loader(TaskLoader2):
    cmd_options = ({'name': 'word', 'long': 'word', 'default': 'nothing', 'type': str},)

    def setup(self, opt_values):
        self.word = opt_values['word']

    def load_doit_config(self):
        return {}

    def load_tasks(self, cmd, pos_args):
        return [dict_to_task({'name': 'speak', 'actions': [f'say {self.word}']})]
""",
    )
    twins.write("doit.cfg", "[GLOBAL]\nloader = own\n\n[LOADER]\nown = own_loader:Loader\n")
    here = {"PYTHONPATH": "."}
    assert twins.run(env=here).ran == ["nothing"]
    assert twins.run("--word", "something", "speak", env=here).ran == ["something"]
    assert twins.run("run", "--word", "else", env=here).ran == ["else"]


def test_positional_arguments_of_the_api_arrive_as_they_were_given(twins: Twins):
    twins.write(
        "program.py",
        """
import sys
from doit.api import run_tasks
from doit.cmd_base import ModuleTaskLoader

def show(pos):
    print(repr(pos))

def task_t():
    return {'actions': [show], 'pos_arg': 'pos', 'verbosity': 2}

for given in ('a text', ['a', 'list']):
    sys.exit(1) if run_tasks(ModuleTaskLoader({'task_t': task_t}), {'t': {'pos': given}}) else None
""",
    )
    pair = twins.script("program.py")
    assert pair.exit_code == 0
    assert pair.shows("'a text'")
    assert pair.shows("['a', 'list']")
