"""Which words a recogniser takes for which: the nearest words by pronunciation."""

from __future__ import annotations

import random
from functools import cache

from pocketsphinx import Decoder

from demo.language import realise, sample_sentences, spoken_form
from eval.scoring.wer import edit_distance

N_NEAREST = 5


@cache
def confusions() -> dict[str, tuple[str, ...]]:
    """For every spoken word of the language the (at most) five words that sound most like it, nearest first."""
    decoder = Decoder(samprate=16000, loglevel="FATAL", lm=None)
    sounds = {word: (decoder.lookup_word(word) or " ".join(word.upper())).split() for word in _vocabulary()}
    near: dict[str, tuple[str, ...]] = {}
    for word, phones in sounds.items():
        scored = sorted(
            (edit_distance(phones, other) / max(len(phones), len(other)), name)
            for name, other in sounds.items()
            if name != word and abs(len(other) - len(phones)) <= 3
        )
        near[word] = tuple(name for score, name in scored[:N_NEAREST] if score <= 0.67)
    return near


def _vocabulary() -> list[str]:
    sentences = sample_sentences(random.Random(11), 8000)
    return sorted({word for meaning in sentences for word in spoken_form(realise(meaning, "en"))})
