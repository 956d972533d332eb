"""One stream: hypotheses in, committed target text out. No audio, no models, no toolkit in here.

The session keeps the live segment's accepted target tokens, the sentences before it as context, and what has been
shown. It never takes back what it has shown: when the accepted tokens no longer spell the shown text, it goes on from
the shown text.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from agent.config import SessionConfig
from agent.languages import writes_spaces
from agent.mt.translator import Decision, Tail, Translator
from agent.mt.units import sanitise, split_units
from agent.words import Frontier, Hypothesis, SourceWord

LOGGER = logging.getLogger("alignatt")


@dataclass(frozen=True)
class StepRecord:
    """One call of the translation model, or one hypothesis that needed none; becomes a line of the trace.

    ``accepted``: text appended by this step. ``held``: drafted text that was refused. ``stop_reason``: what stopped it,
    ``why`` the sentence for that. ``mt_s``: seconds spent.
    """

    now_s: float
    source: tuple[SourceWord, ...]
    frontier: Frontier
    accepted: str
    held: str
    stop_reason: str
    why: str
    decision: Decision | None = None
    mt_s: float = 0.0


@dataclass
class _Sentence:
    """The live segment's target side."""

    ids: tuple[int, ...] = ()
    shown: str = ""
    n_units: int = 0
    tails: tuple[Tail, ...] = ()
    last_input: tuple[tuple[str, ...], int] | None = None


@dataclass(frozen=True)
class _Context:
    """A finished sentence: its source words and its translation as shown."""

    words: tuple[str, ...]
    translation: str


