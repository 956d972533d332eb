"""When recognised words become final: the stabilisation rule that every recogniser shares. Pure, no audio in here.

Successive hypotheses of the live tail are compared word by word. What ``hypotheses_to_agree`` of them share is agreed;
what is agreed is committed up to its last sentence end. A tail that outgrows ``max_live_s`` is cut at its best pause.
"""

from __future__ import annotations

import copy
import math
import re
import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from agent.words import Hypothesis, SourceWord

MIN_PAUSE_S = 0.12
"""A gap between two words that counts as a pause when the live tail has to be cut."""
MAX_REPEATS = 4
"""More repetitions than this of the same one to four words in a row are a recogniser's loop."""

_CLOSERS = "\"'”’»)]}›"
_TERMINATORS = ".!?。！？…"
_NEVER_LAST = re.compile(
    r"dr|mr|mrs|ms|prof|st|mt|ft|figs?|eqs?|vs|cf|e\.g|i\.e|ca|approx|gen|col|capt|lt|sgt|rev|hon|dept|est|eds|vol|pp|viz"
)
"""Abbreviations that something always follows."""
_MAYBE_LAST = re.compile(r"i|etc|al|inc|ltd|co|corp|jr|sr|ph\.d|no|bros|(?:[a-z]\.)+[a-z]")
"""Abbreviations that end a sentence only when a capitalised word follows."""


def normalize(text: str) -> str:
    """What two hypotheses are compared by: case-folded letters and digits. Empty for a lone punctuation mark."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def sentence_ends(texts: Sequence[str]) -> list[bool]:
    """Which words of punctuated text end a sentence.

    Abbreviations, initials, ellipses and decimals do not. Where only the next word can tell (``etc.``, ``a.m.``, a
    number that may still grow a fraction), the last word of the text does not end a sentence yet.
    """
    cased = any(character.isupper() for text in texts for character in text)
    followers = [*texts[1:], None] if texts else []
    return [_ends_sentence(text, follower, cased) for text, follower in zip(texts, followers, strict=True)]


def _ends_sentence(text: str, follower: str | None, cased: bool) -> bool:
    bare = text.rstrip(_CLOSERS)
    if not bare or bare[-1] not in _TERMINATORS or bare.endswith(("...", "…", "..")):
        return False
    head = follower.lstrip("\"'“‘«([{¿¡") if follower is not None else ""
    if cased and head[:1].islower():
        return False
    if bare[-1] != ".":
        return True
    stem = bare[:-1].lstrip("\"'“‘«([{").casefold()
    if _NEVER_LAST.fullmatch(stem) or (len(stem) == 1 and stem.isalpha() and stem != "i"):
        return False
    if _MAYBE_LAST.fullmatch(stem):
        return head[:1].isupper()
    if stem[-1:].isdigit():
        return follower is not None and not head[:1].isdigit()
    return True


def join_punctuation(words: Sequence[SourceWord]) -> tuple[SourceWord, ...]:
    """Glue lone punctuation marks (``—``, ``,``) to a neighbour, so that words are what gets counted."""
    joined: list[SourceWord] = []
    opening = ""
    for word in words:
        text = word.text.strip()
        if normalize(text):
            joined.append(replace(word, text=opening + text))
            opening = ""
        elif joined:
            joined[-1] = replace(joined[-1], text=joined[-1].text + text)
        else:
            opening += text
    return tuple(joined)


def collapse_loops(words: Sequence[SourceWord], max_repeats: int = MAX_REPEATS) -> tuple[SourceWord, ...]:
    """Keep the first round of one to four words that come more than ``max_repeats`` times in a row."""
    return tuple(words[index] for index in loop_free([word.text for word in words], max_repeats))


def loop_free(texts: Sequence[str], max_repeats: int = MAX_REPEATS) -> list[int]:
    """Positions of the words that `collapse_loops` keeps."""
    kept = list(range(len(texts)))
    for period in range(1, 5):
        keys = [normalize(texts[index]) for index in kept]
        result: list[int] = []
        position = 0
        while position < len(kept):
            end = position + period
            while end < len(kept) and keys[end] == keys[end - period]:
                end += 1
            rounds = (end - position) // period
            result += kept[position : position + (period if rounds > max_repeats else 1)]
            position += rounds * period if rounds > max_repeats else 1
        kept = result
    return kept


def clamp_times(words: Sequence[SourceWord], low_s: float, now_s: float) -> tuple[SourceWord, ...]:
    """Force word times into [low_s, now_s], start <= end, each word after the one before it. Drops no word."""
    clamped: list[SourceWord] = []
    previous_s = low_s = min(low_s, now_s)
    for word in words:
        start_s = word.start_s if math.isfinite(word.start_s) else previous_s
        start_s = min(max(start_s, previous_s), now_s)
        end_s = word.end_s if math.isfinite(word.end_s) else start_s
        end_s = min(max(end_s, start_s), now_s)
        if clamped and clamped[-1].end_s > start_s:
            clamped[-1] = replace(clamped[-1], end_s=start_s)
        clamped.append(replace(word, start_s=start_s, end_s=end_s))
        previous_s = start_s
    return tuple(clamped)


def agreed_length(first: Sequence[SourceWord], second: Sequence[SourceWord]) -> int:
    """Words in the longest common prefix of two hypotheses, case and punctuation aside."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if normalize(one.text) != normalize(other.text):
            break
        count += 1
    return count


