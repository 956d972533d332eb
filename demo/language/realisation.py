"""Surface forms: units that carry concepts, the text they join to, and the alignment of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LANGUAGES = ("en", "de", "it", "zh")


@dataclass(frozen=True)
class Unit:
    """One written word with its punctuation, and the concepts of the meaning it expresses."""

    text: str
    concepts: frozenset[int]


@dataclass(frozen=True)
class Realisation:
    """A sentence in one language: its units, its text, and each unit's [start, end) characters in that text."""

    lang: str
    units: tuple[Unit, ...]
    text: str
    spans: tuple[tuple[int, int], ...]


def unit(text: str, *concepts: int) -> Unit:
    """A unit from its text and concept numbers."""
    return Unit(text, frozenset(concepts))


def punctuate(units: Sequence[Unit], mark: str) -> list[Unit]:
    """The units with `mark` attached to the last one, unless it already ends in one."""
    last = units[-1]
    if last.text[-1] in ",，":
        return list(units)
    return [*units[:-1], Unit(last.text + mark, last.concepts)]


def finish(lang: str, units: Sequence[Unit]) -> Realisation:
    """Close a sentence: full stop, capital letter, joined text with spans."""
    stop = "。" if lang == "zh" else "."
    closed = list(units)
    last = closed[-1]
    closed[-1] = Unit(last.text.rstrip(",，") + stop, last.concepts)
    first = closed[0]
    closed[0] = Unit(first.text[0].upper() + first.text[1:], first.concepts)
    text, spans = join(lang, closed)
    return Realisation(lang, tuple(closed), text, spans)


def join(lang: str, units: Sequence[Unit]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Text of the units in a row and the [start, end) characters of each."""
    text = ""
    spans: list[tuple[int, int]] = []
    for item in units:
        if text and (lang != "zh" or needs_space(text[-1], item.text[0])):
            text += " "
        spans.append((len(text), len(text) + len(item.text)))
        text += item.text
    return text, tuple(spans)


def needs_space(left: str, right: str) -> bool:
    """Whether Chinese text puts a space between two characters: Latin or digits beside anything but punctuation."""
    return not ({left, right} & set("，。")) and (left.isascii() or right.isascii())


def alignment(source: Realisation, target: Realisation) -> frozenset[tuple[int, int]]:
    """Pairs (source unit, target unit) that express a common concept."""
    return frozenset(
        (i, j)
        for i, left in enumerate(source.units)
        for j, right in enumerate(target.units)
        if left.concepts & right.concepts
    )
