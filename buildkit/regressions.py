"""`python -m buildkit.regressions`: the detector as a filter; it lives in `report/regressions`."""

import io
import sys

from buildkit.report.regressions.filter import main

if __name__ == "__main__":
    if isinstance(
        sys.stdin, io.TextIOWrapper
    ):  # a byte that is no text belongs to a name: it is handed through
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout, sys.stderr))
