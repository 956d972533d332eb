"""``wait-k`` (Ma et al. 2019): stay a fixed number of source words behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agent.keys import key
from agent.mt.policy.contract import Acceptance, DraftView, Policy, refuses, whole_units
from agent.words import Frontier


@dataclass(frozen=True)
class WaitK(Policy):
    """``k`` source words behind, at ``units_per_word`` target units for each source word."""

    k: int = key(3, low=0)
    """Source words the target stays behind."""
    units_per_word: float = key(1.0, low=0.0)
    """Target units (words; in Chinese characters) allowed for each source word heard."""

    reasons: ClassVar = {"wait": "held: not enough words heard yet"}

    def is_settled(self, view: DraftView, frontier: Frontier) -> bool:
        """Whether a unit is refused already."""
        return refuses(self.judge(view, frontier), view)

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """As many units as the words heard allow."""
        heard = frontier.n_accessible - view.n_context
        allowed = int((heard - self.k) * self.units_per_word) - view.n_accepted
        return whole_units(view, max(0, min(allowed, len(view.units))), "wait")
