"""The result as a picture: hub requests against staleness, both better the lower."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 420, 70, 60, 30, 150
COLOURS = {"nginx": "#2f7d32", "Varnish": "#8a5a00", "generations-proxy": "#b3261e"}


class Point(Struct):
    """One system: to which it belongs, what is written beside it, and where it stands."""

    family: str
    label: str
    staleness: float
    requests: float


def draw(points: Sequence[Point], title: str) -> str:
    """An SVG; both axes are of square roots, as what matters is near the corner."""
    most_stale = max(point.staleness for point in points) * 1.05
    most = max(point.requests for point in points) * 1.1

    def x(staleness: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.sqrt(staleness / most_stale)

    def y(requests: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * math.sqrt(requests / most)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="13">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#555"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">',
        "mean staleness of an answer, s</text>",
        f'<text transform="translate(18 {(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)" text-anchor="middle">',
        "hub requests per 1,000 answers</text>",
    ]
    for tick in (0.1, 0.5, 1, 2, 3, 4):
        if tick < most_stale:
            parts.append(f'<text x="{x(tick):.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
            parts.append(f'<path d="M{x(tick):.0f} {HEIGHT - BOTTOM}v5" stroke="#555"/>')
    for tick in (10, 25, 50, 100, 150, 200, 300):
        if tick < most:
            parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.0f}" text-anchor="end">{tick}</text>')
            parts.append(f'<path d="M{LEFT} {y(tick):.0f}h{WIDTH - RIGHT - LEFT}" stroke="#e4e4e4"/>')
    for family, colour in COLOURS.items():
        own = sorted((point for point in points if point.family == family), key=lambda point: point.staleness)
        if len(own) > 1 and family != "generations-proxy":
            line = " ".join(f"{x(point.staleness):.0f},{y(point.requests):.0f}" for point in own)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-opacity="0.5"/>')
        for point in own:
            place = f'cx="{x(point.staleness):.0f}" cy="{y(point.requests):.0f}"'
            parts.append(f'<circle {place} r="5" fill="{colour}"/>')
            beside = f'x="{x(point.staleness) + 9:.0f}" y="{y(point.requests) + 4:.0f}"'
            parts.append(f'<text {beside} fill="{colour}">{point.label}</text>')
    return "\n".join([*parts, "</svg>\n"])
