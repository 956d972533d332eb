"""A recogniser that answers from recordings: same audio in the same pushes, same hypotheses, no model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.asr.contract import SAMPLE_RATE_HZ, RecogniserConfig, Samples
from agent.asr.record import AudioDigest, Recording, read_recordings
from agent.errors import UserError
from agent.paths import resolve
from agent.words import Hypothesis


@dataclass(frozen=True)
class ReplayConfig(RecogniserConfig):
    """The ``replay`` recogniser: hypotheses recorded by ``record_asr``."""

    model: str = ""
    """Folder of recordings, or the file of one."""

    def open(self, source_lang: str) -> ReplayRecogniser:
        """UserError when there is no recording."""
        return ReplayRecogniser(resolve(self.model))


class ReplayRecogniser:
    """Finds the recording that the pushed audio belongs to and answers with it, push by push.

    UserError when the audio is in no recording, or is pushed in other chunks than were recorded.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._recordings = read_recordings(path)
        self.reset()

    def reset(self) -> None:
        """Forget the stream. Idempotent."""
        self._candidates = self._recordings
        self._audio = AudioDigest()
        self._n_pushes = 0
        self._last = Hypothesis((), (), 0.0)

    def push(self, samples: Samples) -> Hypothesis:
        """Hear more audio; what was answered to it when it was recorded."""
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(f"samples must be one channel of finite numbers, not shape {samples.shape}")
        if not len(samples):
            return Hypothesis((), self._last.live, self._last.now_s)
        digest = self._audio.hear(samples)[:16]
        number = self._n_pushes
        running = [recording for recording in self._candidates if number < len(recording.steps)]
        same_length = [recording for recording in running if recording.steps[number].n_samples == len(samples)]
        matching = tuple(recording for recording in same_length if recording.steps[number].digest == digest)
        if not matching:
            raise UserError(self._mismatch(len(samples), running, same_length))
        self._candidates = matching
        self._n_pushes += 1
        self._last = matching[0].steps[number].hypothesis
        return self._last

    def flush(self) -> Hypothesis:
        """End of the stream. UserError when the recorded stream goes on."""
        if not self._n_pushes:
            return Hypothesis((), (), 0.0)
        for recording in self._candidates:
            if len(recording.steps) == self._n_pushes:
                self._last = Hypothesis((), (), recording.final.now_s)
                return recording.final
        raise UserError(
            f"The audio ends at {self._last.now_s:.2f} s, its recording in {self._path} goes on: give the whole audio."
        )

    def _mismatch(self, n_samples: int, running: list[Recording], same_length: list[Recording]) -> str:
        at_s = self._last.now_s
        if not running:
            return f"The audio goes on after {at_s:.2f} s, where its recording in {self._path} ends: record it again."
        if same_length:
            return f"The audio from {at_s:.2f} s on is in no recording in {self._path}: record this stream first."
        lengths = sorted({recording.steps[self._n_pushes].n_samples / SAMPLE_RATE_HZ for recording in running})
        wanted = " or ".join(f"{length:g}" for length in lengths[:4])
        return (
            f"{self._path} was recorded in pushes of {wanted} s at {at_s:.2f} s, not {n_samples / SAMPLE_RATE_HZ:g} s: "
            "use the recorded speech_chunk_size or record this stream again."
        )
