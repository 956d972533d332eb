"""Source words on the one clock, absolute stream seconds, and the frontier of what may be relied on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceWord:
    """One recognised word.

    ``text`` carries case and punctuation where the recogniser gives them. ``start_s`` and ``end_s`` are seconds since
    the beginning of the stream, never of an utterance. ``stability`` counts the hypotheses the word has survived.
    ``log_prob`` is that of its least likely token, None where the recogniser tells none.
    """

    text: str
    start_s: float
    end_s: float
    stability: int = 1
    log_prob: float | None = None


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser knows after a push.

    ``committed`` holds the segments (normally sentences) that this push finished: each is reported once and never
    changes again. ``live`` is the whole unfinished tail after them; the next push may revise it. ``now_s`` is how much
    audio has been heard.
    """

    committed: tuple[tuple[SourceWord, ...], ...]
    live: tuple[SourceWord, ...]
    now_s: float


@dataclass(frozen=True)
class Frontier:
    """Splits the visible words into accessible ones and those still too fresh to rely on.

    A word is accessible when it ended at least ``hold_back_s`` before ``now_s``, has survived ``min_stability``
    hypotheses, and every word before it is accessible. Counts are words; punctuation never counts. ``finished`` means
    that the source of this segment is complete, so that everything is accessible and nothing has to be held. ``words``:
    those of the live sentence with their times, stability and probability, for policies that look at them.
    """

    n_accessible: int
    n_visible: int
    finished: bool = False
    words: tuple[SourceWord, ...] = field(default=(), compare=False)

    @classmethod
    def at(
        cls,
        words: Sequence[SourceWord],
        now_s: float,
        hold_back_s: float,
        n_context: int = 0,
        finished: bool = False,
        min_stability: int = 1,
    ) -> Frontier:
        """Frontier over ``n_context`` words of earlier sentences followed by ``words``."""
        if finished:
            return cls(n_context + len(words), n_context + len(words), True, tuple(words))
        accessible = 0
        for word in words:
            if word.end_s > now_s - hold_back_s or word.stability < min_stability:
                break
            accessible += 1
        return cls(n_context + accessible, n_context + len(words), words=tuple(words))
