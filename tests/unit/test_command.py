"""What is certain about a command text, and that it is true."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.core.command import analyze


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("cp a b", ("cp", "a", "b")),
        ("  cp \t a   b ", ("cp", "a", "b")),
        ('python -c "print(1)"', ("python", "-c", "print(1)")),
        ("tool 'a b' \"c\"d''", ("tool", "a b", "cd")),
        ("tool '' --x=\"1 2\"", ("tool", "", "--x=1 2")),
        (
            "gcc -DX=1 -o out/a.o a+b.c @flags %x ^y !z",
            ("gcc", "-DX=1", "-o", "out/a.o", "a+b.c", "@flags", "%x", "^y", "!z"),
        ),
        ("tool 'line\nbreak' '$HOME' '\\'", ("tool", "line\nbreak", "$HOME", "\\")),
    ],
)
def test_text_without_shell_syntax_is_split_into_words(text: str, argv: tuple[str, ...]) -> None:
    found = analyze(text)
    assert found.argv == argv
    assert found.programs == (argv[0],)
    assert found.opaque is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "echo a",
            "cd x",
            "true",
            "[ -f a ]",
            "test a",
            "X=1",
            "X=1 cp a b",
            "a | b",
            "a > b",
            "a; b",
        ),
        *(
            "a & b",
            "a $X",
            "a `b`",
            "a *.c",
            "a ?",
            "a [b]",
            "a {b,c}",
            "a ~",
            "a ~/x",
            "a # b",
            "a \\b",
            "a\nb",
        ),
        *(
            'a "$X"',
            'a "`b`"',
            'a "\\""',
            "a 'b",
            'a "b',
            "if a",
            "time a",
            "! a",
            "%1",
            "'echo' a",
            "a\\\nb",
        ),
        *("a\0b", "a \u00e9", "a \u00a0b", "a\rb", "a\x0bb", "'a b' c", "a=b c"),
    ],
)
def test_text_that_a_shell_has_to_read_is_left_to_it(text: str) -> None:
    assert analyze(text).argv is None


@pytest.mark.parametrize("word", ["echo", ".", "[", "if", "kill", "ulimit", "source", "{", "printf", "type"])
def test_builtins_and_reserved_words_need_the_shell(word: str) -> None:
    assert analyze(f"{word} a").argv is None
    assert analyze(f"{word.strip('[{.') or 'a'}x a").argv is not None


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("echo hi", ""),
        ("a && b || c | d & e; f\ng", "a b c d e f g"),
        ("a > out 2>&1 < in", "a"),
        ("X=1 Y=2 a", "a"),
        ("if test -f x; then a; elif b; then c; else d; fi", "a b c d"),
        ("for i in x y; do a $i; done; b", "a b"),
        ("for i do a; done", "a"),
        ("while a; do b; done < f | c", "a b c"),
        ("case $x in a|b) c;; (*) d;; esac; e", "c d e"),
        ("{ a; b; }", "a b"),
        ("(a; b) && c", "a b c"),
        ("f() { a; }; f; b", "a b"),
        ("echo $(a $(b)) `c`", "b a c"),
        ('echo "x $(a) `b`"', "a b"),
        ("env X=1 a", "env a"),
        ("env -u X -i a b", "env a"),
        ("exec a", "a"),
        ("command a", "a"),
        ("time -p a", "a"),
        ("nohup a &", "nohup a"),
        ("nice -n 5 a", "nice a"),
        ("nice -5 a; timeout --signal=9 3 b; xargs -n1 c", "nice a timeout b xargs c"),
        ("timeout -k 1 5 a b", "timeout a"),
        ("sudo -u bob a", "sudo a"),
        ("x | xargs -n 1 a", "x xargs a"),
        ("xargs -I{} -P4 a {}", "xargs a"),
        ("find . -name '*.c' -exec a {} \\; -exec b {} +", "find a b"),
        ("sh -ec 'a; b'", "sh a b"),
        ("bash script.sh", "bash"),
        ("cat <<EOF | a\n$X b\nEOF\nc", "cat a c"),
        ("cat <<-'EOF'\n\t$(b)\n\tEOF\nc", "cat c"),
        ("a # b; c", "a"),
        ("a \\\n b; x\\\ny", "a xy"),
        ("$CC -c x", "$CC"),
        ('"${CC:-gcc}" x', "${CC:-gcc}"),
        ("[ -f x ] && a", "a"),
        ("! a", "a"),
        ("'a b' c", "a b"),
    ],
)
def test_programs_are_the_first_words_of_simple_commands(text: str, programs: str) -> None:
    found = analyze(text)
    assert found.opaque is None
    assert found.programs == (("a b",) if text.startswith("'a b'") else tuple(programs.split()))


@pytest.mark.parametrize(
    "text",
    [
        *("eval a", ". ./env", "source x", "$(a) b", "`a`", "a (", "if a", "a | sh", "bash", 'sh -c "$X"'),
        *("./a*", "~/bin/a", "PATH=x a", "export PATH=x; a", "env PATH=x a", "cd x && ./a", "alias a=b"),
        *("trap 'a' EXIT", "[[ a ]] && b", "function f { a; }", "diff <(a) <(b)", "X=1; $X", "env -S 'a b'"),
        *("a 'b", "a $'b'", "cat <<EOF\n$(a)\nEOF", "cat <<EOF\nx", "done", "a )", "a;; b", "$((a) ; b)"),
        *("parallel a", "echo ${!X}", "a && f() { b; }", "for i in x; do a", "case x in a) b", "echo $(a"),
        *("ssh host a", "env $X a", "timeout $T a", "nice --what a", "{a,b} c", "''"),
    ],
)
def test_what_cannot_be_known_is_opaque(text: str) -> None:
    assert analyze(text).opaque


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ('a $X ${Y} ${Z:-$W} "$V" ${#U}', "U V W X Y Z"),
        ("a '$X' \\$Y $1 $@ $$ $?", ""),
        ("X=1; a $X", ""),
        ("X=1 a $X", "X"),
        ("a $X; X=1", "X"),
        ("a && X=1; b $X", "X"),
        ("X=1 && b $X", ""),
        ("(X=1; a $X); b $X", "X"),
        ("if a; then X=1; else b $X; fi", "X"),
        ("for i in x; do a $i; done", ""),
        ("for i in x; do a; done; b $i", "i"),
        ("while read l; do a $l; done", ""),
        ("export X=1; a $X", ""),
        ("X=1 | a; b $X", "X"),
        ("a $((X + 1))", "X"),
        ("a `b $X`", "X"),
        ("a <<E\n$X\nE\n", "X"),
        ("a <<'E'\n$X\nE\n", ""),
        ("sh -c 'a $X'", "X"),
        ("X=$(Y=1; a $Y); b $X $Y", "Y"),
    ],
)
def test_variables_are_those_that_the_text_reads_and_did_not_set(text: str, variables: str) -> None:
    found = analyze(text)
    assert found.opaque is None
    assert found.variables == tuple(variables.split())


words = st.text("ab.-/=%^!@+,:~#'\"$`\\*?[]{}()|&;<>\n\t \u00e9\x01", min_size=1, max_size=8)
texts = st.lists(words, min_size=1, max_size=4).map(lambda parts: "prog " + " ".join(parts))


@settings(max_examples=25, deadline=None)
@given(st.lists(texts, min_size=40, max_size=80))
def test_a_shell_splits_the_words_in_the_same_way(batch: list[str]) -> None:
    direct = [(text, argv) for text in batch if (argv := analyze(text).argv) is not None]
    # `prog` is a function that shows its arguments; one shell runs the whole batch.
    script = "prog() { printf '%s\\0' prog \"$@\"; printf '\\1\\0'; }\n" + "\n".join(
        text for text, _ in direct
    )
    shown = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, cwd="/", check=True
    ).stdout.decode()
    assert shown == "".join("\0".join((*argv, "\1\0")) for _, argv in direct)


@settings(max_examples=300, deadline=None)
@given(st.text("ab $`'\"\\(){}|&;<>\n=if#do", max_size=20))
def test_no_text_makes_the_analysis_fail(text: str) -> None:
    found = analyze(text)
    assert found.opaque is None or found.opaque


def test_deeply_nested_text_is_opaque() -> None:
    assert analyze("$(" * 5_000).opaque
    assert analyze("echo " + "${a:-" * 5_000).opaque
