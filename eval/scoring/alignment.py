"""OmniSTEval's word alignment in bounded memory: the same path through the same table, which is never held whole.

OmniSTEval fills a table of (reference + 1) × (output + 1) Python objects, 36 GB for a Chinese talk of two hours. Here a
row is one numpy operation; every ``block``-th row is kept, and the way back is found block by block. All sums and ties
are OmniSTEval's, so the result is identical.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from omnisteval.alignment import ALL_PUNCT, Word
from tqdm import tqdm

Row = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

MATCH, DELETE, INSERT = 0, 1, 2
LONG_TABLE = 200_000_000
"""Cells from which on a progress bar is shown; filling them takes some seconds."""


def align_sequences(
    reference: Sequence[Word], output: Sequence[Word], char_level: bool
) -> tuple[list[Word | None], list[Word | None]]:
    """Both sequences with None for gaps, maximising similarity; in place of ``omnisteval.alignment.align_sequences``.

    Memory is about 18 bytes × √len(reference) × len(output).
    """
    similarity = Similarity([word.text for word in reference], [word.text for word in output], char_level)
    aligned_reference: list[Word | None] = []
    aligned_output: list[Word | None] = []
    i, j = len(reference), len(output)
    for step in path(similarity, i, j):
        aligned_reference.append(None if step == INSERT else reference[i - 1])
        aligned_output.append(None if step == DELETE else output[j - 1])
        i -= step != INSERT
        j -= step != DELETE
    return aligned_reference[::-1], aligned_output[::-1]


def path(similarity: Similarity, n: int, m: int) -> Iterator[int]:
    """Steps from the table's last cell back to its first: MATCH, DELETE (of a reference word) or INSERT."""
    block = max(1, math.isqrt(n))
    row = np.zeros(m + 1)
    kept = {0: row}
    for i in tqdm(range(1, n + 1), "resegmenting", disable=n * m < LONG_TABLE, leave=False, unit="word"):
        row, _ = next_row(row, similarity.row(i - 1))
        if i % block == 0:
            kept[i] = row
    i, j = n, m
    while i or j:
        if i == 0 or j == 0:  # OmniSTEval's first row and column
            yield INSERT if i == 0 else DELETE
            i, j = (i, j - 1) if i == 0 else (i - 1, j)
            continue
        first = (i - 1) // block * block
        row, steps = kept[first], []
        for above in range(first, i):
            below, match = next_row(row, similarity.row(above))
            steps.append(steps_back(row, below, match))
            row = below
        while i > first and j:
            step_here = int(steps[i - 1 - first][j])
            yield step_here
            i -= step_here != INSERT
            j -= step_here != DELETE


def next_row(above: Row, similarities: Row) -> tuple[Row, Row]:
    """The table's next row, and what a match would give in each of its cells but the first.

    ``above``: float64 ``[m + 1]``; ``similarities``: float64 ``[m]`` of the row's reference word with each output word.
    """
    match = above[:-1] + similarities
    row = np.zeros(len(above))
    np.maximum(match, above[1:], out=row[1:])
    return np.maximum.accumulate(row, out=row), match


def steps_back(above: Row, row: Row, match: Row) -> npt.NDArray[np.int8]:
    """From which neighbour each cell of ``row`` came: int8 ``[m + 1]``; ties go to MATCH, then DELETE."""
    left, top = row[:-1], above[1:]
    steps = np.full(len(row), DELETE, dtype=np.int8)
    steps[1:][left > top] = INSERT
    steps[1:][(match >= top) & (match >= left)] = MATCH
    return steps


class Similarity:
    """OmniSTEval's similarity of each reference word with all output words: equality of characters, or Jaccard.

    Computed once per distinct reference word against the distinct output words.
    """

    def __init__(self, reference: Sequence[str], output: Sequence[str], char_level: bool) -> None:
        self._reference = reference
        self._char_level = char_level
        vocabulary = {text: code for code, text in enumerate(dict.fromkeys(output))}
        self._codes: Codes = np.array([vocabulary[text] for text in output], dtype=np.int64)
        self._texts = list(vocabulary)
        self._is_punctuation = np.array([text in ALL_PUNCT for text in vocabulary], dtype=bool)
        self._sets = [set(text) for text in vocabulary]
        self._sizes = np.array([len(letters) for letters in self._sets], dtype=np.int64)
        self._with_letter: dict[str, Codes] = {}
        for code, letters in enumerate(self._sets):
            for letter in letters:
                self._with_letter.setdefault(letter, np.zeros(len(vocabulary), dtype=np.int64))[code] = 1
        self._known: dict[str, Row] = {}

    def row(self, index: int) -> Row:
        """float64 ``[output words]`` for the reference word at ``index``."""
        text = self._reference[index]
        if text not in self._known:
            self._known[text] = self._distinct(text)
        return self._known[text][self._codes]

    def _distinct(self, text: str) -> Row:
        if self._char_level:
            values = np.array([float(text == other) for other in self._texts])
        else:
            letters = set(text)
            shared = np.zeros(len(self._texts), dtype=np.int64)
            for letter in letters & self._with_letter.keys():
                shared += self._with_letter[letter]
            union = len(letters) + self._sizes - shared
            values = np.divide(shared, union, out=np.zeros(len(self._texts)), where=union > 0)
        values[self._is_punctuation != (text in ALL_PUNCT)] = -np.inf
        return values
