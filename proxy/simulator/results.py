"""What a presigned link leads to, drawn: a picture for each generation, always the same for the same one.

Like a store of objects, it looks at the link's signature and time, and at nothing else.
"""

from __future__ import annotations

import colorsys
import math
import random
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from proxy.simulator.sending import Refusal, Send
from proxy.simulator.wire import RESULTS_PATH, Writer
from proxy.simulator.world import World

WIDTH, HEIGHT = 480, 360
_PATH: Final = re.compile(rf"{RESULTS_PATH}/([^/]+)/([0-9a-f-]{{36}})\.(?:png|mp4)")
_FLOATING: Final = re.compile("bubble|sphere|lantern", re.IGNORECASE)
_FLOWING: Final = re.compile("wave|silk|dunes|lights", re.IGNORECASE)
_HEADERS: Final = [
    (b"content-type", b"image/svg+xml"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    (b"cache-control", b"private, max-age=3600"),
]


class Results:
    """Answers requests for results."""

    def __init__(self, world: World, writer: Writer) -> None:
        self._world = world
        self._writer = writer

    async def send(self, path: str, query: str, now: float, send: Send) -> None:
        """Answer a request as a store of objects does: 403 for a link that is wrong or has expired."""
        try:
            status, body = 200, self.picture(path, query, now)
        except Refusal as refusal:
            status, body = refusal.status, b""
        headers = [*(_HEADERS if body else []), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def picture(self, path: str, query: str, now: float) -> bytes:
        """The picture that a link leads to.

        Raises:
            Refusal: 403, 404.
        """
        found = _PATH.fullmatch(path)
        row = self._world.find(found[2]) if found else None
        given = {name: values[0] for name, values in parse_qs(query).items()}
        if row is None or found is None or found[1] != row.namespace:
            raise Refusal(404)
        if not self._writer.signed(row.id, given, now):
            raise Refusal(403)
        return draw(row.id, str(row.parameters.get("prompt", ""))).encode()


def draw(seed: str, about: str = "") -> str:
    """A landscape under a sky, bands or shapes that float, whichever is asked for; as an SVG."""
    chance = random.Random(seed)
    hue = chance.random()
    sky = _gradient("sky", _colour(hue, 0.55, 0.82), _colour(hue + 0.12, 0.7, 0.62))
    picture = [(_orbs if _FLOATING.search(about) else _waves if _FLOWING.search(about) else _hills)(chance, hue)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="xMidYMid slice">'
        f'<defs>{sky}</defs><rect width="{WIDTH}" height="{HEIGHT}" fill="url(#sky)"/>{"".join(picture)}</svg>'
    )


def _hills(chance: random.Random, hue: float) -> str:
    """A sun, and rows of hills that are darker the nearer they are."""
    x, y, size = chance.uniform(80, 400), chance.uniform(60, 150), chance.uniform(26, 60)
    parts = [
        _circle(x, y, size * 1.9, _colour(hue + 0.5, 0.5, 0.9), 0.25),
        _circle(x, y, size, _colour(hue + 0.5, 0.6, 0.93), 0.95),
    ]
    for number in range(5):
        level, height = 175 + 40 * number, chance.uniform(18, 46)
        shift, period = chance.uniform(0, 6.3), chance.uniform(90, 190)
        points = [
            (left, level - height * (math.sin(left / period + shift) + 0.4 * math.sin(left / 37 + 2 * shift)))
            for left in range(0, WIDTH + 12, 12)
        ]
        parts.append(_area(points, _colour(hue + 0.08 + 0.02 * number, 0.5, 0.56 - 0.09 * number)))
    return "".join(parts)


def _orbs(chance: random.Random, hue: float) -> str:
    """Circles that shine through each other."""
    return "".join(
        _circle(
            chance.uniform(-20, WIDTH + 20),
            chance.uniform(-20, HEIGHT + 20),
            chance.uniform(18, 120),
            _colour(hue + chance.uniform(-0.18, 0.32), 0.72, chance.uniform(0.4, 0.75)),
            chance.uniform(0.35, 0.8),
        )
        for _ in range(15)
    )


def _waves(chance: random.Random, hue: float) -> str:
    """Bands that run across, one over the other."""
    parts = []
    for number in range(8):
        level, shift = 40 * number + chance.uniform(20, 50), chance.uniform(0, 6.3)
        height, period = chance.uniform(12, 40), chance.uniform(60, 130)
        points = [(left, level + height * math.sin(left / period + shift)) for left in range(0, WIDTH + 12, 12)]
        parts.append(_area(points, _colour(hue + 0.05 * number, 0.66, 0.72 - 0.055 * number), 0.85))
    return "".join(parts)


def _area(points: Sequence[tuple[float, float]], colour: str, opacity: float = 1.0) -> str:
    line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
    return f'<polygon points="0,{HEIGHT} {line} {WIDTH},{HEIGHT}" fill="{colour}" fill-opacity="{opacity:.2f}"/>'


def _circle(x: float, y: float, size: float, colour: str, opacity: float) -> str:
    return f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{size:.0f}" fill="{colour}" fill-opacity="{opacity:.2f}"/>'


def _gradient(name: str, top: str, bottom: str) -> str:
    stops = f'<stop stop-color="{top}"/><stop offset="1" stop-color="{bottom}"/>'
    return f'<linearGradient id="{name}" x2="0" y2="1">{stops}</linearGradient>'


def _colour(hue: float, saturation: float, lightness: float) -> str:
    channels = colorsys.hls_to_rgb(hue % 1.0, max(0.0, min(1.0, lightness)), saturation)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
