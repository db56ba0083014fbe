"""What a program name resolves to, and what changes the digest that stands for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from buildkit.core.digest import digest_file
from buildkit.core.tools import MISSING, Tool, ToolResolver


def executable(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    return path


def environment(root: Path, *distributions: str) -> Path:
    """A virtual environment as far as a resolver looks at it."""
    executable(root / "bin" / "python3.11", "\x7fELF python")
    (root / "bin" / "python").symlink_to("python3.11")
    (root / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    site = root / "lib" / "python3.11" / "site-packages"
    for name in distributions:
        (site / f"{name}.dist-info").mkdir(parents=True)
    executable(root / "bin" / "lint", f"#!{root}/bin/python\nimport lint\nlint.main()\n")
    return root


def resolve(name: str, *path: Path, cwd: Path = Path("/")) -> Tool:
    search = os.pathsep.join(map(str, path))
    return ToolResolver(digest_file, path=search, cwd=str(cwd), project_root=str(cwd)).resolve(name)


def test_the_first_folder_of_the_search_path_wins(tmp_path: Path) -> None:
    one = executable(tmp_path / "one" / "tool", "1")
    two = executable(tmp_path / "two" / "tool", "2")
    assert resolve("tool", one.parent, two.parent) == Tool("tool", str(one), digest_file(str(one)))
    assert resolve("tool", two.parent, one.parent).path == str(two)


def test_files_that_are_not_executable_and_folders_are_passed_over(tmp_path: Path) -> None:
    executable(tmp_path / "one" / "tool", "1").chmod(0o644)
    (tmp_path / "two" / "tool").mkdir(parents=True)
    three = executable(tmp_path / "three" / "tool", "3")
    assert resolve("tool", *(tmp_path / name for name in ("one", "two", "three"))).path == str(three)


@pytest.mark.parametrize("name", ["nothing", "./nothing", "", "a\0b"])
def test_a_tool_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    assert resolve(name, tmp_path, cwd=tmp_path) == Tool(name, None, MISSING)


def test_names_with_a_slash_start_at_the_working_directory(tmp_path: Path) -> None:
    tool = executable(tmp_path / "scripts" / "tool", "1")
    assert resolve("scripts/tool", cwd=tmp_path).digest == digest_file(str(tool))
    assert resolve("tool", Path("scripts"), cwd=tmp_path).path == str(tool)
    assert resolve(str(tool)).path == str(tool)


def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    tool = executable(tmp_path / "tool-2", "2")
    (tmp_path / "tool").symlink_to("tool-2")
    assert resolve("tool", tmp_path) == Tool("tool", str(tmp_path / "tool"), digest_file(str(tool)))


def test_an_upgrade_of_a_distribution_changes_every_script_of_its_environment(tmp_path: Path) -> None:
    root = environment(tmp_path / "venv", "lint-1.0", "helper-1.0")
    before = {name: resolve(name, root / "bin").digest for name in ("lint", "python", "python3.11")}
    site = root / "lib" / "python3.11" / "site-packages"
    (site / "helper-1.0.dist-info").rename(site / "helper-1.1.dist-info")
    after = {name: resolve(name, root / "bin").digest for name in before}
    assert all(before[name] != after[name] for name in before)


def test_another_version_of_python_changes_a_script(tmp_path: Path) -> None:
    root = environment(tmp_path / "venv", "lint-1.0")
    before = resolve("lint", root / "bin").digest
    (root / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.8\n")
    assert resolve("lint", root / "bin").digest != before


def test_a_script_outside_of_an_environment_is_its_content(tmp_path: Path) -> None:
    root = environment(tmp_path / "venv", "lint-1.0")
    plain = executable(root / "bin" / "plain", "no script at all")
    before = resolve("plain", root / "bin").digest
    shutil.rmtree(root / "lib")
    assert resolve("plain", root / "bin").digest == before == digest_file(str(plain))


def test_equal_environments_in_different_places_are_equal(tmp_path: Path) -> None:
    one = environment(tmp_path / "one", "lint-1.0")
    two = environment(tmp_path / "elsewhere" / "two", "lint-1.0")
    assert resolve("lint", one / "bin").digest == resolve("lint", two / "bin").digest
    assert resolve("python", one / "bin").digest == resolve("python", two / "bin").digest


def test_scripts_of_one_environment_differ_by_content(tmp_path: Path) -> None:
    root = environment(tmp_path / "venv", "lint-1.0")
    executable(root / "bin" / "other", f"#!{root}/bin/python\nimport other\n")
    assert resolve("lint", root / "bin").digest != resolve("other", root / "bin").digest


def test_the_program_after_env_counts(tmp_path: Path) -> None:
    executable(tmp_path / "script", "#!/usr/bin/env -S node --flag\nrun()\n")
    executable(tmp_path / "node", "1")
    before = resolve("script", tmp_path).digest
    executable(tmp_path / "node", "2")
    assert resolve("script", tmp_path).digest != before


def test_a_long_path_hidden_behind_a_shell_counts_as_python(tmp_path: Path) -> None:
    def trampoline(root: Path) -> str:
        text = f"#!/bin/sh\n'''exec' \"{root}/bin/python\" \"$0\" \"$@\"\n' '''\nimport lint\n"
        executable(root / "bin" / "long", text)
        return resolve("long", root / "bin").digest

    one = environment(tmp_path / "one", "lint-1.0")
    two = environment(tmp_path / "two", "lint-1.0")
    assert trampoline(one) == trampoline(two)
    (one / "lib" / "python3.11" / "site-packages" / "new-1.dist-info").mkdir()
    assert trampoline(one) != trampoline(two)


def test_scripts_that_interpret_each_other_end(tmp_path: Path) -> None:
    executable(tmp_path / "a", f"#!{tmp_path}/b\n")
    executable(tmp_path / "b", f"#!{tmp_path}/a\n")
    assert resolve("a", tmp_path).path == str(tmp_path / "a")


def test_a_shim_is_what_its_manager_may_start(tmp_path: Path) -> None:
    manager = tmp_path / "manager"
    executable(manager / "shims" / "python", "#!/bin/sh\nexec manager python\n")
    found = {resolve("python", manager / "shims", cwd=tmp_path).digest}
    (tmp_path / ".python-version").write_text("3.12.1")
    found.add(resolve("python", manager / "shims", cwd=tmp_path).digest)
    (manager / "versions" / "3.12.1" / "lib" / "python3.12" / "site-packages" / "x-1.dist-info").mkdir(
        parents=True
    )
    found.add(resolve("python", manager / "shims", cwd=tmp_path).digest)
    assert len(found) == 3


def test_answers_are_remembered(tmp_path: Path) -> None:
    executable(tmp_path / "tool", "1")
    read: list[str] = []

    def digest(path: str) -> str:
        read.append(path)
        return digest_file(path)

    resolver = ToolResolver(digest, path=str(tmp_path), cwd="/", project_root="/")
    assert resolver.resolve("tool") is resolver.resolve("tool")
    assert len(read) == 1
