"""`python -m buildkit.regressions`: the detector as a filter; it lives in `report/regressions`."""

import sys

from buildkit.report.regressions.filter import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout, sys.stderr))
