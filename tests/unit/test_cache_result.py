"""Action results as JSON: what goes in comes out, and nothing malformed or malicious gets in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.cache.result import (
    ActionResult,
    OutputFile,
    OutputKind,
    blob_digests,
    decode_result,
    encode_result,
)
from buildkit.core.digest import Digest, digest_bytes

DIGEST = digest_bytes(b"content")

any_text = st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=8).filter(
    lambda s: s not in (".", "..")
)
surrogates = (
    st.binary(min_size=1, max_size=6)
    .map(lambda raw: raw.replace(b"\0", b"x").replace(b"/", b"x").decode("utf-8", "surrogateescape"))
    .filter(lambda s: s not in (".", ".."))
)
names = any_text | surrogates


@st.composite
def results(draw: st.DrawFn) -> ActionResult:
    roots = draw(st.lists(names, unique=True, max_size=3))
    outputs = []
    for root in roots:
        kind = draw(st.sampled_from(OutputKind))
        digest = DIGEST if kind is OutputKind.FILE else None
        link = draw(names) if kind is OutputKind.LINK else None
        outputs.append(OutputFile(root, kind, digest, draw(st.integers(0, 0o777)), link))
        if kind is OutputKind.DIR:
            outputs.append(OutputFile(f"{root}/{draw(names)}", OutputKind.FILE, DIGEST, 0o644))
    optional = st.none() | st.integers(0, 2**62)
    return ActionResult(
        task=draw(names),
        roots=tuple(roots),
        outputs=tuple(outputs),
        log=draw(st.none() | st.just(DIGEST)),
        log_size=draw(st.integers(0, 2**40)),
        values_json=draw(st.text()),
        result_json=draw(st.text()),
        wall_ns=draw(st.integers(0, 2**62)),
        user_ns=draw(optional),
        system_ns=draw(optional),
        rss_bytes=draw(optional),
        created_at=draw(st.floats(0, 1e10)),
    )


@given(results())
def test_a_result_survives_being_written_and_read(result: ActionResult) -> None:
    assert decode_result(encode_result(result)) == result


@given(results())
def test_the_text_is_canonical_and_ascii(result: ActionResult) -> None:
    text = encode_result(result)
    assert text.isascii()
    again = decode_result(text)
    assert again is not None
    assert encode_result(again) == text


@given(results(), st.data())
def test_no_damaged_text_raises(result: ActionResult, data: st.DataObject) -> None:
    text = bytearray(encode_result(result))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(text)))
    decoded = decode_result(bytes(text[:cut]))
    assert decoded is None or isinstance(decoded, ActionResult)


def _text_with(output: list[object], roots: list[str]) -> bytes:
    data = json.loads(encode_result(ActionResult(task="t")))
    data["outputs"] = [output]
    data["roots"] = roots
    return json.dumps(data).encode()


def test_a_well_formed_row_is_accepted() -> None:
    assert decode_result(_text_with(["out", "file", DIGEST, 0o644, None], ["out"])) is not None


@pytest.mark.parametrize(
    "row",
    [
        ["elsewhere", "file", DIGEST, 0o644, None],
        ["out/../../etc/passwd", "file", DIGEST, 0o644, None],
        ["out//x", "file", DIGEST, 0o644, None],
        ["out/./x", "file", DIGEST, 0o644, None],
        ["output", "file", DIGEST, 0o644, None],
        ["out/a\0b", "file", DIGEST, 0o644, None],
        ["out", "file", "xxh3:../../../etc/passwd:3", 0o644, None],
        ["out", "file", "xxh3:" + "0" * 32 + ":-1", 0o644, None],
        ["out", "file", None, 0o644, None],
        ["out", "file", 7, 0o644, None],
        ["out", "file", DIGEST, 0o4755, None],
        ["out", "file", DIGEST, 0o2755, None],
        ["out", "file", DIGEST, -1, None],
        ["out", "file", DIGEST, True, None],
        ["out", "file", DIGEST, "420", None],
        ["out", "file", DIGEST, 0o644, "a link text"],
        ["out", "link", None, 0o777, None],
        ["out", "socket", None, 0o644, None],
        ["out", ["file"], DIGEST, 0o644, None],
        [7, "file", DIGEST, 0o644, None],
        ["out", "file", DIGEST, 0o644],
        "out",
    ],
)
def test_a_row_that_cannot_be_is_refused(row: list[object]) -> None:
    assert decode_result(_text_with(row, ["out"])) is None


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{}", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_text_that_is_no_result_is_refused(text: bytes) -> None:
    assert decode_result(text) is None


def test_links_need_no_blob_even_when_they_have_a_digest() -> None:
    other = digest_bytes(b"log")
    result = ActionResult(
        task="t",
        roots=("a", "b"),
        outputs=(
            OutputFile("a", OutputKind.FILE, DIGEST, 0o644),
            OutputFile("b", OutputKind.LINK, Digest("xxh3:" + "1" * 32 + ":5"), 0o777, "a"),
        ),
        log=other,
    )
    assert list(blob_digests(result)) == [DIGEST, other]
