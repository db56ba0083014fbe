"""Build and test a small C program. The compiler itself says which header belongs to which source."""

import os
from pathlib import Path

CC = os.environ.get("CC", "gcc")
CFLAGS = os.environ.get("CFLAGS", "-std=c11 -O2 -Wall -Wextra") + " -Iinclude"

SOURCES = sorted(Path("src").glob("*.c"))
HEADERS = sorted(str(header) for header in Path("include").glob("*.h"))
OBJECTS = [f"build/{source.stem}.o" for source in SOURCES]
PROGRAM = "build/wordcount"


def dependencies_in(depfile):
    """Return the files that a make rule such as `main.o: src/main.c include/table.h` names."""
    rule = Path(depfile).read_text().replace("\\\n", " ")
    _, _, names = rule.partition(":")
    spaced = names.replace("\\ ", "\0").split()
    return {"file_dep": [name.replace("\0", " ") for name in spaced]}


def task_scan():
    """ask the preprocessor which headers each source includes, and write it to a .d file"""
    for source in SOURCES:
        depfile = f"build/{source.stem}.d"
        yield {
            "name": source.stem,
            # Every header counts here: each of them may decide what is included. This costs a few
            # milliseconds per source, and what it finds lets the compile tasks below be exact.
            "file_dep": [str(source), *HEADERS],
            "targets": [depfile],
            "actions": [
                "mkdir -p build",
                f"{CC} {CFLAGS} -MM -MF {depfile} {source}",
                (dependencies_in, [depfile]),
            ],
            "clean": True,
        }


def task_compile():
    """compile each source; it depends on the headers that its scan found"""
    for source in SOURCES:
        yield {
            "name": source.stem,
            "file_dep": [str(source)],
            "calc_dep": [f"scan:{source.stem}"],
            "targets": [f"build/{source.stem}.o"],
            "actions": ["mkdir -p build", f"{CC} {CFLAGS} -c -o %(targets)s {source}"],
            "clean": True,
        }


def task_link():
    """link the program"""
    return {
        "file_dep": OBJECTS,
        "targets": [PROGRAM],
        # The objects are named in a fixed order: %(dependencies)s promises none.
        "actions": [f"{CC} -o {PROGRAM} {' '.join(OBJECTS)}"],
        "clean": True,
    }


def task_test():
    """compare what the program prints for each tests/NAME.txt with tests/NAME.expected"""
    for text in sorted(Path("tests").glob("*.txt")):
        expected = text.with_suffix(".expected")
        printed = f"build/{text.stem}.out"
        yield {
            "name": text.stem,
            "file_dep": [PROGRAM, str(text), str(expected)],
            "targets": [printed],
            "actions": [f"{PROGRAM} {text} > {printed}", f"diff -u {expected} {printed}"],
            "clean": True,
        }
