"""``local-agreement`` (Liu et al. 2020): what successive drafts have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agent.keys import key
from agent.mt.policy.contract import Acceptance, DraftView, Policy, n_shared_units, whole_units
from agent.words import Frontier


@dataclass(frozen=True)
class LocalAgreement(Policy):
    """Units that this draft shares with each of the drafts before it, ends included."""

    agree: int = key(2, low=2)
    """Successive drafts that must share a prefix."""

    reasons: ClassVar = {"no-agreement": "held: earlier drafts said something else"}

    @property
    def n_earlier(self) -> int:
        """The drafts before this one."""
        return self.agree - 1

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """The shared prefix."""
        return whole_units(view, n_shared_units(view, self.n_earlier), "no-agreement")
