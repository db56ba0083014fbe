"""Every kind of action does what it does under stock doit: commands, Python functions, lists of both."""

from __future__ import annotations

import pytest

from .harness import Twins

WIDTHS = [
    pytest.param(["-n", "0"], id="sequential"),
    pytest.param(["-n", "2"], id="processes"),
    pytest.param(["-n", "2", "-P", "thread"], id="threads"),
]

# A command that needs a shell is easily taken for one that does not: each of these is written to a file.
SHELL_SYNTAX = {
    "pipe": "echo a b | tr a-z A-Z",
    "and": "true && echo yes",
    "or": "false || echo yes",
    "sequence": "echo a; echo b",
    "variable": "echo $HOME_NAME ${HOME_NAME}",
    "assignment": "X=1 sh -c 'echo $X'",
    "assignment_alone": "X=5; echo $X",
    "single_quotes": "echo 'a  b' '$X'",
    "double_quotes": 'echo "a  b"',
    "backslash": r"echo a\ \ b",
    "glob": "echo *.txt",
    "question_mark": "echo ?.txt",
    "bracket": "echo [ab].txt",
    "tilde": "echo ~ | wc -l",
    "substitution": "echo $(echo inner)",
    "backticks": "echo `echo inner`",
    "arithmetic": "echo $((1 + 2))",
    "comment": "echo a # b",
    "hash_inside": "echo a#b",
    "builtin_test": "[ -e a.txt ] && echo there",
    "builtin_alone": "test -e a.txt",
    "builtin_cd": "cd folder && ls",
    "colon": ":",
    "export": "export Y=7; sh -c 'echo $Y'",
    "dot": ". ./script.sh",
    "if": "if true; then echo yes; fi",
    "for": "for x in 1 2; do echo $x; done",
    "while": "while false; do :; done",
    "case": "case a in a) echo yes;; esac",
    "braces": "{ echo a; echo b; }",
    "parentheses": "(cd folder; ls)",
    "negation": "! false",
    "heredoc": "cat <<END\nline one\nline two\nEND",
    "two_lines": "echo a\necho b",
    "line_continuation": "echo a \\\n  b",
    "leading_spaces": "   echo a",
    "trailing_newline": "echo a\n",
    "tabs": "echo\ta\tb",
    "background": "true & wait; echo done",
    "type": "type cd | head -c 2",
    "percent": "printf '%%s\\n' a",
    "set": "set -e; echo a",
    "eval": "eval 'echo a'",
    "exec": "exec echo a",
    "unicode": "echo äöü",
    "empty_argument": "printf '[%%s]' '' a",
    "long_options": "printf %%s --x=y",
    "equals": "printf %%s a=b",
    "at_sign": "echo user@host:22 a,b a+b a^b",
    "true": "true",
}


def test_shell_syntax(twins: Twins):
    """What a shell would make of a command is what happens, whether or not a shell is started."""
    twins.write("a.txt", "")
    twins.write("b.txt", "")
    twins.write("folder/file", "")
    twins.write("script.sh", "echo sourced\n")
    twins.dodo(f"""
        from doit.action import CmdAction

        COMMANDS = {SHELL_SYNTAX!r}

        def task_sh():
            for name, command in COMMANDS.items():
                yield {{'name': name, 'actions': [CmdAction(command, save_out='out')]}}

        def write(outputs):
            with open('outputs', 'w') as file:
                for name in sorted(outputs):
                    print(name, repr(outputs[name]), file=file)

        def task_write():
            return {{'actions': [write], 'getargs': {{'outputs': ('sh', 'out')}}}}
    """)
    pair = twins.run("write", env={"HOME_NAME": "home"})
    assert pair.exit_code == 0
    assert "two_lines 'a\\nb\\n'" in twins.buildkit.read("outputs")


