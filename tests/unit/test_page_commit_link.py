"""From a git remote to the address of a commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildkit.report.page.commit_link import commit_url, commit_url_of


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/owner/name.git", "https://github.com/owner/name/commit/"),
        ("https://github.com/owner/name", "https://github.com/owner/name/commit/"),
        ("git@github.com:owner/name.git", "https://github.com/owner/name/commit/"),
        ("ssh://git@github.com:22/owner/name.git", "https://github.com/owner/name/commit/"),
        ("https://gitlab.com/group/sub/name.git", "https://gitlab.com/group/sub/name/-/commit/"),
        ("git@gitlab.example.org:group/name.git", "https://gitlab.example.org/group/name/-/commit/"),
        (
            "https://gitlab.example.org:8443/group/name",
            "https://gitlab.example.org:8443/group/name/-/commit/",
        ),
        ("https://codeberg.org/owner/name.git", "https://codeberg.org/owner/name/commit/"),
    ],
)
def test_known_forges_get_links(remote: str, address: str) -> None:
    assert commit_url(remote) == address


@pytest.mark.parametrize(
    "remote",
    [
        "/srv/git/name.git",
        "../name",
        "file:///srv/git/name.git",
        "https://example.org/owner/name.git",
        "https://github.com",
        "https://github.com/owner/na me",
        "https://github.com/owner/name?x=1",
        "javascript://github.com/owner/name",
        "https://github.com.evil.example\\@x/owner/name",
        "",
    ],
)
def test_what_is_no_address_of_a_known_forge_gets_none(remote: str) -> None:
    assert commit_url(remote) is None


def test_passwords_in_a_remote_do_not_get_into_the_page() -> None:
    assert (
        commit_url("https://user:secret@github.com/owner/name.git") == "https://github.com/owner/name/commit/"
    )


def test_the_remote_of_a_clone_is_asked_of_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert commit_url_of(str(tmp_path)) is None
    subprocess.run(
        ["git", "-C", tmp_path, "remote", "add", "origin", "git@github.com:owner/name.git"], check=True
    )
    assert commit_url_of(str(tmp_path)) == "https://github.com/owner/name/commit/"


def test_a_directory_that_is_no_repository_has_no_links(tmp_path: Path) -> None:
    assert commit_url_of(str(tmp_path / "missing")) is None
