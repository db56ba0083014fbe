"""The `buildkit` script: the same arguments as `doit`."""

import sys


def main() -> int:
    """Run doit's command line with our engine; return the exit code, or end the process right here."""
    arguments = sys.argv[1:]
    if sys.platform == "win32":
        return _long_way()
    if "--check-plan" in arguments:
        from buildkit.cli import selfcheck

        arguments.remove("--check-plan")
        sys.argv[1:] = arguments
        return selfcheck.check_plan(arguments, _long_way)
    from buildkit.cli import fast

    found = fast.look(arguments)
    if found is not None and fast.to_be_checked():
        from buildkit.cli import selfcheck

        return selfcheck.compare(found, _long_way)
    exit_code = found.give() if found is not None else None
    if exit_code is None:
        return _long_way()
    fast.leave(exit_code)
    return 0


def _long_way() -> int:
    from doit.cmd_base import DodoTaskLoader
    from doit.doit_cmd import DoitMain

    try:
        program = DoitMain(DodoTaskLoader())
    except Exception as error:  # whatever parsers of TOML and INI raise, and what doit does with odd tables
        sys.stderr.write(f"ERROR: pyproject.toml or doit.cfg cannot be read: {error}\n")
        return 3
    return int(program.run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
