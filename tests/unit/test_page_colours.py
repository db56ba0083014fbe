"""The colours of the page: readable in both themes, and told apart by people who see fewer colours."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

CSS = Path(__file__).parents[2] / "buildkit" / "report" / "page" / "assets" / "page.css"
PAIR = re.compile(r"--([a-z-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)")
THEMES = ("light", "dark")
OUTCOMES = ("executed", "restored", "skipped", "failed", "other")

Colour = tuple[float, float, float]

# Severity 1.0 of Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color
# Vision Deficiency", 2009, on linear RGB.
SIGHTS: dict[str, tuple[Colour, Colour, Colour]] = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998),
    ),
    "no green": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "no blue": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip


def palette(theme: str) -> dict[str, Colour]:
    """Return the named colours of a theme as linear RGB."""
    text = CSS.read_text(encoding="utf-8")
    return {name: linear(light if theme == "light" else dark) for name, light, dark in PAIR.findall(text)}


def linear(code: str) -> Colour:
    red, green, blue = (int(code[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return _linear(red), _linear(green), _linear(blue)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    darker, lighter = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (one, other)
    )
    return (lighter + 0.05) / (darker + 0.05)


def seen(colour: Colour, sight: str) -> Colour:
    red, green, blue = (
        min(max(sum(weight * part for weight, part in zip(row, colour, strict=True)), 0), 1)
        for row in SIGHTS[sight]
    )
    return red, green, blue


def lab(colour: Colour) -> Colour:
    """Return CIE L*a*b* under D65."""
    red, green, blue = colour
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def distance(one: Colour, other: Colour) -> float:
    """Return the CIE 1976 difference; about 2 can just be seen side by side."""
    return sum((a - b) ** 2 for a, b in zip(lab(one), lab(other), strict=True)) ** 0.5


@pytest.mark.parametrize("theme", THEMES)
def test_texts_have_enough_contrast(theme: str) -> None:
    colours = palette(theme)
    pairs = [
        *itertools.product(
            ("text", "muted", "accent", "worse", "better"), ("bg", "surface", "raised", "sunken")
        ),
        *itertools.product(("on-colour",), ("executed", "restored", "failed", "other")),
    ]
    faint = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_bars_stand_out_from_the_surface(theme: str) -> None:
    colours = palette(theme)
    faint = {name: round(contrast(colours[name], colours["surface"]), 2) for name in (*OUTCOMES, "critical")}
    assert {name: ratio for name, ratio in faint.items() if ratio < 1.9} == {}


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", THEMES)
def test_outcomes_differ_for_everybody(theme: str, sight: str) -> None:
    colours = {name: seen(colour, sight) for name, colour in palette(theme).items()}
    close = {
        (one, other): round(distance(colours[one], colours[other]))
        for one, other in [*itertools.combinations(OUTCOMES, 2), ("executed", "critical")]
        if distance(colours[one], colours[other]) < 15
    }
    assert close == {}
