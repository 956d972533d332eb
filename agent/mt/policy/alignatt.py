"""``alignatt``: a word is held while the model's attention for it is on source words that are too fresh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agent.keys import key
from agent.mt.policy.contract import (
    Acceptance,
    DraftView,
    Evidence,
    Policy,
    Rows,
    mean_rows,
    n_shared_units,
    whole_units,
)
from agent.words import Frontier


@dataclass(frozen=True)
class AlignAtt(Policy):
    """Hold a unit while the attention of its first token peaks on one of the last ``margin_words`` accessible words.

    Later tokens of a unit inherit the decision. Closure guard: when the model closed the sentence although the source
    goes on, the last word is held too, since a sentence's end is what a model invents first. Where units are less than
    words (Chinese characters), the last word is every unit at the end that peaks on the same source word.
    """

    margin_words: int = key(2, low=0)
    """A word is held while its attention peaks on one of the last so many accessible words."""
    confirmations: int = key(0, low=0)
    """So many earlier drafts after the same accepted text must have had the word too."""
    closure_guard: bool = True
    """When the draft closes a sentence that the source has not closed, its last word is held."""

    needs_rows = True
    reasons: ClassVar = {
        "frontier": "held: attention is on the last words heard",
        "closure": "held: the model ended a sentence that the speaker has not ended",
        "no-agreement": "held: earlier drafts said something else",
    }

    @property
    def n_earlier(self) -> int:
        """Drafts that have to confirm a word."""
        return self.confirmations

    def word_limit(self, frontier: Frontier) -> int:
        """The first word that is too fresh."""
        return frontier.n_accessible - self.margin_words

    def is_settled(self, view: DraftView, frontier: Frontier) -> bool:
        """Whether a unit is refused already."""
        return _scan(view, mean_rows(view), self.word_limit(frontier))[1] == "frontier"

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """Scan by peaks, then closure guard and confirmations."""
        rows = mean_rows(view)
        passed, reason, peaks = _scan(view, rows, self.word_limit(frontier))
        evidence = tuple(
            Evidence.of(unit.text, rows[unit.first], peak, view.word_of_token)
            for unit, peak in zip(view.units, peaks, strict=False)
        )
        if reason == "end-of-draft" and view.closed and self.closure_guard and passed:
            last_word = evidence[-1].source_word
            while passed and evidence[passed - 1].source_word == last_word:
                passed -= 1
            reason = "closure"
        confirmed = n_shared_units(view, self.confirmations)
        if confirmed < passed:
            passed, reason = confirmed, "no-agreement"
        return whole_units(view, passed, reason, evidence)


def _scan(view: DraftView, rows: Rows, limit: int) -> tuple[int, str, list[int]]:
    """Units before the first whose first token's row in ``rows`` peaks on source word ``limit`` or later.

    The third: source tokens on which the units peak, that one included.
    """
    peaks: list[int] = []
    for index, unit in enumerate(view.units):
        row = rows[unit.first]
        peaks.append(int(row.argmax()) if row.size else -1)
        if not row.size or view.word_of_token[peaks[-1]] >= limit or not np.isfinite(row).all():
            return index, "frontier", peaks
    return len(view.units), "end-of-draft", peaks