@pytest.mark.parametrize("width", WIDTHS)
def test_kinds_of_actions(twins: Twins, width: list[str]):
    twins.dodo("""
        import os
        from pathlib import Path
        from doit.action import CmdAction
        from doit.tools import Interactive, LongRunning, PythonInteractiveAction, create_folder

        class Callable:
            def __call__(self):
                say('object')

            def method(self, value):
                say(f'method {value}')

        def plain():
            say('plain')

        def with_arguments(first, second, third=3):
            say(f'arguments {first} {second} {third}')

        def make_command(word='default'):
            return f'say command {word}'

        def task_kinds():
            kinds = {
                'text': ['say text'],
                'list': [['say', 'list', 'a  b', '$HOME', '*']],
                'list_with_path': [['say', Path('some') / 'path']],
                'function': [plain],
                'lambda': [lambda: say('lambda')],
                'object': [Callable()],
                'method': [(Callable().method, [1])],
                'tuple_alone': [(plain,)],
                'tuple': [(with_arguments, [1, 2])],
                'tuple_dict': [(with_arguments, [1], {'second': 5, 'third': 6})],
                'tuple_empty': [(with_arguments, (), {'first': 1, 'second': 2})],
                'several': ['say one', plain, ['say', 'two']],
                'cmd': [CmdAction('say cmd')],
                'cmd_list': [CmdAction(['say', 'cmd list'], shell=False)],
                'cmd_callable': [CmdAction(make_command)],
                'cmd_callable_tuple': [CmdAction((make_command, [], {'word': 'tuple'}))],
                'cmd_cwd': [CmdAction('say $(basename $(pwd)) && touch here', cwd='folder')],
                'cmd_env': [CmdAction('say "$X $Y"', env={**os.environ, 'X': '1'})],
                'cmd_buffering': [CmdAction('say buffering; echo out', buffering=1)],
                'cmd_encoding': [CmdAction("say encoding; printf '\\\\344'", encoding='latin-1')],
                'long_running': [LongRunning('say long; exit 3')],
                'interactive': [Interactive('say interactive')],
                'python_interactive': [PythonInteractiveAction(plain)],
                'tool': [(create_folder, ['made/deep'])],
            }
            for name, actions in kinds.items():
                yield {'name': name, 'actions': actions}
    """)
    twins.write("folder/keep", "")
    pair = twins.run(*width, order=width == ["-n", "0"])
    assert pair.exit_code == 0
    assert {"list a  b $HOME *", "arguments 1 5 6", "command tuple", "folder", "1 ", "long"} <= set(pair.ran)
    assert len(pair.ran) == 25


def test_list_of_commands_that_are_not_expanded(twins: Twins):
    """A list is passed as it is; a string gets doit's substitutions."""
    twins.dodo("""
        def task_words():
            return {'actions': [['say', '%(targets)s', '100%'], 'say %(targets)s 100%%'], 'targets': ['x']}
    """)
    assert twins.run().ran == ["%(targets)s 100%", "x 100%"]


@pytest.mark.parametrize("width", WIDTHS)
def test_arguments_that_doit_gives_to_functions(twins: Twins, width: list[str]):
    twins.dodo("""
        def named(targets, dependencies, changed, task):
            say(f'named {targets} {sorted(dependencies)} {sorted(changed)} {task.name}')

        def some(dependencies, extra):
            say(f'some {sorted(dependencies)} {extra}')

        def everything(**kwargs):
            say(f'everything {sorted(kwargs)}')

        def overridden(targets):
            say(f'overridden {targets}')

        def positional(*args):
            say(f'positional {args}')

        def writes(targets):
            for target in targets:
                open(target, 'w').write(target)

        def task_give():
            return {
                'actions': [named, (some, [], {'extra': 1}), everything, (overridden, [['mine']]),
                            (positional, [1, 2]), writes],
                'file_dep': ['a', 'b'], 'targets': ['t1', 't2'],
                'params': [{'name': 'option', 'short': 'o', 'default': 'value'}],
            }
    """)
    twins.write("a", "a")
    twins.write("b", "b")
    assert twins.run(*width, order=True).ran == [
        "named ['t1', 't2'] ['a', 'b'] ['a', 'b'] give",
        "some ['a', 'b'] 1",
        "everything ['option']",
        "overridden ['mine']",
        "positional (1, 2)",
    ]


