"""A live recogniser from one of clips: the live tail is transcribed again and again, and what is sure is committed.

Each push transcribes and aligns the audio after the last committed word; `agent.asr.commit` says what is committed
then.  Silence costs no decoding and
makes no words. The audio of a request never exceeds ``max_live_s``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from agent.asr.commit import Stabilizer
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.silero_vad import VoiceDetector
from agent.stages import stage
from agent.words import Hypothesis, SourceWord

MIN_SPEECH_S = 0.25
"""Less speech than this in the live tail is not decoded: the rest of a committed word, or a click."""
LEAD_S = 0.5
"""Audio kept before the first speech of a tail."""
SETTLE_S = 0.3
"""Silence after the last word that a hypothesis must have heard; then it is not decoded again until speech goes on."""
MAX_PAUSE_S = 2.0
"""A silence of this length commits what is live."""
MAX_SLICE_S = 2.0
"""Longer pushes are decoded in equal slices not longer than this."""
_GAP_S = 0.2
"""The audio of the next tail begins in the gap after the last committed word, at most so long after it."""

T = TypeVar("T")
T_out = TypeVar("T_out", covariant=True)
T_in = TypeVar("T_in", contravariant=True)


class SpeechToText(Protocol[T_out]):
    """Transcribes clips."""

    def transcribe(self, samples: Samples) -> T_out:
        """What the clip says; ValueError for audio that cannot be transcribed."""


class WordTimes(Protocol[T_in]):
    """Times what was transcribed."""

    def texts(self, transcription: T_in) -> Sequence[str]:
        """The words that `align` is going to return."""

    def align(self, samples: Samples, transcription: T_in, start_s: float = 0.0) -> tuple[SourceWord, ...]:
        """The words with absolute times; the clip begins at ``start_s``."""


class StreamingRecogniser:
    """An `AligningRecogniser` for one stream, on models that streams share. ``tail_s`` is how much audio the last
    request had; ``n_decoded`` counts requests."""

    def __init__(
        self,
        speech_to_text: SpeechToText[T],
        word_times: WordTimes[T],
        detector: VoiceDetector,
        max_live_s: float = 28.0,
        hypotheses_to_agree: int = 2,
    ) -> None:
        self.on_words: Callable[[Hypothesis], None] | None = None
        self._is_whole_push = False
        self._speech_to_text: SpeechToText[Any] = speech_to_text
        self._word_times: WordTimes[Any] = word_times
        self._detector = detector
        self._max_live_s = max_live_s
        self._slice_s = min(MAX_SLICE_S, max_live_s / 4)
        # What a slice adds must still fit once everything up to here has been kept.
        self._stabilizer = Stabilizer(hypotheses_to_agree, max_live_s - self._slice_s - LEAD_S)
        self.reset()

    def reset(self) -> None:
        """Forget the stream; time starts again at 0. Idempotent."""
        self._detector.reset()
        self._stabilizer.reset()
        self._audio = np.zeros(0, np.float32)
        self._start = 0
        self._heard = 0
        self._decoded_s = 0.0
        self._live: tuple[SourceWord, ...] = ()
        self.tail_s = 0.0
        self.n_decoded = 0

    def push(self, samples: Samples) -> Hypothesis:
        """Hear more audio: float32 mono 16 kHz in [-1, 1]."""
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(f"samples must be one channel of finite numbers, not shape {samples.shape}")
        committed: list[tuple[SourceWord, ...]] = []
        if len(samples):
            audio = np.clip(np.asarray(samples, np.float32), -1.0, 1.0)
            n_slices = math.ceil(len(audio) / (self._slice_s * SAMPLE_RATE_HZ))
            # What slices before the last one commit is not known to whoever listens.
            self._is_whole_push = n_slices == 1
            for piece in np.array_split(audio, n_slices):
                committed += self._hear(piece).committed
        return Hypothesis(tuple(committed), self._live, self._now_s)

    def flush(self) -> Hypothesis:
        """End of the stream: everything still live is committed."""
        committed: list[tuple[SourceWord, ...]] = []
        self._is_whole_push = False
        if self._speaks() and self._detector.last_s > self._decoded_s:
            committed += self._decode().committed
        committed += self._stabilizer.finish(self._now_s).committed
        self._live = ()
        self._cut(self._heard)
        return Hypothesis(tuple(committed), (), self._now_s)

    @property
    def _now_s(self) -> float:
        return self._heard / SAMPLE_RATE_HZ

    @property
    def _start_s(self) -> float:
        return self._start / SAMPLE_RATE_HZ

    def _speaks(self) -> bool:
        """Whether there is anything to transcribe after the last committed word."""
        from_s = max(self._start_s, self._stabilizer.committed_until_s)
        return bool(self._live) or self._detector.speech_s(from_s) >= MIN_SPEECH_S

    def _hear(self, audio: Samples) -> Hypothesis:
        """One slice further."""
        self._audio = np.concatenate([self._audio, audio])
        self._heard += len(audio)
        self._detector.hear(audio)
        silent_s = self._now_s - self._detector.last_s
        if not self._speaks():
            return self._wait()
        if self._decoded_s - self._detector.last_s < min(SETTLE_S, silent_s):
            return self._decode()
        if silent_s >= MAX_PAUSE_S:
            return self._commit_all()
        # Nobody has spoken since the last hypothesis: it stands, and has survived once more.
        return self._adopt(self._live)

    def _wait(self) -> Hypothesis:
        """Nobody speaks: keep as much audio as may turn out to lead a word."""
        first_s = self._detector.first_s(max(self._start_s, self._stabilizer.committed_until_s))
        since_s = min(self._now_s, first_s if first_s is not None else self._now_s) - LEAD_S
        # A click may not hold the audio for ever.
        self._cut(round(max(since_s, self._now_s - 2 * LEAD_S - MIN_SPEECH_S) * SAMPLE_RATE_HZ))
        return Hypothesis((), (), self._now_s)

    def _commit_all(self) -> Hypothesis:
        hypothesis = self._stabilizer.finish(self._now_s)
        self._live = ()
        self._cut(self._heard - round(LEAD_S * SAMPLE_RATE_HZ))
        return hypothesis

    def _decode(self) -> Hypothesis:
        first_s = self._detector.first_s(self._start_s)
        if first_s is not None and not self._live:
            self._cut(round((first_s - LEAD_S) * SAMPLE_RATE_HZ))
        self.tail_s = len(self._audio) / SAMPLE_RATE_HZ
        self.n_decoded += 1
        transcription = self._speech_to_text.transcribe(self._audio)
        if self.on_words is not None and self._is_whole_push:
            self.on_words(self._stabilizer.expect(self._word_times.texts(transcription), self._now_s))
        with stage("align"):
            words = self._word_times.align(self._audio, transcription, self._start_s)
        self._decoded_s = self._now_s
        return self._adopt(words)

    def _adopt(self, words: tuple[SourceWord, ...]) -> Hypothesis:
        """``words`` are the present hypothesis of the whole tail."""
        hypothesis = self._stabilizer.update(words, self._now_s)
        self._live = hypothesis.live
        if hypothesis.committed:
            end_s = self._stabilizer.committed_until_s
            gap_s = (self._live[0].start_s if self._live else self._now_s) - end_s
            self._cut(round((end_s + min(gap_s / 2, _GAP_S)) * SAMPLE_RATE_HZ))
        self._make_room()
        return hypothesis

    def _make_room(self) -> None:
        """The next slice must fit. What is dropped has no words: those are committed before it comes so far."""
        room = round((self._max_live_s - self._slice_s) * SAMPLE_RATE_HZ)
        if len(self._audio) > room:
            keep_s = self._live[0].start_s if self._live else self._now_s - self._max_live_s / 2
            self._cut(max(round((keep_s - LEAD_S) * SAMPLE_RATE_HZ), self._heard - room))

    def _cut(self, start: int) -> None:
        """The tail's audio begins at sample ``start`` of the stream, or where it began if that is later."""
        if start > self._start:
            self._audio = self._audio[start - self._start :]
            self._start = min(start, self._heard)
            self._detector.forget_before(self._start_s)
