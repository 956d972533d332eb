"""Draft and decide: one direction of one model, shared by all sessions that translate into its language.

Three things keep the model from writing tokens that nobody needs; none of them changes what is accepted:

- *early stop*: a draft ends where the policy is sure to refuse what comes (`agent.mt.drafter.StopRule`);
- *reuse*: what the last draft said beyond the accepted text is the guess with which the next one begins;
- *release*: when only the frontier moved, the last draft is still what the model would say; it is judged again.

A draft may also be made before the frontier is known (`Translator.ahead`), and is then judged in the same way.

A draft that ended early cannot be compared with later ones as it is (``confirmations``). It is continued when one asks:
under its own source the model only has to confirm or reject the tokens of the new draft, in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agent.mt.drafter import Draft, Drafter, DraftRequest, StopRule
from agent.mt.head_sets import Selection
from agent.mt.policy import Acceptance, DraftView, Policy, Rows
from agent.mt.prompt import Prompt, PromptLayout
from agent.mt.units import TokenUnit, token_units
from agent.stages import stage
from agent.words import Frontier

FINAL_TOKENS_FLOOR, FINAL_TOKENS_PER_SOURCE, FINAL_TOKENS_EXTRA = 32, 3, 24
"""Length bound of a final pass, as published: max(32, 3 x source tokens + 24)."""
UNFINISHED_CHARACTER = "\ufffd"
"""What a tokenizer shows in place of a character of which some tokens are still missing."""


@dataclass(frozen=True)
class Tail:
    """What a draft said after the target text accepted so far. It stays true of its own source.

    ``prefix_ids``: the target it continues. ``draft``: its tokens, rows and probabilities; when ``finish`` is
    ``stopped`` it would have gone on, up to ``max_tokens``. ``guess_ids``: the draft's tokens and what an earlier draft
    said after them. ``stream``: the engine's key for its source.
    """

    prompt: Prompt
    prefix_ids: tuple[int, ...]
    draft: Draft
    max_tokens: int
    guess_ids: tuple[int, ...]
    stream: str

    def after(self, kept: tuple[int, ...]) -> Tail:
        """The rest after ``kept``, with which it must begin."""
        count, draft = len(kept), self.draft
        rest = Draft(draft.token_ids[count:], draft.finish, draft.rows[:, count:], draft.log_probs[count:])
        return replace(
            self,
            prefix_ids=(*self.prefix_ids, *kept),
            draft=rest,
            max_tokens=self.max_tokens - count,
            guess_ids=self.guess_ids[count:],
        )


@dataclass(frozen=True)
class Work:
    """What the engine did: calls, decode steps, tokens computed in first passes, tokens it chose beyond its guesses."""

    n_calls: int = 0
    n_forward: int = 0
    n_prefilled: int = 0
    n_decoded: int = 0

    def plus(self, draft: Draft, end_guessed: bool = False) -> Work:
        """One more call. ``end_guessed``: that the draft would end there was known from the one before."""
        return Work(
            self.n_calls + 1,
            self.n_forward + draft.n_forward,
            self.n_prefilled + draft.n_prefilled,
            self.n_decoded + draft.n_decoded - end_guessed,
        )


@dataclass(frozen=True)
class Decision:
    """What came of one step: the draft, its units, what was accepted, and the texts of both parts.

    ``tails``: what the next step wants to know of this draft and of earlier ones, newest first.
    """

    draft: Draft
    units: tuple[TokenUnit, ...]
    acceptance: Acceptance
    held_text: str
    tails: tuple[Tail, ...] = ()
    work: Work = Work()


@dataclass(frozen=True)
class Source:
    """What is translated: the prompt, the target tokens to continue, the frontier.

    ``n_accepted``: units of the live sentence committed so far; ``n_context``: visible words of earlier sentences.
    """

    prompt: Prompt
    prefix_ids: tuple[int, ...]
    frontier: Frontier
    n_accepted: int
    n_context: int


@dataclass(frozen=True)
class Translator:
    """Immutable; every call carries its own state.

    ``selection``: the heads to capture (None for policies that read no rows). The three switches are those of the
    module's docstring; all are on, except where their worth is measured (`bench.fewer_tokens`).
    """

    drafter: Drafter
    tokenizer: Any
    layout: PromptLayout
    policy: Policy
    selection: Selection | None
    target_lang: str
    max_draft_tokens: int
    max_final_tokens: int
    early_stop: bool = True
    reuse_drafts: bool = True
    release_held: bool = True

    def text(self, ids: Sequence[int]) -> str:
        """Surface of target tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def encode(self, text: str) -> tuple[int, ...]:
        """Target tokens of a text."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def forget(self, stream: str) -> None:
        """Let the engine drop what it keeps for ``stream``."""
        for key in self._keys(stream):
            self.drafter.forget(key)

    def step(
        self,
        words: Sequence[str],
        prefix_ids: tuple[int, ...],
        frontier: Frontier,
        stream: str,
        n_accepted: int = 0,
        n_context: int = 0,
        tails: tuple[Tail, ...] = (),
        ahead: Tail | None = None,
    ) -> Decision:
        """Draft on from ``prefix_ids`` with the visible ``words`` as source and apply the policy.

        ``tails``: those of the decision before, when ``prefix_ids`` are what it accepted. ``ahead``: what `ahead`
        drafted for this step; used when it is of this source.
        """
        source = Source(self.layout.build(words), prefix_ids, frontier, n_accepted, n_context)
        drafted = [ahead] if ahead is not None else []
        tail = self._released(source, tails) if self.release_held and tails else None
        if tail is None and ahead is not None:
            tail = self._released(source, (ahead,))
        if tail is None:
            tail = self._drafted(source, stream, tails)
            drafted.append(tail)
        work = self._work(drafted, tails)
        draft = tail.draft
        tails, work = self._comparable(source, draft, tails, work)
        text, ends, units = self._units(prefix_ids, draft.token_ids, draft.finish == "end_of_turn")
        view = self._view(source, draft, units, [t.draft.token_ids for t in tails])
        acceptance = self.policy.accept(view, frontier)
        kept = draft.token_ids[: acceptance.n_tokens]
        tails = tuple(t.after(kept) for t in (tail, *tails) if t.draft.token_ids[: len(kept)] == kept)
        accepted_chars = ends[acceptance.n_tokens - 1] if acceptance.n_tokens else 0
        held_text = text[accepted_chars:].strip()
        return Decision(draft, units, acceptance, held_text, tails[: max(1, self.policy.n_earlier)], work)

    def ahead(
        self,
        words: Sequence[str],
        prefix_ids: tuple[int, ...],
        frontier: Frontier,
        stream: str,
        n_accepted: int = 0,
        n_context: int = 0,
        tails: tuple[Tail, ...] = (),
    ) -> Tail | None:
        """The draft of a `step` whose frontier is not known yet, at most ``frontier``; None where it needs none."""
        source = Source(self.layout.build(words), prefix_ids, frontier, n_accepted, n_context)
        if self.release_held and tails and self._released(source, tails) is not None:
            return None
        return self._drafted(source, stream, tails)

    def _work(self, drafted: Sequence[Tail], tails: tuple[Tail, ...]) -> Work:
        last, work = tails[0].draft if self.reuse_drafts and tails else None, Work()
        for tail in drafted:
            is_repeated = last is not None and (last.token_ids, last.finish) == (tail.draft.token_ids, "end_of_turn")
            work = work.plus(tail.draft, end_guessed=is_repeated and tail.draft.finish == "end_of_turn")
        return work

    def _released(self, source: Source, tails: tuple[Tail, ...]) -> Tail | None:
        """The last draft, when the model would write the same again or what it would write more cannot matter."""
        tail, draft, bound = tails[0], tails[0].draft, self._bound(source)
        if (tail.prompt.ids, tail.prefix_ids) != (source.prompt.ids, source.prefix_ids):
            return None
        n_missing = bound - len(draft.token_ids)
        if n_missing == 0 if draft.finish == "length" else draft.finish == "end_of_turn" and n_missing > 0:
            return replace(tail, max_tokens=bound)
        is_short = n_missing > 0 or (n_missing == 0 and draft.finish == "stopped")
        if is_short and self._is_settled(source, draft.token_ids, draft.rows):
            return replace(tail, draft=replace(draft, finish="stopped"), max_tokens=bound)
        return None

    def _drafted(self, source: Source, stream: str, tails: tuple[Tail, ...]) -> Tail:
        """A new draft."""
        reads_rows = self.selection is not None and not source.frontier.finished
        guess = tails[0].guess_ids if self.reuse_drafts and tails else ()
        # The engine's cache of a source that may be asked about again is not to be overwritten.
        busy = {t.stream for t in tails[: self.policy.n_earlier] if t.draft.finish == "stopped"}
        request = DraftRequest(
            source.prompt.ids,
            source.prompt.source_span,
            source.prefix_ids,
            self._bound(source),
            self.selection.heads if self.selection is not None and reads_rows else (),
            self.selection.convention if self.selection is not None else "predicting",
            next(key for key in self._keys(stream) if key not in busy),
            guess,
            self._stop_rule(source),
        )
        draft = self.drafter.draft(request)
        as_guessed = draft.finish != "end_of_turn" and guess[: len(draft.token_ids)] == draft.token_ids
        ahead = guess if as_guessed else draft.token_ids
        return Tail(source.prompt, source.prefix_ids, draft, request.max_new_tokens, ahead, request.stream)

    def _stop_rule(self, source: Source) -> StopRule | None:
        if not self.early_stop or not self.policy.ends_early or source.frontier.finished:
            return None
        limit_column, weights = None, ()
        limit = self.policy.word_limit(source.frontier)
        if limit is not None and self.selection is not None:
            limit_column = int(np.searchsorted(source.prompt.word_of_token, limit))
            weights = tuple((self.selection.weights / self.selection.weights.sum()).tolist())
        return StopRule(lambda ids, rows: self._is_settled(source, ids, rows), limit_column, weights)

    @stage("policy")
    def _is_settled(self, source: Source, ids: tuple[int, ...], rows: Rows) -> bool:
        if source.frontier.finished or self._is_inside_character(source.prefix_ids, ids):
            return False
        _, _, units = self._units(source.prefix_ids, ids, False)
        draft = Draft(ids, "stopped", rows, np.zeros(0, dtype=np.float32))
        return self.policy.is_settled(self._view(source, draft, units), source.frontier)

    def _comparable(
        self, source: Source, draft: Draft, tails: tuple[Tail, ...], work: Work
    ) -> tuple[tuple[Tail, ...], Work]:
        """The tails to compare ``draft`` with, known as far as they agree with it."""
        n_earlier, ids = self.policy.n_earlier, draft.token_ids
        if source.frontier.finished or not 0 < n_earlier <= len(tails):
            return tails, work
        _, _, units = self._units(source.prefix_ids, ids, draft.finish == "end_of_turn")
        if_all_agree = self.policy.accept(self._view(source, draft, units, [ids] * n_earlier), source.frontier)
        if not if_all_agree.n_tokens:
            return tails, work
        # One token further than what may be accepted shows whether the other draft goes on inside the last unit.
        n_wanted = len(ids) + (if_all_agree.n_units == len(units))
        known = []
        for tail in tails[:n_earlier]:
            said = tail.draft.token_ids
            n_known = len(said)
            is_short = tail.draft.finish == "stopped" and n_known < min(n_wanted, tail.max_tokens)
            if is_short and ids[:n_known] == said:
                more = self._continued(tail, ids[n_known:], n_wanted - n_known)
                work = work.plus(more)
                # Its rows are not needed any more: nothing is drafted again under this source.
                tail = replace(tail, draft=replace(more, token_ids=(*said, *more.token_ids)))
            known.append(tail)
        return (*known, *tails[n_earlier:]), work

    def _continued(self, tail: Tail, guess: tuple[int, ...], n_wanted: int) -> Draft:
        """How the draft of ``tail`` goes on, for ``n_wanted`` tokens or until it says something else than ``guess``."""
        prefix_ids = (*tail.prefix_ids, *tail.draft.token_ids)

        def is_enough(ids: tuple[int, ...], _: Rows) -> bool:
            is_wanted = len(ids) < n_wanted and guess[: len(ids)] == ids
            return not is_wanted and not self._is_inside_character(prefix_ids, ids)

        return self.drafter.draft(
            DraftRequest(
                tail.prompt.ids,
                tail.prompt.source_span,
                prefix_ids,
                tail.max_tokens - len(tail.draft.token_ids),
                stream=tail.stream,
                guess_ids=guess,
                stop=StopRule(is_enough),
            )
        )

    def _view(
        self,
        source: Source,
        draft: Draft,
        units: tuple[TokenUnit, ...],
        earlier: Sequence[tuple[int, ...]] = (),
    ) -> DraftView:
        return DraftView(
            draft.token_ids,
            draft.log_probs,
            draft.rows,
            self.selection.weights if self.selection is not None else np.zeros(0, dtype=np.float32),
            source.prompt.word_of_token,
            units,
            draft.finish == "end_of_turn",
            source.n_accepted,
            source.n_context,
            tuple(earlier),
            tuple(frozenset(u.end for u in self._units(source.prefix_ids, ids, True)[2]) for ids in earlier),
        )

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

    def _is_inside_character(self, prefix_ids: tuple[int, ...], ids: tuple[int, ...]) -> bool:
        """Whether another token may change what the last ones spell: a character is unfinished, or a run of bytes."""
        return UNFINISHED_CHARACTER in self.text(ids[-1:]) or self.text((*prefix_ids, *ids)).endswith(
            UNFINISHED_CHARACTER
        )

    def _bound(self, source: Source) -> int:
        if not source.frontier.finished:
            return self.max_draft_tokens
        start, end = source.prompt.source_span
        length = FINAL_TOKENS_PER_SOURCE * (end - start) + FINAL_TOKENS_EXTRA
        return min(self.max_final_tokens, max(FINAL_TOKENS_FLOOR, length))

    def _keys(self, stream: str) -> list[str]:
        """The engine's keys for a stream: one for each source that may be asked about at the same time."""
        return [stream, *(f"{stream}/{number}" for number in range(1, self.policy.n_earlier + 1))]
