"""The `buildkit` script: the same arguments as `doit`."""

import sys


def main() -> int:
    """Run doit's command line with our engine; return the exit code, or end the process right here."""
    if sys.platform != "win32":
        from buildkit.cli import fast

        answer = fast.check(sys.argv[1:])
        if answer is not None:
            fast.leave(answer.give())
    # The long way, which alone needs doit.
    from doit.cmd_base import DodoTaskLoader
    from doit.doit_cmd import DoitMain

    return int(DoitMain(DodoTaskLoader()).run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