def count_stability(previous: Sequence[SourceWord], words: Sequence[SourceWord]) -> tuple[SourceWord, ...]:
    """``words`` with the number of hypotheses each has survived: one more than before inside the common prefix."""
    agreed = agreed_length(previous, words)
    survived = [previous[index].stability + 1 if index < agreed else 1 for index in range(len(words))]
    return tuple(replace(word, stability=count) for word, count in zip(words, survived, strict=True))


def best_cut(words: Sequence[SourceWord], now_s: float) -> int:
    """How many words to commit when the tail has grown too long; at least one of a non-empty tail.

    The longest pause in the second half of the tail (the silence after the last word counts), else the last clause
    boundary there (comma, semicolon, colon, dash), else everything before the last word. Never in the first half: the
    rest has to be transcribed again and must not be too long at once.
    """
    if len(words) < 2:
        return len(words)
    gaps = list(zip([word.end_s for word in words], [*(word.start_s for word in words[1:]), now_s], strict=True))
    pauses = [following_s - end_s for end_s, following_s in gaps]
    middle_s = (words[0].start_s + now_s) / 2
    late = [index for index, gap_s in enumerate(gaps) if sum(gap_s) / 2 >= middle_s]
    longest = max(late, key=lambda index: (pauses[index], index), default=None)
    if longest is not None and pauses[longest] >= MIN_PAUSE_S:
        return longest + 1
    for index in sorted(set(late) - {len(words) - 1}, reverse=True):
        if words[index].text.rstrip(_CLOSERS).endswith((",", ";", ":", "—", "–", "，", "；", "：", "、")):
            return index + 1
    return len(words) - 1


class Stabilizer:
    """Turns successive hypotheses of a live tail into committed segments and what is still live.

    For recognisers that re-transcribe the tail: feed each hypothesis of everything after the last committed word to
    `update`; `committed_until_s` says from where on the audio has to be transcribed next time.
    """

    def __init__(self, hypotheses_to_agree: int = 2, max_live_s: float = 28.0) -> None:
        if hypotheses_to_agree < 1:
            raise ValueError(f"hypotheses_to_agree must be at least 1, not {hypotheses_to_agree}")
        self._to_agree = hypotheses_to_agree
        self._max_live_s = max_live_s
        self.reset()

    def reset(self) -> None:
        """Forget the stream. Idempotent."""
        self._history: deque[tuple[tuple[SourceWord, ...], list[bool]]] = deque(maxlen=self._to_agree)
        self._live: tuple[SourceWord, ...] = ()
        self.committed_until_s = 0.0

    def update(self, words: Sequence[SourceWord], now_s: float) -> Hypothesis:
        """One more hypothesis of the live tail. Times in absolute stream seconds, clamped here."""
        tail = collapse_loops(join_punctuation(words))
        flags = sentence_ends([word.text for word in tail])
        tail = clamp_times(tail, self.committed_until_s, now_s)
        self._live = count_stability(self._live, tail)
        self._history.append((self._live, flags))
        committed = self._commit_sentences(flags) + self._commit_overlong(now_s)
        return Hypothesis(committed, self._live, now_s)

    def expect(self, texts: Sequence[str], now_s: float) -> Hypothesis:
        """What `update` would say to these words if all were spoken at ``now_s``. Changes nothing."""
        other = copy.copy(self)
        other._history = self._history.copy()
        return other.update([SourceWord(text, now_s, now_s) for text in texts], now_s)

    def finish(self, now_s: float) -> Hypothesis:
        """End of the stream: what is live is committed, one segment a sentence."""
        ends = sentence_ends([word.text for word in self._live])
        last_flags = self._history[-1][1] if self._history else []
        segments: list[tuple[SourceWord, ...]] = []
        start = 0
        for index, word_ends in enumerate(ends):
            flagged = index < len(last_flags) and last_flags[index]
            if word_ends or flagged or index == len(ends) - 1:
                segments.append(self._live[start : index + 1])
                start = index + 1
        self._drop(len(self._live))
        return Hypothesis(tuple(segments), (), now_s)

    def _commit_sentences(self, flags: Sequence[bool]) -> tuple[tuple[SourceWord, ...], ...]:
        if len(self._history) < self._to_agree:
            return ()
        agreed = min(agreed_length(words, self._live) for words, _ in self._history)
        ends = [
            index + 1 for index in range(agreed) if flags[index] and all(earlier[index] for _, earlier in self._history)
        ]
        segments = tuple(self._live[start:end] for start, end in zip([0, *ends], ends, strict=False))
        self._drop(ends[-1] if ends else 0)
        return segments

    def _commit_overlong(self, now_s: float) -> tuple[tuple[SourceWord, ...], ...]:
        segments = []
        while self._live and now_s - self._live[0].start_s > self._max_live_s:
            count = best_cut(self._live, now_s)
            segments.append(self._live[:count])
            self._drop(count)
        return tuple(segments)

    def _drop(self, count: int) -> None:
        """The first ``count`` live words have been committed."""
        if not count:
            return
        self.committed_until_s = self._live[count - 1].end_s
        self._live = self._live[count:]
        kept = [(words[count:], flags[count:]) for words, flags in self._history]
        self._history = deque(kept, maxlen=self._to_agree)
