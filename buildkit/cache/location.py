"""Where the cache directory is. Nothing is created or opened here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

ENVIRONMENT_VARIABLE = "BUILDKIT_CACHE_DIR"


def cache_directory(
    environment: Mapping[str, str], setting: str | None = None, *, root: str, platform: str = sys.platform
) -> str:
    """Return the absolute path of the cache directory.

    The first of these that is set and not empty: `BUILDKIT_CACHE_DIR`, the setting `cache_dir`,
    `$XDG_CACHE_HOME/buildkit` (XDG Base Directory Specification: a relative value is ignored), the
    platform's cache directory of the user. Relative paths count from `root`, the project's root.
    """
    chosen = environment.get(ENVIRONMENT_VARIABLE) or setting
    if chosen:
        return os.path.normpath(os.path.join(root, _expand_home(chosen, environment)))
    base = environment.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        default = "~/Library/Caches" if platform == "darwin" else "~/.cache"
        base = _expand_home(default, environment)
    return os.path.join(base, "buildkit")


def _expand_home(path: str, environment: Mapping[str, str]) -> str:
    """Expand a leading `~` by the given environment first, then by the user database."""
    home = environment.get("HOME")
    if home and (path == "~" or path.startswith("~/")):
        return home + path[1:]
    return os.path.expanduser(path)
