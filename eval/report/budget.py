"""Where the latency of a traced run comes from, averaged over its target units.

A unit's due time is the end of the source word at the same relative position in its sentence (the ideal of the LAAL and
YAAL family, so that every policy is measured alike). From there to its emission: *audio* until the end of the chunk
that holds the word's end, *recogniser* until a hypothesis reaches that word, *policy* until the unit is committed. What
is said before it is due counts as *ahead*, negative. Computation of the step comes on top.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.replay import SAID_WHEN_FINISHED, Replay


@dataclass(frozen=True)
class Budget:
    """Mean seconds per target unit; ``ahead_s`` is negative. ``at_end_share``: units said when their sentence ended."""

    n_units: int
    ahead_s: float
    audio_s: float
    recogniser_s: float
    policy_s: float
    asr_compute_s: float
    mt_compute_s: float
    at_end_share: float


def budget(replays: Sequence[Replay]) -> Budget | None:
    """The budget over all units of finished sentences; None without any."""
    sums = [0.0] * 6
    n_units = n_at_end = 0
    for replay in replays:
        times = [step.now_s for step in replay.steps]
        for sentence, words in enumerate(replay.sentences):
            units = [unit for unit in replay.units if unit.sentence == sentence]
            seen = _first_seen(replay, sentence, len(words))
            for index, unit in enumerate(units):
                position = min(len(words) - 1, (index + 1) * len(words) // max(1, len(units)))
                due_s = replay.words[words[position]][2]
                step = replay.steps[unit.step]
                chunk_end_s = times[min(bisect_left(times, due_s), len(times) - 1)]
                parts = _parts(due_s, chunk_end_s, seen[position], step.now_s)
                for k, part in enumerate((*parts, *step.computation_s)):
                    sums[k] += part
                n_units += 1
                n_at_end += unit.why == SAID_WHEN_FINISHED
    if not n_units:
        return None
    means = [value / n_units for value in sums]
    return Budget(n_units, means[0], means[1], means[2], means[3], means[4], means[5], n_at_end / n_units)


def _first_seen(replay: Replay, sentence: int, n_words: int) -> list[float]:
    """When a hypothesis first had so many words of the sentence, for each of its words; its end for the rest."""
    seen: list[float] = []
    for step in replay.steps:
        if step.sentence > sentence:
            return seen + [step.now_s] * (n_words - len(seen))
        if step.sentence == sentence:
            seen += [step.now_s] * (min(len(step.live), n_words) - len(seen))
    return seen + [replay.duration_s] * (n_words - len(seen))


def _parts(due_s: float, chunk_end_s: float, seen_s: float, said_s: float) -> tuple[float, float, float, float]:
    """Seconds ahead (negative), waiting for audio, for the recogniser, for the policy; they add up to the delay."""
    if said_s <= due_s:
        return said_s - due_s, 0.0, 0.0, 0.0
    audio_s = min(chunk_end_s, said_s) - due_s
    recogniser_s = max(0.0, min(seen_s, said_s) - due_s - audio_s)
    return 0.0, audio_s, recogniser_s, said_s - due_s - audio_s - recogniser_s
