"""Numbers and texts as a person reads them in a terminal: durations, sizes, changes, plurals.

What belongs here: pure functions from values to short texts. Layout is for those who print.
"""

from __future__ import annotations

_SIZE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def duration(nanoseconds: int) -> str:
    """Return three significant digits: `0.05 ms`, `12.3 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`."""
    if nanoseconds < 0:
        return "-" + duration(-nanoseconds)
    if nanoseconds < 999_500_000:
        return f"{_three_digits(nanoseconds / 1e6)} ms"
    if nanoseconds < 59_950_000_000:
        return f"{_three_digits(nanoseconds / 1e9)} s"
    seconds = round(nanoseconds / 1e9)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    minutes = round(nanoseconds / 60e9)
    return f"{minutes // 60} h {minutes % 60:02} min"


def size(count: int) -> str:
    """Return a number of bytes in powers of 1024: `0 B`, `1.50 KiB`, `23.0 MiB`."""
    if count < 0:
        return "-" + size(-count)
    if count < 1024:
        return f"{count} B"
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{_three_digits(value)} {_SIZE_UNITS[unit]}"


def change(ratio: float) -> str:
    """Return a ratio of new to old as a signed change: `+12%`, `-8%`, `+0%`; from tenfold on as `x12`."""
    if ratio >= 10:
        return f"x{ratio:.0f}"
    return f"{round((ratio - 1) * 100):+d}%"


def plural(count: int, singular: str, several: str | None = None) -> str:
    """Return the count with its noun: `1 task`, `2 tasks`, `1,000 tasks`."""
    return f"{count:,} {singular if count == 1 else several or singular + 's'}"


def listed(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """Return the first names and the number of the others: `a, b, c and 4 more`."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9."""
    from signal import Signals  # brings enum along, which the fast start does without

    try:
        return Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def ending(exit_code: int | None, signal: int | None) -> str:
    """Return how a process failed: `exit code 1`, `killed by SIGKILL`; empty where that is not known."""
    if signal is not None:
        return f"killed by {signal_name(signal)}"
    return f"exit code {exit_code}" if exit_code else ""


def first_line(message: str) -> str:
    """Return the first line of a message, which says what the others explain."""
    return message.strip().partition("\n")[0]


def printable(text: str) -> str:
    """Return `text` harmless for a terminal: what is not printable (escapes, say) is spelt out."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _three_digits(value: float) -> str:
    """Return a value below 1024 with three significant digits, but no more than two decimals."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
