"""Bars without any library: ratios to the first contender of each scenario, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_ROW, _LEFT, _WIDE, _TOP = 18, 230, 420, 40
_LEAST, _MOST = 0.25, 64.0


def bars(rows: Sequence[tuple[str, str, float]], caption: str) -> str:
    """Return an SVG of (scenario, contender, ratio) rows; the line at 1 is the anchor."""
    parts: list[str] = []
    y = _TOP
    previous = None
    for scenario, contender, ratio in rows:
        if scenario != previous:
            y += _ROW // 2
            parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{escape(scenario)}</text>')
            y += _ROW
            previous = scenario
        x, one = _x(ratio), _x(1.0)
        colour = "#2a78d6" if ratio <= 1 else "#c9c9c9"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(contender)}</text>')
        parts.append(
            f'<rect x="{min(x, one):.1f}" y="{y + 2}" width="{max(1.0, abs(x - one)):.1f}" height="12" '
            f'fill="{colour}"/>'
        )
        parts.append(f'<text x="{max(x, one) + 4:.1f}" y="{y + 12}">{ratio:.2f}</text>')
        y += _ROW
    one = _x(1.0)
    parts.append(f'<line x1="{one}" x2="{one}" y1="{_TOP}" y2="{y}" stroke="#444"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDE + 60}" height="{y + 16}" '
        'font-family="sans-serif" font-size="11">'
        '<rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18">Time in ratio to the first line of each scenario. {escape(caption)}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _x(ratio: float) -> float:
    share = math.log(min(max(ratio, _LEAST), _MOST) / _LEAST) / math.log(_MOST / _LEAST)
    return _LEFT + share * _WIDE
