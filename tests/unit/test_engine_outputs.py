"""Recorded outputs are compared as texts where that is enough, and taken apart where it is not."""

from __future__ import annotations

import pytest

from buildkit.cache.result import OutputFile, OutputKind
from buildkit.core.digest import Digest, digest_text
from buildkit.core.fingerprint import Fingerprint, FingerprintTable
from buildkit.engine.outputs import are_as_recorded, compare_outputs, decode_outputs, encode_outputs


def table_of(files: dict[str, tuple[str, int]]) -> FingerprintTable:
    """Return a table of files that are what is said here: path -> content and mode."""

    def stat(path: str) -> object:
        if path not in files:
            raise FileNotFoundError(path)
        return None

    def read(path: str) -> Fingerprint:
        stat(path)
        content, mode = files[path]
        return Fingerprint(digest_text(content), 1, 1, len(content), 1, 1, mode, 10**12)

    return FingerprintTable({}, read=read, stat=stat)  # type: ignore[arg-type] # the status is not looked at


def recorded(path: str, content: str, mode: int = 0o644) -> OutputFile:
    return OutputFile(path, OutputKind.FILE, digest_text(content), mode, None)


NAMES = ["out/a", "out/b c", "ü", "\udcff", "tab\t", "'", "a,b", "[]"]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_that_says_what_is_there_is_right_as_the_comparison_has_it(name: str) -> None:
    table = table_of({name: ("x", 0o644), "other": ("y", 0o755)})
    outputs = [recorded(name, "x"), recorded("other", "y", 0o755)]
    text = encode_outputs(outputs)
    seen = compare_outputs([name, "other"], decode_outputs(text), table, "/")
    assert not seen.missing
    assert not seen.changed
    if name.isascii() and name.isprintable():
        assert are_as_recorded([name, "other"], text, table)


@pytest.mark.parametrize(
    "now",
    [
        {"a": ("other", 0o644), "b": ("y", 0o644)},
        {"a": ("x", 0o600), "b": ("y", 0o644)},
        {"b": ("y", 0o644)},
    ],
    ids=["content", "mode", "gone"],
)
def test_a_file_that_is_another_one_or_gone_is_not_as_recorded(now: dict[str, tuple[str, int]]) -> None:
    text = encode_outputs([recorded("a", "x"), recorded("b", "y")])
    assert not are_as_recorded(["a", "b"], text, table_of(now))


def test_an_output_that_was_not_recorded_is_not_as_recorded() -> None:
    table = table_of({"a": ("x", 0o644), "b": ("y", 0o644)})
    assert not are_as_recorded(["a", "b"], encode_outputs([recorded("a", "x")]), table)
    assert not are_as_recorded(["a"], encode_outputs([recorded("a", "x"), recorded("b", "y")]), table)


def test_a_name_that_looks_like_two_records_is_never_taken_for_them() -> None:
    digest = digest_text("x")
    odd = f'a","file","{digest}",420,null],["b'
    text = encode_outputs([recorded("a", "x"), recorded("b", "x")])
    assert not are_as_recorded([odd], text, table_of({odd: ("x", 0o644)}))


def test_directories_and_links_are_left_to_the_comparison() -> None:
    table = table_of({"a": ("x", 0o644)})
    link = OutputFile("a", OutputKind.LINK, Digest(digest_text("x")), 0o777, "elsewhere")
    assert not are_as_recorded(["a"], encode_outputs([link]), table)
    folder = OutputFile("a", OutputKind.DIR, None, 0o755, None)
    assert not are_as_recorded(["a"], encode_outputs([folder]), table)
