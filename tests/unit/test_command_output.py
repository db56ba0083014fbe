"""How our commands end: exit codes, and errors in one line."""

import pytest

from buildkit.cli.output import exit_code_of
from buildkit.core.errors import StateError


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (4, 4)])
def test_a_command_that_ends_by_itself_has_its_own_exit_code(returned, code):
    assert exit_code_of(lambda: returned) == code


def test_what_the_user_can_put_right_is_one_line(capsys):
    assert exit_code_of(raising(StateError("the history is damaged."))) == 3
    assert capsys.readouterr() == ("", "ERROR: the history is damaged.\n")


def test_ctrl_c_is_no_traceback(capsys):
    assert exit_code_of(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "interrupted\n")
