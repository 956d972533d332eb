"""Where the latency of a traced run comes from, averaged over its target units.

A unit's due time is the end of the source word at the same relative position in its sentence (the ideal of the LAAL and
YAAL family, so that every policy is measured alike). From there to its emission: *audio* until the end of the chunk
that holds the word's end, *recogniser* until a hypothesis reaches that word, *policy* until the unit is committed. What
is said before it is due counts as *ahead*, negative. Computation of the committing step comes on top, by the stages of
the trace (`agent.stages`).
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
    wait_s: float
    asr_s: float
    align_s: float
    prefill_s: float
    decode_s: float
    rest_s: float
    at_end_share: float


STAGES = (("wait",), ("vad", "asr"), ("align",), ("prefill",), ("decode",), ("replay", "policy"))
"""Stages of the trace behind each part of the computation, in the order of `Budget`."""


def budget(replays: Sequence[Replay]) -> Budget | None:
    """The budget over all units of finished sentences; None without any."""
    sums = [0.0] * 10
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
                for k, part in enumerate((*parts, *_computed(replay, unit.step))):
                    sums[k] += part
                n_units += 1
                n_at_end += unit.why == SAID_WHEN_FINISHED
    if not n_units:
        return None
    return Budget(n_units, *(value / n_units for value in (*sums, n_at_end)))


def _computed(replay: Replay, step: int) -> list[float]:
    """Seconds of each part of a step's computation. Traces without stages know the recogniser and all the rest."""
    stages_s = replay.stages_s[step]
    if not stages_s:
        asr_s, mt_s = replay.steps[step].computation_s
        return [0.0, asr_s, 0.0, 0.0, 0.0, mt_s]
    return [sum(stages_s.get(name, 0.0) for name in names) for names in STAGES]


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
