"""How many guesses a password withstands, in bits."""

from math import log2

ALPHABETS = [(str.islower, 26), (str.isupper, 26), (str.isdigit, 10)]
OTHER_SIGNS = 33


def bits(password: str) -> float:
    """Return the size of the search space in bits, for somebody who tries every combination."""
    size = sum(count for belongs, count in ALPHABETS if any(belongs(sign) for sign in password))
    if any(not sign.isalnum() for sign in password):
        size += OTHER_SIGNS
    return len(password) * log2(size) if size else 0.0


def verdict(password: str) -> str:
    """Return `weak`, `fair` or `strong`."""
    strength = bits(password)
    return "weak" if strength < 50 else "fair" if strength < 80 else "strong"
