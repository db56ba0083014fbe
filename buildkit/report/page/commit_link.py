"""Where a commit can be looked at: the address that the project's git remote leads to.

Only forges whose addresses are known get links. What a remote holds of names and passwords goes nowhere.
"""

from __future__ import annotations

import re
import subprocess

_GIT_TIMEOUT_S = 5

# git@host:owner/name.git (the scp form), and ssh://, https://, http:// or git:// addresses.
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[A-Za-z0-9.-]+):(?!/)(?P<path>[^\s?#]+)")
_URL = re.compile(
    r"(?P<scheme>https?|ssh|git|git\+ssh)://(?:[^@/]+@)?(?P<host>[A-Za-z0-9.-]+)(?P<port>:\d+)?/(?P<path>[^\s?#]+)"
)
_PATH = re.compile(r"[\w.~-]+(?:/[\w.~-]+)+", re.ASCII)
_COMMIT_OF_FORGE = {"github": "/commit/", "gitlab": "/-/commit/", "codeberg": "/commit/", "gitea": "/commit/"}


def commit_url_of(project: str) -> str | None:
    """Return what a commit's hash is appended to, from the remote `origin`; None where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", project, "remote", "get-url", "origin"],
            capture_output=True,
            check=False,
            timeout=_GIT_TIMEOUT_S,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit_url(answer.stdout.strip()) if answer.returncode == 0 else None


def commit_url(remote: str) -> str | None:
    """Return the same for the address of a remote.

    GitHub, GitLab and their kin are known by a label of the host's name (`gitlab.example.org`).
    """
    match = _URL.fullmatch(remote) or _SCP.fullmatch(remote)
    if match is None:
        return None
    host = match["host"].lower()
    path = match["path"].strip("/").removesuffix(".git")
    forge = next((label for label in host.split(".") if label in _COMMIT_OF_FORGE), None)
    if forge is None or not _PATH.fullmatch(path):
        return None
    parts = match.groupdict()
    # The port of an ssh address says nothing about the web server.
    port = (parts.get("port") or "") if str(parts.get("scheme", "")).startswith("http") else ""
    scheme = "http" if parts.get("scheme") == "http" else "https"
    return f"{scheme}://{host}{port}/{path}{_COMMIT_OF_FORGE[forge]}"
