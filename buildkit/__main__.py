"""The `buildkit` script: the same arguments as `doit`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run doit's command line with our engine; return the exit code."""
    from doit.cmd_base import DodoTaskLoader
    from doit.doit_cmd import DoitMain

    return int(DoitMain(DodoTaskLoader()).run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
