"""A policy: hold the last words of every draft, and stop at the first word that the model itself finds unlikely."""

import math
from dataclasses import dataclass

from agent.keys import key
from agent.mt.policy import Acceptance, DraftView, Policy, whole_units
from agent.words import Frontier


@dataclass(frozen=True)
class CautiousTail(Policy):
    hold_words: int = key(3, low=0)
    min_probability: float = key(0.5, low=0.0, high=1.0)

    reasons = {"tail": "held: one of the last words of its draft", "unlikely": "held: the model is not sure of it"}  # noqa: RUF012

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        n_judged = max(0, len(view.units) - self.hold_words)
        for index, unit in enumerate(view.units[:n_judged]):
            if math.exp(view.log_probs[unit.first : unit.end].min()) < self.min_probability:
                return whole_units(view, index, "unlikely")
        return whole_units(view, n_judged, "tail")