def test_reserved_argument_with_a_default(twins: Twins):
    twins.dodo("""
        def wrong(targets=()):
            say('wrong')

        def task_wrong():
            return {'actions': [wrong], 'targets': ['x']}
    """)
    pair = twins.run(reporter=False)
    assert pair.exit_code != 0
    assert pair.ran == []


@pytest.mark.parametrize(
    ("style", "command"),
    [
        ("old", "say %(dependencies)s to %(targets)s changed %(changed)s with %(option)s {x}"),
        ("new", "say {dependencies} to {targets} changed {changed} with {option} %(x)s"),
        ("both", "say {dependencies} to %(targets)s changed {changed} with %(option)s"),
    ],
)
def test_substitution_in_commands(twins: Twins, style: str, command: str):
    quoted = command.replace("say ", "say '") + "'"
    twins.dodo(f"""
        DOIT_CONFIG = {{'action_string_formatting': '{style}'}}

        def task_say():
            return {{'actions': [{quoted!r}, 'touch out'], 'file_dep': ['in'], 'targets': ['out'],
                    'params': [{{'name': 'option', 'short': 'o', 'default': 'value'}}]}}
    """)
    twins.write("in", "")
    ending = {"old": " {x}", "new": " %(x)s", "both": ""}[style]
    assert twins.run().ran == ["in to out changed in with value" + ending]
    twins.write("in", "more")
    assert twins.run("say", "-o", "other").ran == ["in to out changed in with other" + ending]


@pytest.mark.parametrize("command", ["say %(nosuch)s", "say 100%", "say %d"])
def test_substitution_that_fails(twins: Twins, command: str):
    twins.dodo(f"""
        def task_say():
            return {{'actions': [{command!r}]}}

        def task_after():
            return {{'actions': ['say after']}}
    """)
    pair = twins.run()
    assert pair.exit_code == 2
    assert pair.ran == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("middle", "exit_code"),
    [
        pytest.param("'exit 1'", 1, id="exit 1"),
        pytest.param("'exit 125'", 1, id="exit 125"),
        pytest.param("'exit 126'", 2, id="exit 126"),
        pytest.param("'nosuchcommand'", 2, id="command not found"),
        pytest.param("'./notexecutable'", 2, id="not executable"),
        pytest.param("'exit 137'", 2, id="exit 137"),
        pytest.param("'kill -9 $$'", 1, id="killed"),
        pytest.param("'kill -TERM $$'", 1, id="terminated"),
        pytest.param("['false']", 1, id="list"),
        pytest.param("Interactive('exit 3')", 1, id="interactive"),
        pytest.param("lambda: False", 1, id="returns False"),
        pytest.param("lambda: TaskFailed('it failed')", 1, id="returns TaskFailed"),
        pytest.param("lambda: TaskError('it is an error')", 2, id="returns TaskError"),
        pytest.param("lambda: 1 / 0", 2, id="raises"),
        pytest.param("lambda: 5", 2, id="returns a number"),
        pytest.param("PythonInteractiveAction(lambda: 1 / 0)", 2, id="interactive python raises"),
    ],
)
def test_failing_action_in_the_middle(twins: Twins, middle: str, exit_code: int, width: list[str]):
    if width != ["-n", "0"] and exit_code == 2 and "lambda" not in middle:
        width = ["-n", "1"]  # the failure of a command is the same in every kind of worker
    twins.dodo(f"""
        from doit.exceptions import TaskError, TaskFailed
        from doit.tools import Interactive, PythonInteractiveAction

        def task_three():
            return {{'actions': ['say first; touch out', {middle}, 'say third'], 'targets': ['out']}}

        def task_user():
            return {{'actions': ['say user'], 'file_dep': ['out']}}
    """)
    twins.write("notexecutable", "")
    pair = twins.run(*width, "user")
    assert pair.exit_code == exit_code
    assert pair.ran == ["first"]


