"""``cut-last``: everything but the end of each draft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agent.keys import key
from agent.mt.policy.contract import Acceptance, DraftView, Policy, whole_units
from agent.words import Frontier


@dataclass(frozen=True)
class CutLast(Policy):
    """Everything but the last ``cut_words`` units of the draft."""

    cut_words: int = key(2, low=0)
    """Words withheld from every draft."""

    reasons: ClassVar = {"cut": "held: one of the last words of its draft"}

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """The draft without its end."""
        return whole_units(view, max(0, len(view.units) - self.cut_words), "cut")
