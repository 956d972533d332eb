"""``paper``: the published AlignAtt acceptance (IWSLT 2026, 2026.iwslt-1.32, rules 5-7), frontier counts in tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from agent.keys import key
from agent.mt.policy.contract import Acceptance, DraftView, Evidence, Policy, Rows, refuses, whole_units
from agent.words import Frontier


@dataclass(frozen=True)
class Paper(Policy):
    """Every token's filtered peak lies before the frontier, is strong enough, and has enough accessible mass."""

    margin_tokens: int = 1
    """Tokens beyond the accessible source that the peak may reach."""
    median_width: int = key(7, low=1, odd=True)
    """Median filter over the source axis; 1 switches it off."""
    z_score: bool = True
    """Standardise each head's rows by the earlier draft tokens."""
    min_peak: float = 0.0
    """Smallest admissible weight at the peak; 0 switches it off."""
    min_accessible_mass: float = 0.0
    """Smallest admissible attention mass on accessible source; 0 switches it off."""

    needs_rows = True
    row_convention = "own"
    reasons: ClassVar = {
        "frontier": "held: attention is beyond the words that count as heard",
        "weak-peak": "held: attention peaks too weakly",
        "little-accessible-mass": "held: too little attention on the words that count as heard",
    }

    def is_settled(self, view: DraftView, frontier: Frontier) -> bool:
        """Whether a token is refused already."""
        return refuses(self._judge_tokens(view, frontier)[0], view)

    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """Rules 5-7, and of each unit the row of its last token that was judged."""
        acceptance, filtered, mean, n_tokens = self._judge_tokens(view, frontier)
        if not mean.shape[1]:
            return acceptance
        units = view.units[: sum(unit.end <= n_tokens for unit in view.units) + 1]
        judged = [(unit.text, min(unit.end - 1, n_tokens)) for unit in units]
        return replace(
            acceptance,
            evidence=tuple(
                Evidence.of(text, mean[token], int(filtered[token].argmax()), view.word_of_token)
                for text, token in judged
            ),
        )

    def _judge_tokens(self, view: DraftView, frontier: Frontier) -> tuple[Acceptance, Rows, Rows, int]:
        """Acceptance; filtered and raw mean rows, ``[tokens, source tokens]``; tokens before the first that fails."""
        rows = view.rows
        filtered = median_filter(welford_z(rows) if self.z_score else rows, self.median_width).mean(axis=0)
        mean = rows.mean(axis=0)
        n_accessible = int((view.word_of_token < frontier.n_accessible).sum())
        reason = "end-of-draft"
        n_tokens = len(view.token_ids)
        for token in range(n_tokens):
            peak = int(filtered[token].argmax()) if filtered.shape[1] else n_accessible + self.margin_tokens
            if peak >= n_accessible + self.margin_tokens:
                reason = "frontier"
            elif mean[token, peak] < self.min_peak:
                reason = "weak-peak"
            elif mean[token, :n_accessible].sum() < self.min_accessible_mass:
                reason = "little-accessible-mass"
            if reason != "end-of-draft":
                n_tokens = token
                break
        passed = sum(unit.end <= n_tokens for unit in view.units)
        return whole_units(view, passed, reason), filtered, mean, n_tokens


def welford_z(rows: Rows) -> Rows:
    """Each head's rows standardised, column by column, by the rows of earlier draft tokens; the first two stay raw.

    ``rows`` and result: float32 ``[heads, tokens, source tokens]``. Source: the paper's prefix-Welford normalisation.
    """
    result = rows.copy()
    for token in range(2, rows.shape[1]):
        earlier = rows[:, :token]
        result[:, token] = (rows[:, token] - earlier.mean(axis=1)) / (earlier.std(axis=1) + 1e-6)
    return result


def median_filter(rows: Rows, width: int) -> Rows:
    """Running median of odd ``width`` over the last axis, edges repeated; width 1 returns ``rows``."""
    if width == 1 or rows.shape[-1] == 0:
        return rows
    half = width // 2
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(half, half)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    median: Rows = np.median(windows, axis=-1).astype(np.float32)
    return median
