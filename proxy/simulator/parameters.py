"""Request parameters as they are merged into rows: everything that JSON allows and careless code breaks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final


class Verbatim(str):
    """A JSON number that is to be written with just these characters."""

    __slots__ = ()


PROMPTS: Final = (
    "an ox on a hill at dawn, oil on canvas",
    "Ein Ochse über den Dächern von Köln, größer als der Dom",
    "夜の牧場、雪、長時間露光",
    "ثور أبيض في السوق",
    'a sign that says "40 % off \\ today only" / neon',
    "cow 🐄 + 🚀, family 👩‍👩‍👧‍👦, flag 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "tab\there, new\nline, nul-like \u0001, separators \u2028 \u2029, del \u007f",
    "</script><script>alert(1)</script> & &amp; <b>",
    "",
)
PLAIN_PROMPTS: Final = (
    "An ox on a ridge at first light, mist in the valley",
    "Layers of blue hills after rain, soft poster colours",
    "A low sun over the marsh, wide and quiet",
    "Paper lanterns drifting over a lake at dusk",
    "Soap bubbles against a summer sky, close up",
    "Coloured glass spheres, studio light, shallow focus",
    "Long waves rolling in, seen from a cliff",
    "Dunes under a warm evening sky, minimalist",
    "Ribbons of silk in slow motion, pastel",
    "A herd crossing the plain, far away, aerial view",
    "Terraced fields in autumn, gouache",
    "Northern lights over bare hills",
)
"""For a world that is to be looked at."""
NUMBERS: Final = tuple(
    map(
        Verbatim,
        ("0.10", "1e-7", "1E+3", "-0.0", "3.0", "0.1000000000000000055511151231257827", "12345678901234567890"),
    )
)
SEEDS: Final = (0, 42, 2**53 + 1, 2**63 - 1, 2**64 + 13, -(2**53) - 1)


def request_parameters(chance: random.Random, media_type: str, prompts: Sequence[str] = PROMPTS) -> dict[str, object]:
    """What a caller might have sent with the request for a generation."""
    parameters: dict[str, object] = {"prompt": chance.choice(prompts), "seed": chance.choice(SEEDS)}
    if media_type == "video":
        parameters |= {"duration": chance.choice((5, 8, Verbatim("7.50"))), "aspect_ratio": "16:9"}
    extras: tuple[dict[str, object], ...] = (
        {"guidance": chance.choice(NUMBERS)},
        {"multi_prompt": [{"prompt": chance.choice(PROMPTS), "weight": chance.choice(NUMBERS)}, {"prompt": None}]},
        {"input_image": f"https://images.example/in/{chance.randrange(10**6)}.png?v=1&w=2"},
        {"num_images": 1, "enable_safety_checker": False, "loras": []},
        # Names that the envelope has too, nested and not: a reader must not mistake them.
        {"settings": {"status": "succeeded", "total_entries": 7, "generations": [{"status": "queued"}]}},
        {"total_entries": "not the total", "generations": [], "count": None},
        {"": "a member without a name", "ключ": {"日本": [True, None, {"deep": [[[[]]]]}]}},
        {"negative_prompt": chance.choice(PROMPTS) * chance.randrange(1, 4)},
    )
    for extra in chance.sample(extras, chance.randrange(0, 5)):
        parameters |= extra
    return parameters
