"""Which drafted words are committed: one rule a file, their contract in `agent.mt.policy.contract`.

``alignatt`` is ours; the others are the published rule and the yardsticks. Their names: `agent.plugins.POLICIES`.
"""

from __future__ import annotations

from agent.mt.policy.contract import (
    Acceptance,
    DraftView,
    Evidence,
    Policy,
    Rows,
    mean_rows,
    n_shared_units,
    refuses,
    whole_units,
)

__all__ = [
    "Acceptance",
    "DraftView",
    "Evidence",
    "Policy",
    "Rows",
    "mean_rows",
    "n_shared_units",
    "refuses",
    "whole_units",
]
