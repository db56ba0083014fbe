"""Which CI service this is, told by its environment."""

from __future__ import annotations

from collections.abc import Mapping

_SERVICES = (
    ("GITHUB_ACTIONS", "github"),
    ("GITLAB_CI", "gitlab"),
    ("BUILDKITE", "buildkite"),
    ("CI", "ci"),
)


def ci_service(environ: Mapping[str, str]) -> str | None:
    """Return `github`, `gitlab`, `buildkite`, `ci` for any other one, None for none."""
    for variable, service in _SERVICES:
        if environ.get(variable, "").lower() not in ("", "0", "false"):
            return service
    return None
