"""Pack Python files of one folder into a zip file that Python runs: `pack.py TARGET FILE...`.

The same files give the same bytes, on every machine and every day: `zipapp` of the standard library would
write the time of each file into the archive.
"""

import os
import stat
import sys
import zipfile
from pathlib import Path

target, *files = sys.argv[1:]
root = os.path.commonpath([os.path.dirname(file) for file in files])
Path(target).parent.mkdir(parents=True, exist_ok=True)
with open(target, "wb") as out:
    out.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(files):
            member = zipfile.ZipInfo(Path(file).relative_to(root).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(member, Path(file).read_bytes())
os.chmod(target, os.stat(target).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
