"""Tell whether the passwords in a list are long enough to be any good."""

import sys

from strength import verdict


def main(arguments: list[str]) -> int:
    """Print one verdict per argument; return 1 if one of them is weak."""
    if not arguments:
        print("usage: strength.pyz PASSWORD...", file=sys.stderr)
        return 2
    verdicts = [verdict(password) for password in arguments]
    for password, text in zip(arguments, verdicts, strict=True):
        print(f"{'*' * len(password)}: {text}")
    return int("weak" in verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