class Session:
    """State of one stream.

    ``stream`` is the key under which the drafter may keep a KV cache. Feed hypotheses to `step`; each call returns the
    records of what was done, whose ``accepted`` texts, concatenated, are the translation.
    """

    def __init__(self, translator: Translator, config: SessionConfig, stream: str) -> None:
        self._translator = translator
        self._config = config
        self._stream = stream
        self._cjk = not writes_spaces(translator.target_lang)
        self._context: deque[_Context] = deque(maxlen=config.context_sentences)
        self._sentence = _Sentence()
        self._last_char = ""
        self._ahead: Tail | None = None

    def ahead(self, expected: Hypothesis) -> Tail | None:
        """The first draft of the `step` that an ``expected`` hypothesis without times (`agent.asr.contract`) announces.

        Changes nothing. None where no draft is expected.
        """
        segment = next((segment for segment in expected.committed if segment), ())
        words, n_context = self._visible(segment or expected.live)
        frontier = Frontier.at(
            segment or expected.live,
            expected.now_s,
            0.0,
            n_context,
            finished=bool(segment),
            min_stability=self._config.min_stability,
        )
        sentence = self._sentence
        is_known = sentence.last_input is not None and sentence.last_input[0] == tuple(words)
        if not segment and (not expected.live or is_known or self._waits(expected.now_s)):
            return None
        prefix_ids = (*self._context_ids(), *sentence.ids)
        return self._translator.ahead(
            words, prefix_ids, frontier, self._stream, sentence.n_units, n_context, sentence.tails
        )

    def step(self, hypothesis: Hypothesis, ahead: Tail | None = None) -> list[StepRecord]:
        """Translate what the hypothesis finished, then draft its live tail. ``ahead``: what `ahead` drafted of it."""
        self._ahead = ahead
        records = [self._finish(segment, hypothesis.now_s) for segment in hypothesis.committed if segment]
        if hypothesis.live:
            records.append(self._draft(hypothesis.live, hypothesis.now_s))
        return records

    def close(self) -> None:
        """Let the engine forget the stream."""
        self._translator.forget(self._stream)

    def _draft(self, live: tuple[SourceWord, ...], now_s: float) -> StepRecord:
        words, n_context = self._visible(live)
        frontier = Frontier.at(
            live, now_s, self._config.hold_back_s, n_context, min_stability=self._config.min_stability
        )
        fingerprint = (tuple(words), frontier.n_accessible)
        waiting = self._waits(now_s)
        if waiting or fingerprint == self._sentence.last_input:
            reason = "source-unfinished" if waiting else "nothing-new"
            return StepRecord(now_s, live, frontier, "", "", reason, self._translator.policy.why(reason))
        self._sentence.last_input = fingerprint
        return self._translate(words, live, frontier, n_context, now_s)

    def _waits(self, now_s: float) -> bool:
        """Whether an unfinished sentence is not drafted for, or not yet."""
        return now_s < self._config.first_draft_s or not self._translator.policy.drafts_unfinished

    def _finish(self, segment: tuple[SourceWord, ...], now_s: float) -> StepRecord:
        """Final pass on a finished segment; the accepted prefix is carried over, then the live state starts anew."""
        words, n_context = self._visible(segment)
        frontier = Frontier.at(segment, now_s, 0.0, n_context, finished=True)
        record = self._translate(words, segment, frontier, n_context, now_s)
        if self._context.maxlen:
            self._context.append(_Context(tuple(w.text for w in segment), self._sentence.shown.strip()))
        self._sentence = _Sentence()
        return record

    def _translate(
        self, words: list[str], live: tuple[SourceWord, ...], frontier: Frontier, n_context: int, now_s: float
    ) -> StepRecord:
        started = time.perf_counter()
        sentence = self._sentence
        context_ids = self._context_ids()
        decision = self._translator.step(
            words,
            (*context_ids, *sentence.ids),
            frontier,
            self._stream,
            sentence.n_units,
            n_context,
            sentence.tails,
            self._ahead,
        )
        self._ahead = None
        kept = decision.draft.token_ids[: decision.acceptance.n_tokens]
        sentence.tails = decision.tails
        accepted = self._show(context_ids, (*sentence.ids, *kept))
        return StepRecord(
            now_s,
            live,
            frontier,
            accepted,
            decision.held_text,
            decision.acceptance.stop_reason,
            self._translator.policy.why(decision.acceptance.stop_reason),
            decision,
            time.perf_counter() - started,
        )

    def _visible(self, live: Sequence[SourceWord]) -> tuple[list[str], int]:
        context = [word for sentence in self._context for word in sentence.words]
        return [*context, *(word.text for word in live)], len(context)

    def _context_text(self) -> str:
        text = ""
        for sentence in self._context:
            text += self._joint(text, sentence.translation) + sentence.translation
        return text

    def _context_ids(self) -> tuple[int, ...]:
        text = self._context_text()
        return self._translator.encode(text) if text else ()

    def _joint(self, before: str, after: str) -> str:
        """What stands between two sentences: a space, but not beside CJK text."""
        if not before or not after:
            return ""
        latin = before[-1].isascii() and before[-1].isalnum() and after[0].isascii()
        return " " if latin or not self._cjk else ""

    def _show(self, context_ids: tuple[int, ...], ids: tuple[int, ...]) -> str:
        """Adopt ``ids`` as the sentence's accepted tokens; the text to append to what has been shown."""
        sentence = self._sentence
        text = self._translator.text((*context_ids, *ids))[len(self._translator.text(context_ids)) :]
        text = sanitise(text).strip()
        if self._continues(sentence.shown, text):
            addition, sentence.ids = text[len(sentence.shown) :], ids
            sentence.shown = text
        else:
            addition = self._beyond_shown(text)
            sentence.shown += addition
            lead = self._joint(self._context_text(), sentence.shown)
            sentence.ids = self._translator.encode(lead + sentence.shown)
        if not addition:
            return ""
        sentence.n_units = len(split_units(sentence.shown, self._translator.target_lang))
        if sentence.shown == addition:
            addition = self._joint(self._last_char, addition) + addition
        self._last_char = addition[-1]
        return addition

    def _continues(self, shown: str, text: str) -> bool:
        """Whether ``text`` only adds to what was shown, without changing its last unit."""
        if not text.startswith(shown):
            return False
        rest = text[len(shown) :]
        if not shown or not rest:
            return True
        if self._cjk:
            return not (shown[-1].isascii() and shown[-1].isalnum() and rest[0].isascii() and rest[0].isalnum())
        return rest[0] == " "

    def _beyond_shown(self, text: str) -> str:
        """The accepted tokens spell something else than was shown: only the units after as many as were shown."""
        sentence = self._sentence
        LOGGER.info("surface mismatch: shown %r, accepted %r; going on from what was shown", sentence.shown, text)
        units = split_units(text, self._translator.target_lang)
        if len(units) <= sentence.n_units:
            return ""
        rest = text[units[sentence.n_units].start :]
        return self._joint(sentence.shown, rest) + rest
