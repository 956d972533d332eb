"""A talk whose words are known, and what stands for the speech models that hear it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import soundfile

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.silero_vad import VoiceDetector
from agent.asr.sphinx import SphinxRecogniser
from agent.asr.streaming import StreamingRecogniser
from agent.paths import PROJECT
from agent.words import Hypothesis, SourceWord

N_FOUND_BY = 64
"""A clip is found in the talk by so many samples."""


@cache
def recognised(name: str = "demo-talk-1", at_most_s: int = 75) -> tuple[Samples, tuple[SourceWord, ...]]:
    """The beginning of a shipped talk and its words as the embedded recogniser hears them."""
    path = PROJECT / "demo" / "talks" / f"{name}.flac"
    samples, _ = soundfile.read(path, dtype="float32", stop=at_most_s * SAMPLE_RATE_HZ)
    return samples, tuple(committed(stream(SphinxRecogniser(PROJECT / "demo" / "asr"), samples, at_most_s)))


def shifted(words: Sequence[SourceWord], seconds: float) -> tuple[SourceWord, ...]:
    return tuple(SourceWord(word.text, word.start_s + seconds, word.end_s + seconds) for word in words)


@cache
def talk(n_times: int = 1) -> tuple[Samples, tuple[SourceWord, ...]]:
    """The talk, said ``n_times``. Faint noise makes each moment of the audio unique."""
    samples, words = recognised()
    period_s = len(samples) / SAMPLE_RATE_HZ
    audio = np.tile(samples, n_times)
    audio = audio + 1e-4 * np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    return audio, tuple(word for n in range(n_times) for word in shifted(words, n * period_s))


def pcm(samples: Samples) -> bytes:
    """16 bit."""
    return np.rint(32768 * np.clip(samples, -1, 32767 / 32768)).astype("<i2").tobytes()


class Planted:
    """Knows every word of ``audio`` and transcribes the clips of it that it is given: whole words as they are, the word
    that the clip's end cuts in a guise that changes each time, so that it cannot be agreed on."""

    def __init__(self, audio: Samples | bytes, words: tuple[SourceWord, ...]) -> None:
        self.words = words
        self.pcm = audio if isinstance(audio, bytes) else pcm(audio)
        self.clips: list[tuple[float, float]] = []
        self.from_byte = 0

    def transcribe(self, samples: Samples) -> list[SourceWord]:
        """What the clip says; ValueError when it is not part of the talk."""
        self.from_byte = self.pcm.index(pcm(samples[:N_FOUND_BY]), self.from_byte)
        start_s = self.from_byte / 2 / SAMPLE_RATE_HZ
        end_s = start_s + len(samples) / SAMPLE_RATE_HZ
        self.clips.append((start_s, end_s))
        heard = []
        for word in self.words:
            if word.start_s >= start_s - 0.01 and word.end_s <= end_s:
                heard.append(word)
            elif start_s <= word.start_s < end_s:
                heard.append(SourceWord(f"{word.text[:2]}{len(self.clips)}", word.start_s, word.end_s))
        return heard

    def texts(self, transcription: list[SourceWord]) -> list[str]:
        """The words that `align` is going to return."""
        return [word.text for word in transcription]

    def align(self, samples: Samples, transcription: list[SourceWord], start_s: float = 0.0) -> tuple[SourceWord, ...]:
        """The words as they are."""
        assert abs(start_s - self.clips[-1][0]) < 1e-6
        return tuple(transcription)


def listening(model: Any, *limits: float) -> StreamingRecogniser:
    """A recogniser in which ``model`` stands for both speech models."""
    return StreamingRecogniser(model, model, VoiceDetector(), *limits)


def stream(recogniser: Any, audio: Samples, chunk_s: float) -> list[Hypothesis]:
    size = round(chunk_s * SAMPLE_RATE_HZ)
    pushed = [recogniser.push(audio[start : start + size]) for start in range(0, len(audio), size)]
    return [*pushed, recogniser.flush()]


def committed(hypotheses: Sequence[Hypothesis]) -> list[SourceWord]:
    return [word for hypothesis in hypotheses for segment in hypothesis.committed for word in segment]


def not_speech(seconds: int) -> dict[str, Samples]:
    """Sounds in which no word is to be heard, 16 kHz."""
    n = seconds * SAMPLE_RATE_HZ
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    white = np.random.default_rng(1).standard_normal(n)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), n)
    chord = sum(np.sin(2 * np.pi * pitch * time_s) for pitch in (261.6, 329.6, 392.0))
    made = {
        "digital silence": np.zeros(n),
        "quiet room": 0.001 * white,
        "hiss": 0.03 * white,
        "noise": 0.1 * white,
        "loud hiss": 0.3 * white,
        "pink noise": 0.5 * pink / np.abs(pink).max(),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time_s),
        "buzz": 0.02 * np.sign(np.sin(2 * np.pi * 50 * time_s)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
        "chord": 0.1 * chord * (1 + np.sin(19 * time_s)),
        "bursts": 0.1 * white * (time_s % 2 < 0.7),
        "clicks": np.where(np.arange(n) % 8000 < 8, 0.9, 0.0),
        "single clicks": np.where(np.arange(n) % 9000 < 1, 0.9, 0.0),
        "square wave at full scale": np.sign(np.sin(2 * np.pi * 100 * time_s)) * 1.5,
    }
    return {name: audio.astype(np.float32) for name, audio in made.items()}
