"""Alignment in bounded memory against OmniSTEval's own table, ties and all."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import pytest
from omnisteval.alignment import Word
from omnisteval.alignment import align_sequences as whole_table

from eval.scoring.alignment import align_sequences

CHARACTERS = list("我你他,。，x")
WORDS = ["ab", "ba", "abc", ".", ",", "x", "cab", "", "d", "-", "(", "xyz", "ß"]


def identities(aligned: Sequence[Sequence[Word | None]]) -> list[list[int | None]]:
    return [[None if word is None else id(word) for word in side] for side in aligned]


@pytest.mark.parametrize("char_level", [True, False])
def test_identical_to_the_whole_table(char_level: bool) -> None:
    """Few distinct words make many ties; lengths from 0 on cross the borders of the blocks."""
    rng = random.Random(7)
    vocabulary = CHARACTERS if char_level else WORDS
    for _ in range(300):
        reference = [Word(rng.choice(vocabulary)) for _ in range(rng.randrange(30))]
        output = [Word(rng.choice(vocabulary)) for _ in range(rng.randrange(30))]
        expected = whole_table(reference, output, char_level)
        assert identities(align_sequences(reference, output, char_level)) == identities(expected)


def test_memory_does_not_grow_with_the_table() -> None:
    rng = random.Random(7)
    characters = [chr(0x4E00 + code) for code in range(500)]
    reference = [Word(rng.choice(characters)) for _ in range(1500)]
    output = [Word(word.text) for word in reference if rng.random() < 0.9]
    tracemalloc.start()
    aligned, _ = align_sequences(reference, output, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(aligned) >= len(reference)
    cells = len(reference) * len(output)
    assert peak < 8 * cells / 1.2
    assert peak < 9_000_000
