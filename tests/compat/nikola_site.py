"""Build Nikola's demo site without and with buildkit installed, and compare every file.

    python tests/compat/nikola_site.py

Nikola embeds doit by subclassing `DoitMain`. It is installed into a scratch environment, or taken from the
one whose Python `BUILDKIT_NIKOLA_PYTHON` names (buildkit is installed into that one, and taken out again).
Files that already differ between two builds without buildkit (they hold the time of the build) are told and
left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SKIPPED = 77
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")  # minutes tick between two builds


def pip(python: Path, *arguments: str) -> str | None:
    """Run pip; return the end of what it says when that fails."""
    done = subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    return done.stderr.strip().splitlines()[-1] if done.returncode and done.stderr.strip() else None


def nikola(python: Path, site: Path, *arguments: str) -> str:
    """Run Nikola in a site; return what it prints."""
    env = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(site.parent),
        "LANG": "C.UTF-8",
        "BUILDKIT_CACHE_DIR": str(site.parent / "cache"),
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    done = subprocess.run(
        [python, "-m", "nikola", *arguments],
        cwd=site, env=env, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"nikola {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, with the times of the build masked."""
    return {
        str(path.relative_to(folder)): _TIME.sub(b"<time>", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    """Return the names that are not the same in both."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def build(python: Path, scratch: Path, name: str) -> Path:
    """Build a copy of the demo site; every copy has the same path when it is built."""
    site = scratch / "site"
    shutil.copytree(scratch / "demo", site)
    nikola(python, site, "build")
    second = nikola(python, site, "build")
    if any(line.startswith(".  ") and "render_" in line for line in second.splitlines()):
        print(f"{name}: the second build was not idle:\n{second}")
    return site.rename(scratch / name)


def main() -> int:
    """Build three times and compare; return 0, 1, or 77 for skipped."""
    with tempfile.TemporaryDirectory(prefix="nikola-") as folder:
        scratch = Path(folder)
        named = os.environ.get("BUILDKIT_NIKOLA_PYTHON")
        python = Path(named) if named else scratch / "venv" / "bin" / "python"
        if not named:
            venv.create(scratch / "venv", with_pip=True)
            problem = pip(python, "install", "nikola")
            if problem is not None:
                print(f"Nikola: skipped: it cannot be installed here: {problem}")
                return SKIPPED
        nikola(python, scratch, "init", "-q", "--demo", "demo")
        plain, again = build(python, scratch, "plain"), build(python, scratch, "again")
        problem = pip(python, "install", str(PROJECT))
        if problem is not None:
            print(f"Nikola: skipped: buildkit cannot be installed beside it: {problem}")
            return SKIPPED
        try:
            ours = build(python, scratch, "ours")
        finally:
            if named:
                pip(python, "uninstall", "--yes", "doit-buildkit")
        unstable = differing(files(plain / "output"), files(again / "output"))
        wrong = differing(files(plain / "output"), files(ours / "output")) - unstable
        count = len(files(ours / "output"))
        print(f"Nikola's demo site: {count} files, {len(wrong)} differ with buildkit installed")
        if unstable:
            print(f"left out, they differ between any two builds: {', '.join(sorted(unstable))}")
        if wrong:
            print("\n".join(sorted(wrong)))
        return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