@pytest.mark.parametrize("width", WIDTHS)
def test_return_values_that_are_success(twins: Twins, width: list[str]):
    twins.dodo("""
        def task_ok():
            values = {'none': None, 'true': True, 'text': 'text', 'empty': '', 'dict': {'a': 1}, 'nil': {}}
            for name, value in values.items():
                yield {'name': name, 'actions': [lambda value=value: value, f'say {name}']}
    """)
    pair = twins.run(*width, order=False)
    assert pair.exit_code == 0
    assert len(pair.ran) == 6


def test_output_that_is_no_text(twins: Twins):
    twins.dodo("""
        from doit.action import CmdAction

        def task_bytes():
            yield {'name': 'replace', 'actions': [CmdAction("printf 'a\\\\377b'", save_out='out')]}
            yield {'name': 'ignore', 'actions': [CmdAction("printf 'a\\\\377b'", save_out='out',
                                                          decode_error='ignore')]}

        def task_show():
            return {'actions': [lambda outputs: say(ascii(sorted(outputs.items())))],
                    'getargs': {'outputs': ('bytes', 'out')}}
    """)
    assert twins.run("show").ran == [r"[('ignore', 'ab'), ('replace', 'a\ufffdb')]"]


def test_environment_and_folder_of_commands(twins: Twins):
    """What dodo.py sets while it is loaded, and what the caller has set, reach the commands."""
    twins.dodo("""
        import os
        os.environ['FROM_DODO'] = 'dodo'
        os.environ.pop('REMOVED', None)

        def task_show():
            return {'actions': ['say "$FROM_DODO $FROM_CALLER ${REMOVED-gone} $(basename $(pwd))"']}
    """)
    env = {"FROM_CALLER": "caller", "REMOVED": "still here"}
    assert twins.run(env=env).ran == ["dodo caller gone project"]
    assert twins.run("-n", "2", env=env).ran == ["dodo caller gone project"]


def test_sequential_python_actions_share_the_process(twins: Twins):
    """With `-n 0`, what one function leaves in memory is there for the next."""
    twins.dodo("""
        import os
        SEEN = []

        def note(word):
            SEEN.append(word)
            os.environ['NOTED'] = word

        def show():
            say(f"{SEEN} {os.environ['NOTED']}")

        def task_notes():
            for word in ('a', 'b'):
                yield {'name': word, 'actions': [(note, [word])]}

        def task_show():
            return {'actions': [show, 'say "$NOTED"']}
    """)
    assert twins.run().ran == ["['a', 'b'] b", "b"]


def test_input_of_commands_is_closed_or_empty(twins: Twins):
    twins.dodo("""
        def task_read():
            return {'actions': ['say "read:$(cat)"']}
    """)
    assert twins.run().ran == ["read:"]


@pytest.mark.parametrize("width", WIDTHS)
def test_much_output_on_both_streams(twins: Twins, width: list[str]):
    twins.dodo("""
        from doit.action import CmdAction

        def loud():
            for number in range(20_000):
                print('a line of the function', number)

        def task_loud():
            yield {'name': 'command', 'actions': [CmdAction(
                'yes out | head -n 50000; yes err | head -n 50000 >&2', save_out='text')]}
            yield {'name': 'function', 'actions': [loud, 'say done']}

        def task_size():
            return {'actions': [lambda text: say(str(len(text)))],
                    'getargs': {'text': ('loud:command', 'text')}}
    """)
    assert sorted(twins.run("-v", "0", *width, "size", "loud", order=False).ran) == ["200000", "done"]


@pytest.mark.parametrize("mode", ["0o644", "0o755", "0o600", "0o444"])
def test_permissions_of_outputs(twins: Twins, mode: str):
    twins.dodo(f"""
        import os

        def make(targets):
            open(targets[0], 'w').write('x')
            os.chmod(targets[0], {mode})

        def task_make():
            return {{'actions': [make, 'umask 077; touch private'], 'targets': ['out', 'private']}}
    """)
    assert twins.run().exit_code == 0
    assert twins.run("-n", "2").exit_code == 0
