"""Many short Python actions at once: workers have their next job before the last one is answered."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from .harness import Project

COUNT = 120
FAILING = (30, 60, 90)

DODO = """
    import os, sys

    COUNT, FAILING = %d, %r

    def work(number):
        say(f'job{number}')
        print(f'output of {number}.')
        print(f'error of {number}.', file=sys.stderr)
        os.system(f'echo child of {number}.')
        with open(f'out{number}', 'w') as file:
            file.write(f'{number}')
        if number in FAILING:
            %s

    def task_work():
        for number in range(COUNT):
            yield {'name': str(number), 'actions': [(work, [number])], 'targets': [f'out{number}'],
                   'uptodate': [True], 'verbosity': 0}
"""
WAYS = {
    "fails": "return False",
    "raises": "raise LookupError",
    "ends its worker": "sys.stdout.flush(); os._exit(7)",
    "is killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("way", WAYS)
def test_each_task_runs_once_and_only_those_that_fail_are_told_to_have_failed(project: Project, way: str):
    project.dodo(DODO % (COUNT, FAILING, WAYS[way]))
    result = project.run("-n", "2", "--continue", check=None)
    assert Counter(result.ran) == Counter(f"job{number}" for number in range(COUNT))
    for number in range(COUNT):
        told = f"taskid:work:{number}\n" in result.stdout
        assert told == (number in FAILING), number
    project.dodo((DODO % (COUNT, FAILING, WAYS[way])).replace("if number in FAILING", "if False"))
    project.run("-n", "2", check=0)
    assert [project.read(f"out{number}") for number in range(COUNT)] == [
        str(number) for number in range(COUNT)
    ]


def test_after_a_failure_no_worker_begins_what_it_was_given(project: Project):
    project.dodo(DODO % (COUNT, (30,), "return False"))
    result = project.run("-n", "2", check=None)
    # Until the run has heard of it, the other worker goes on with the few that it was given ahead.
    numbers = sorted(int(one.removeprefix("job")) for one in result.ran)
    assert 30 in numbers
    assert len(numbers) <= numbers.index(30) + 1 + 8
    project.dodo((DODO % (COUNT, (30,), "return False")).replace("if number in FAILING", "if False"))
    assert Counter(project.run("-n", "2", check=0).ran)[f"job{COUNT - 1}"] == 1


def test_what_tasks_print_is_theirs(project: Project):
    project.dodo((DODO % (COUNT, (), "pass")).replace("'verbosity': 0", "'verbosity': 2"))
    result = project.run("-n", "2", "--reporter", "json", check=0)
    for one in json.loads(result.stdout[result.stdout.index("{") :])["tasks"]:
        number = one["name"].rpartition(":")[2]
        if number != "work":
            assert one["out"] == f"output of {number}.\n", one
            assert one["err"] == f"error of {number}.\n", one


def test_outputs_of_python_actions_come_back_from_the_cache(project: Project):
    project.dodo((DODO % (COUNT, (), "pass")).replace("'uptodate'", "'file_dep': ['in'], 'uptodate'"))
    project.write("in", "one")
    project.run("-n", "2", check=0)
    project.remove(*[f"out{number}" for number in range(COUNT)])
    result = project.run("-n", "2", check=0)
    assert result.ran == ()
    assert len(result.restored) == COUNT
    assert project.read("out7") == "7"


SOME_SLOW = """
    import json, os, time

    def work(number):
        say(f'job{number}')
        if number % 37 == 5:
            time.sleep(0.012)
        if number % 29 == 0:
            os.system(f'echo child of {number}.')
        return {'number': number}

    def gather(numbers):
        with open('gathered', 'w') as file:
            json.dump(numbers, file)

    def task_work():
        for number in range(600):
            yield {'name': str(number), 'actions': [(work, [number])], 'verbosity': 0}

    def task_gather():
        return {'actions': [gather], 'getargs': {'numbers': ('work', 'number')}, 'verbosity': 0}
"""


@pytest.mark.parametrize("width", ["2", "3", "9"])
def test_each_job_runs_once_and_keeps_its_own_values_where_some_take_long(project: Project, width: str):
    project.dodo(SOME_SLOW)
    result = project.run("-n", width, check=0)
    assert Counter(result.ran) == Counter(f"job{number}" for number in range(600))
    assert json.loads(project.read("gathered")) == {str(number): number for number in range(600)}
