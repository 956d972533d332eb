"""Stability units: the pieces of target text that are committed whole.

A white-space word where the language writes spaces; in Chinese one CJK character, or a whole run of Latin letters or
digits. Punctuation belongs to the unit before it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.languages import writes_spaces

_CJK = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f"
)
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, and the CJK ones."""
_OPENING = "（「『《〈“‘【〔(\\[{«„‚"
# A CJK character, or a run of anything else that is neither space, CJK nor opening mark; closing punctuation follows.
_CJK_UNIT = re.compile(
    rf"[{_OPENING}]*(?:[{_CJK}]|[^\s{_CJK}{_OPENING}\W]+(?:[.,:'’/+\-_%&@][^\W{_CJK}]+)*)?[^\s\w{_OPENING}]*"
)
_WORD_UNIT = re.compile(r"\S+")
_LIKELY_START = re.compile(rf"\s+[^\s\ufffd]|[{_CJK}]")


@dataclass(frozen=True)
class Unit:
    """Characters [start, end) of a text."""

    start: int
    end: int


def split_units(text: str, language: str) -> list[Unit]:
    """The stability units of ``text`` in ``language``, left to right; white space is between them."""
    pattern = _WORD_UNIT if writes_spaces(language) else _CJK_UNIT
    return [Unit(*match.span()) for match in pattern.finditer(text) if match.group()]


def is_open_ended(text: str, language: str) -> bool:
    """Whether more text could still extend the last unit of ``text``."""
    if not text or text[-1].isspace():
        return False
    if writes_spaces(language):
        return True
    return re.match(rf"[{_CJK}。！？；]", text[-1]) is None


@dataclass(frozen=True)
class TokenUnit:
    """Draft tokens [first, end) of one unit, its text, and whether nothing can be added to it any more."""

    first: int
    end: int
    text: str
    complete: bool


def token_units(ends: Sequence[int], text: str, language: str, closed: bool = False) -> list[TokenUnit]:
    """Units of a draft in tokens.

    ``text``: the draft's text, ``ends[i]``: its length after token ``i`` (non-decreasing), ``closed``: whether the
    model ended the turn after the draft. A unit starts with the token that writes its first character, also when that
    token finishes the unit before; of several tokens that spell one character, with the first of them.
    """
    units: list[TokenUnit] = []
    spans = split_units(text, language)
    for index, span in enumerate(spans):
        # The token that writes the unit's first character, and the first one after which it is written completely.
        first = bisect_right(ends, span.start)
        while first and ends[first - 1] == (ends[first - 2] if first > 1 else 0):
            first -= 1
        end = bisect_left(ends, span.end) + 1
        last = index == len(spans) - 1
        complete = not last or closed or not is_open_ended(text, language)
        units.append(TokenUnit(first, end, text[span.start : span.end], complete))
    return units


def likely_unit_starts(tokenizer: Any) -> list[int]:
    """Tokens that start a unit nearly wherever they stand: after a space, or with a CJK character.

    For an engine that looks for the end of a draft where it knows tokens only as numbers (`agent.mt.drafter.StopRule`).
    """
    (anchor,) = tokenizer("x", add_special_tokens=False)["input_ids"][-1:]
    n_before = len(tokenizer.decode([anchor]))
    texts = tokenizer.batch_decode(
        [[anchor, token] for token in range(len(tokenizer))],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    return [token for token, text in enumerate(texts) if _LIKELY_START.match(text[n_before:])]


def surface_tokens(text: str, language: str) -> list[str]:
    """Tokens for the toolkit's log: words without spaces, or single characters (spaces included) for CJK.

    Anything that would break a scorer's white-space split is folded: no-break and ideographic spaces and line breaks
    become spaces, control and zero-width characters disappear.
    """
    clean = sanitise(text)
    return clean.split() if writes_spaces(language) else list(clean)


_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufffd\x00-\x08\x0e-\x1f\x7f]")


def sanitise(text: str) -> str:
    """Only plain spaces, single, and no invisible characters; everything else as the model wrote it."""
    return re.sub(r"\s+", " ", _INVISIBLE.sub("", text))
