"""From a transcript to the units that the forced aligner times, and from its times back to the transcript's words.

A unit is what Qwen3-ForcedAligner was trained on: the letters, digits and apostrophes between two spaces, or one CJK
character. A word is what the transcript shows: with its punctuation, hyphens and case.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from agent.words import SourceWord

CLASS_MS = 80
"""Milliseconds that one class of the aligner stands for."""

_CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""Code points of ideographs, first and last of each block."""


@dataclass(frozen=True)
class TranscriptWord:
    """A word as the transcript shows it and its aligner unit; no unit for a lone punctuation mark."""

    text: str
    unit: str


def split_words(transcript: str) -> tuple[TranscriptWord, ...]:
    """The words of a transcript, in order, NFC-normalised.

    Words end at spaces; a CJK character is a word with the punctuation that follows it. Read without the empty ones,
    the units are those of the aligner's own splitting.
    """
    words: list[TranscriptWord] = []
    for chunk in unicodedata.normalize("NFC", transcript).split():
        text = unit = ""
        for character in chunk:
            ideograph = _is_ideograph(character)
            starts_word = _is_sounded(character) and unit and (ideograph or _is_ideograph(unit[-1]))
            if starts_word:
                # An opening bracket or quotation mark belongs to the word it opens.
                kept = text.rstrip("([{«“‘「『（《〈")
                words.append(TranscriptWord(kept, unit))
                text, unit = text[len(kept) :], ""
            text += character
            unit += character if _is_sounded(character) else ""
        words.append(TranscriptWord(text, unit))
    return tuple(words)


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _CJK)


def _is_sounded(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] in "LN"


def word_times(
    words: Sequence[TranscriptWord], classes: Sequence[int], start_s: float, duration_s: float
) -> tuple[SourceWord, ...]:
    """``words`` on stream time.

    ``classes``: what the aligner says at the markers, two for each unit. ``start_s``: where the audio begins;
    ``duration_s``: how long it is. Times are repaired to be monotone and clamped to the audio. What has no unit lies at
    the end of the word before it.
    """
    if len(classes) != 2 * sum(bool(word.unit) for word in words):
        raise ValueError(f"{len(classes)} times for {sum(bool(word.unit) for word in words)} units")
    repaired_ms = repair([CLASS_MS * number for number in classes])
    times = iter([start_s + min(time_ms / 1000, duration_s) for time_ms in repaired_ms])
    timed: list[SourceWord] = []
    last_s = start_s
    for word in words:
        first_s, last_s = (next(times), next(times)) if word.unit else (last_s, last_s)
        timed.append(SourceWord(word.text, round(first_s, 3), round(last_s, 3)))
    return tuple(timed)


def repair(times_ms: Sequence[int]) -> list[int]:
    """``times_ms`` made non-decreasing, by the rule of the aligner's authors.

    The longest non-decreasing subsequence stays. One or two values out of order take the nearer good neighbour's, more
    are spread evenly between the good ones around them.
    """
    good = _longest_sorted(times_ms)
    repaired = list(times_ms)
    for left, right in zip([-1, *good], [*good, len(times_ms)], strict=True):
        n_bad = right - left - 1
        if not n_bad:
            continue
        before = times_ms[left] if left >= 0 else times_ms[right]
        after = times_ms[right] if right < len(times_ms) else before
        for step in range(1, n_bad + 1):
            repaired[left + step] = _between(before, after, step, n_bad)
    return repaired


def _between(before: int, after: int, step: int, n_bad: int) -> int:
    if n_bad <= 2:
        return before if step <= n_bad + 1 - step else after
    return int(before + (after - before) / (n_bad + 1) * step)


def _longest_sorted(values: Sequence[int]) -> list[int]:
    """Positions of the longest non-decreasing subsequence; of several, the one that its authors' search finds."""
    # The first value that allows a length is the parent, and the first position of the greatest length is the end.
    lengths: list[int] = []
    ends: list[int] = []
    for value in values:
        position = bisect.bisect_right(ends, value)
        ends[position : position + 1] = [value]
        lengths.append(position + 1)
    if not lengths:
        return []
    current = lengths.index(max(lengths))
    path = [current]
    for length in range(lengths[current] - 1, 0, -1):
        current = next(
            index for index in range(current) if lengths[index] == length and values[index] <= values[path[-1]]
        )
        path.append(current)
    return path[::-1]
