"""Which words a recogniser takes for which: the nearest words by pronunciation."""

from __future__ import annotations

import random
from functools import cache

from pocketsphinx import Decoder

from demo.language import realise, sample_sentences, spoken_form

N_NEAREST = 5


@cache
def confusions() -> dict[str, tuple[str, ...]]:
    """For every spoken word of the language the (at most) five words that sound most like it, nearest first."""
    decoder = Decoder(samprate=16000, loglevel="FATAL", lm=None)
    sounds = {word: (decoder.lookup_word(word) or " ".join(word.upper())).split() for word in _vocabulary()}
    near: dict[str, tuple[str, ...]] = {}
    for word, phones in sounds.items():
        scored = sorted(
            (_distance(phones, other) / max(len(phones), len(other)), name)
            for name, other in sounds.items()
            if name != word and abs(len(other) - len(phones)) <= 3
        )
        near[word] = tuple(name for score, name in scored[:N_NEAREST] if score <= 0.67)
    return near


def _vocabulary() -> list[str]:
    sentences = sample_sentences(random.Random(11), 8000)
    return sorted({word for meaning in sentences for word in spoken_form(realise(meaning, "en"))})


def _distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
