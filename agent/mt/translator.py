"""Draft and decide: one direction of one model, shared by all sessions that translate into its language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.mt.drafter import Draft, Drafter, DraftRequest
from agent.mt.policy import Acceptance, DraftView, Policy
from agent.mt.prompt import Prompt, PromptLayout
from agent.mt.units import TokenUnit, token_units
from agent.words import Frontier
from heads.headset import Selection

FINAL_TOKENS_FLOOR, FINAL_TOKENS_PER_SOURCE, FINAL_TOKENS_EXTRA = 32, 3, 24
"""Length bound of a final pass, as published: max(32, 3 x source tokens + 24)."""


@dataclass(frozen=True)
class Decision:
    """What came of one step: the draft, its units, what was accepted, and the texts of both parts."""

    draft: Draft
    units: tuple[TokenUnit, ...]
    acceptance: Acceptance
    held_text: str


@dataclass(frozen=True)
class Translator:
    """Immutable; every call carries its own state.

    ``selection``: the heads to capture (None for policies that read no rows).
    """

    drafter: Drafter
    tokenizer: Any
    layout: PromptLayout
    policy: Policy
    selection: Selection | None
    target_lang: str
    max_draft_tokens: int
    max_final_tokens: int

    def text(self, ids: Sequence[int]) -> str:
        """Surface of target tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def encode(self, text: str) -> tuple[int, ...]:
        """Target tokens of a text."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def step(
        self,
        words: Sequence[str],
        prefix_ids: tuple[int, ...],
        frontier: Frontier,
        stream: str,
        n_accepted: int = 0,
        n_context: int = 0,
        earlier: tuple[tuple[int, ...], ...] = (),
    ) -> Decision:
        """Draft on from ``prefix_ids`` with the visible ``words`` as source and apply the policy."""
        prompt = self.layout.build(words)
        reads_rows = self.selection is not None and not frontier.finished
        request = DraftRequest(
            prompt.ids,
            prompt.source_span,
            prefix_ids,
            self._budget(prompt) if frontier.finished else self.max_draft_tokens,
            self.selection.heads if self.selection is not None and reads_rows else (),
            self.selection.convention if self.selection is not None else "predicting",
            stream,
        )
        draft = self.drafter.draft(request)
        text, ends, units = self._units(prefix_ids, draft.token_ids, draft.finish == "end_of_turn")
        earlier_ends = tuple(frozenset(u.end for u in self._units(prefix_ids, tail, True)[2]) for tail in earlier)
        weights = self.selection.weights if self.selection is not None else np.zeros(0, dtype=np.float32)
        view = DraftView(
            draft.token_ids,
            draft.rows,
            weights,
            prompt.word_of_token,
            units,
            draft.finish == "end_of_turn",
            n_accepted,
            n_context,
            earlier,
            earlier_ends,
        )
        acceptance = self.policy.accept(view, frontier)
        accepted_chars = ends[acceptance.n_tokens - 1] if acceptance.n_tokens else 0
        return Decision(draft, units, acceptance, text[accepted_chars:].strip())

    def _units(
        self, prefix_ids: tuple[int, ...], ids: tuple[int, ...], closed: bool
    ) -> tuple[str, list[int], tuple[TokenUnit, ...]]:
        """Text of ``ids`` after the prefix, its length after each of them, and its units."""
        n_before = len(self.text(prefix_ids))
        text = self.text((*prefix_ids, *ids))[n_before:]
        ends: list[int] = []
        for count in range(1, len(ids) + 1):
            partial = self.text((*prefix_ids, *ids[:count]))[n_before:]
            # A character that takes several tokens shows as U+FFFD until its last one: it is not written before.
            while not text.startswith(partial):
                partial = partial[:-1]
            ends.append(max(len(partial), ends[-1] if ends else 0))
        return text, ends, tuple(token_units(ends, text, self.target_lang, closed))

    def _budget(self, prompt: Prompt) -> int:
        n_source = prompt.source_span[1] - prompt.source_span[0]
        return min(
            self.max_final_tokens, max(FINAL_TOKENS_FLOOR, FINAL_TOKENS_PER_SOURCE * n_source + FINAL_TOKENS_EXTRA)
        )
