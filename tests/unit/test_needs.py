"""What commands depend on beside their inputs."""

from buildkit.core.needs import Needs


def test_programs_scripts_and_variables_of_a_command_line_are_collected():
    needs = Needs(environment=["CC"], programs=["gcc"])
    needs.add_text("sh tool.sh; make $FLAGS", None)
    assert needs.programs() == ("./tool.sh", "gcc", "make", "sh")
    assert needs.environment == ("CC", "FLAGS")
    assert needs.uncacheable is None


def test_a_script_that_is_an_input_counts_once():
    needs = Needs()
    needs.add_words(["python", "tool.py"], None)
    assert needs.programs({"tool.py"}) == ("python",)
    assert needs.programs({"other.py"}) == ("./tool.py", "python")


def test_paths_count_from_the_directory_of_the_command():
    needs = Needs()
    needs.add_words(["./run", "x"], "sub")
    needs.add_text("../bin/tool y", "sub")
    assert needs.programs() == ("bin/tool", "sub/run")


def test_a_doubt_is_told_once():
    needs = Needs(doubts=["it is interactive"])
    for _ in range(2):
        needs.add_text("eval $X", None)
    assert needs.uncacheable is not None
    assert needs.uncacheable.startswith("it is interactive; its programs are not known: ")
    assert needs.uncacheable.count("not known") == 1
