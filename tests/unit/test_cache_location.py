"""Where the cache directory is."""

from __future__ import annotations

from buildkit.cache.location import cache_directory

HOME = {"HOME": "/home/u"}


def test_environment_wins_over_the_setting() -> None:
    environment = {**HOME, "BUILDKIT_CACHE_DIR": "/from/env"}
    assert cache_directory(environment, "/from/setting", root="/p") == "/from/env"


def test_setting_wins_over_xdg() -> None:
    environment = {**HOME, "XDG_CACHE_HOME": "/xdg"}
    assert cache_directory(environment, "/from/setting", root="/p") == "/from/setting"


def test_an_empty_environment_variable_counts_as_not_set() -> None:
    environment = {**HOME, "BUILDKIT_CACHE_DIR": ""}
    assert cache_directory(environment, None, root="/p", platform="linux") == "/home/u/.cache/buildkit"


def test_relative_paths_count_from_the_project() -> None:
    assert cache_directory(HOME, ".buildkit/cache", root="/p") == "/p/.buildkit/cache"


def test_home_is_expanded() -> None:
    assert cache_directory(HOME, "~/c", root="/p") == "/home/u/c"


def test_xdg_is_used_if_absolute_and_ignored_if_relative() -> None:
    assert cache_directory({**HOME, "XDG_CACHE_HOME": "/xdg"}, root="/p") == "/xdg/buildkit"
    assert (
        cache_directory({**HOME, "XDG_CACHE_HOME": "rel"}, root="/p", platform="linux")
        == "/home/u/.cache/buildkit"
    )


def test_macos_has_its_own_place() -> None:
    assert cache_directory(HOME, root="/p", platform="darwin") == "/home/u/Library/Caches/buildkit"
