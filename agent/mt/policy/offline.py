"""``offline``: nothing before the sentence is complete. The yardstick of quality."""

from __future__ import annotations

from dataclasses import dataclass

from agent.mt.policy.contract import Acceptance, DraftView, Policy
from agent.words import Frontier


@dataclass(frozen=True)
class Offline(Policy):
    """Translate finished sentences only."""

    drafts_unfinished = False

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """Nothing."""
        return Acceptance(0, 0, "source-unfinished")
