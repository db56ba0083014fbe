"""Run stock doit, or a program that embeds it, blind to every plug-in of this environment.

Usage: `python stock_doit.py doit ARGUMENT...` or `python stock_doit.py PROGRAM.py ARGUMENT...`.
"""

import os
import runpy
import sys


def main() -> None:
    """Hide the entry points from doit, then run as if the program had been started directly."""
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0])) if sys.argv[0] != "doit" else os.getcwd()

    from doit import plugin  # only now: doit reads its own name from sys.argv when it is imported

    plugin.entry_points_impl = lambda: lambda **_selection: ()
    if sys.argv[0] != "doit":
        runpy.run_path(sys.argv[0], run_name="__main__")
        return

    from doit.doit_cmd import DoitMain

    sys.exit(DoitMain().run(sys.argv[1:]))


if __name__ == "__main__":
    main()
