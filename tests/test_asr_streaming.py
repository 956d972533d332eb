"""The live recogniser: nothing lost or doubled between commits, a bounded tail, no decoding of silence; silero-vad."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.asr.commit import normalize
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.silero_vad import VoiceDetector
from agent.asr.sphinx import SphinxRecogniser
from agent.asr.streaming import LEAD_S, MIN_SPEECH_S, StreamingRecogniser
from agent.words import Hypothesis, SourceWord

DEMO = Path(__file__).parent.parent / "demo"
TALK = "demo-talk-1"


@cache
def recognised() -> tuple[Samples, tuple[SourceWord, ...]]:
    """The beginning of a shipped talk and its words as the embedded recogniser hears them."""
    samples, _ = soundfile.read(DEMO / "talks" / f"{TALK}.flac", dtype="float32", stop=75 * SAMPLE_RATE_HZ)
    sphinx = SphinxRecogniser(DEMO / "asr")
    hypotheses = [sphinx.push(samples), sphinx.flush()]
    return samples, tuple(word for h in hypotheses for segment in h.committed for word in segment)


@cache
def talk(n_times: int = 1) -> tuple[Samples, tuple[SourceWord, ...]]:
    """The talk, said ``n_times``. Faint noise makes each moment of the audio unique."""
    samples, words = recognised()
    period_s = len(samples) / SAMPLE_RATE_HZ
    audio = np.tile(samples, n_times)
    audio = audio + 1e-4 * np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    shifts = [n * period_s for n in range(n_times)]
    return audio, tuple(SourceWord(w.text, w.start_s + s, w.end_s + s) for s in shifts for w in words)


class Planted:
    """Knows every word of ``audio`` and transcribes the clips of it that it is given: whole words as they are, the word
    that the clip's end cuts in a guise that changes each time."""

    def __init__(self, audio: Samples, words: tuple[SourceWord, ...]) -> None:
        self.words = words
        self.bytes = audio.tobytes()
        self.clips: list[tuple[float, float]] = []
        self.from_byte = 0

    def transcribe(self, samples: Samples) -> list[SourceWord]:
        self.from_byte = self.bytes.index(samples[:64].tobytes(), self.from_byte)
        start_s = self.from_byte / 4 / SAMPLE_RATE_HZ
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
        return [word.text for word in transcription]

    def align(self, samples: Samples, transcription: list[SourceWord], start_s: float = 0.0) -> tuple[SourceWord, ...]:
        assert abs(start_s - self.clips[-1][0]) < 1e-6
        return tuple(transcription)


def stream(recogniser: StreamingRecogniser, audio: Samples, chunk_s: float) -> list[Hypothesis]:
    size = round(chunk_s * SAMPLE_RATE_HZ)
    pushed = [recogniser.push(audio[start : start + size]) for start in range(0, len(audio), size)]
    return [*pushed, recogniser.flush()]


def committed(hypotheses: list[Hypothesis]) -> list[SourceWord]:
    return [word for hypothesis in hypotheses for segment in hypothesis.committed for word in segment]


@pytest.mark.slow
@pytest.mark.parametrize(("chunk_s", "max_live_s"), [(0.85, 28.0), (1.5, 8.0), (0.3, 4.0), (9.0, 28.0)])
def test_no_word_is_lost_or_doubled(chunk_s: float, max_live_s: float) -> None:
    audio, words = talk()
    planted = Planted(audio, words)
    recogniser = StreamingRecogniser(planted, planted, VoiceDetector(), max_live_s)
    hypotheses = stream(recogniser, audio, chunk_s)
    got = committed(hypotheses)
    assert [word.text for word in got] == [word.text for word in words]
    assert max(end_s - start_s for start_s, end_s in planted.clips) <= max_live_s
    for hypothesis in hypotheses:
        times = [time for word in hypothesis.live for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert not times or times[-1] <= hypothesis.now_s
        assert not hypothesis.live or hypothesis.now_s - hypothesis.live[0].start_s <= max_live_s
    # Sentences, not only what the bound forces.
    assert sum(segment[-1].text.endswith(".") for h in hypotheses for segment in h.committed) > 8


def test_words_grow_stable() -> None:
    audio, words = talk()
    planted = Planted(audio, words)
    recogniser = StreamingRecogniser(planted, planted, VoiceDetector())
    earlier: Hypothesis | None = None
    for start in range(0, 20 * SAMPLE_RATE_HZ, 8000):
        hypothesis = recogniser.push(audio[start : start + 8000])
        for word in hypothesis.live:
            known = earlier is not None and any((w.text, w.start_s) == (word.text, word.start_s) for w in earlier.live)
            assert (word.stability > 1) == known
        earlier = hypothesis


@pytest.mark.slow
def test_an_unpunctuated_monologue_stays_bounded() -> None:
    audio, words = talk(3)
    bare = tuple(SourceWord(normalize(word.text), word.start_s, word.end_s) for word in words)
    planted = Planted(audio, bare)
    hypotheses = stream(StreamingRecogniser(planted, planted, VoiceDetector(), 12.0), audio, 0.85)
    assert [word.text for word in committed(hypotheses)] == [word.text for word in bare]
    assert max(end_s - start_s for start_s, end_s in planted.clips) <= 12.0


class Deaf:
    """Hears speech in nothing, or one and the same word in everything."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.longest_s = 0.0

    def transcribe(self, samples: Samples) -> str:
        self.longest_s = max(self.longest_s, len(samples) / SAMPLE_RATE_HZ)
        return self.text

    def texts(self, transcription: str) -> list[str]:
        return [transcription] if transcription else []

    def align(self, samples: Samples, transcription: str, start_s: float = 0.0) -> tuple[SourceWord, ...]:
        return (SourceWord(transcription, start_s, start_s + 0.3),) if transcription else ()


def test_speech_without_words_stays_bounded() -> None:
    audio, _ = talk()
    deaf = Deaf()
    recogniser = StreamingRecogniser(deaf, deaf, VoiceDetector(), 10.0)
    assert committed(stream(recogniser, audio[: 60 * SAMPLE_RATE_HZ], 0.85)) == []
    assert 5.0 < deaf.longest_s <= 10.0


def sounds() -> dict[str, Samples]:
    """Ten seconds each of what is not speech."""
    n = 10 * SAMPLE_RATE_HZ
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    chord = sum(np.sin(2 * np.pi * pitch * time_s) for pitch in (261.6, 329.6, 392.0))
    random = np.random.default_rng(0)
    return {
        "silence": np.zeros(n, np.float32),
        "noise": (0.1 * random.standard_normal(n)).astype(np.float32),
        "tone": (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32),
        "chord": (0.1 * chord * (1 + np.sin(19 * time_s))).astype(np.float32),
        "clicks": np.where(np.arange(n) % 8000 < 8, np.float32(0.9), np.float32(0)),
        "hum": (0.02 * np.sign(np.sin(2 * np.pi * 50 * time_s))).astype(np.float32),
    }


@pytest.mark.parametrize("name", sounds())
def test_what_is_not_speech_is_not_decoded(name: str) -> None:
    babbler = Deaf("Thanks.")
    recogniser = StreamingRecogniser(babbler, babbler, VoiceDetector())
    hypotheses = stream(recogniser, sounds()[name], 0.85)
    assert recogniser.n_decoded == 0
    assert all(not hypothesis.committed and not hypothesis.live for hypothesis in hypotheses)
    assert hypotheses[-1].now_s == 10.0


def test_silence_after_speech_costs_nothing_and_commits() -> None:
    audio, words = talk()
    first = audio[: round((words[0].start_s + 3.0) * SAMPLE_RATE_HZ)]
    quiet = 1e-4 * np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE_HZ).astype(np.float32)
    planted = Planted(np.concatenate([first, quiet]), tuple(w for w in words if w.end_s < len(first) / SAMPLE_RATE_HZ))
    recogniser = StreamingRecogniser(planted, planted, VoiceDetector())
    stream_s = np.concatenate([first, quiet])
    hypotheses = [recogniser.push(stream_s[i : i + 8000]) for i in range(0, len(stream_s), 8000)]
    assert [word.text for word in committed(hypotheses)] == [word.text for word in planted.words]
    assert recogniser.n_decoded <= len(first) / 8000 + 2
    assert not hypotheses[-1].live


def test_speech_in_the_first_sample_is_heard() -> None:
    audio, words = talk()
    start = round(words[0].start_s * SAMPLE_RATE_HZ)
    shifted = tuple(SourceWord(w.text, w.start_s - words[0].start_s, w.end_s - words[0].start_s) for w in words)
    planted = Planted(audio[start:], shifted)
    hypotheses = stream(StreamingRecogniser(planted, planted, VoiceDetector()), audio[start : start + 16000 * 15], 0.85)
    assert committed(hypotheses)[0].text == words[0].text


def test_a_clip_of_200_ms_is_not_decoded_and_flush_is_idempotent() -> None:
    audio, words = talk()
    start = round(words[0].start_s * SAMPLE_RATE_HZ)
    babbler = Deaf("Thanks.")
    recogniser = StreamingRecogniser(babbler, babbler, VoiceDetector())
    assert recogniser.push(audio[start : start + 3200]) == Hypothesis((), (), 0.2)
    assert recogniser.flush() == recogniser.flush() == Hypothesis((), (), 0.2)


@pytest.mark.parametrize("bad", [np.array([0.0, np.nan]), np.array([np.inf]), np.zeros((2, 100))])
def test_what_is_not_audio_is_refused_and_harmless(bad: Samples) -> None:
    babbler = Deaf("Thanks.")
    recogniser = StreamingRecogniser(babbler, babbler, VoiceDetector())
    with pytest.raises(ValueError, match="finite"):
        recogniser.push(bad.astype(np.float32))
    assert recogniser.push(np.zeros(160, np.float32)).now_s == 0.01


@pytest.mark.parametrize("name", ["clipped", "8-bit", "too loud"])
def test_damaged_speech_is_heard(name: str) -> None:
    audio, words = talk()
    change = {
        "clipped": lambda x: np.clip(8 * x, -0.5, 0.5),
        "8-bit": lambda x: np.round(x * 128) / 128,
        "too loud": lambda x: 20 * x,
    }[name]
    detector = VoiceDetector()
    detector.hear(np.asarray(change(audio[: 10 * SAMPLE_RATE_HZ]), np.float32))
    spoken_s = sum(word.end_s - word.start_s for word in words if word.end_s < 10)
    assert detector.speech_s(0.0) > 0.7 * spoken_s


def test_reset_forgets_the_stream() -> None:
    audio, words = talk()
    planted = Planted(audio, words)
    recogniser = StreamingRecogniser(planted, planted, VoiceDetector())
    part = audio[: 12 * SAMPLE_RATE_HZ]
    first = stream(recogniser, part, 0.85)
    recogniser.reset()
    recogniser.reset()
    planted.from_byte = 0
    planted.clips.clear()
    assert stream(recogniser, part, 0.85) == first


def test_a_detector_serves_one_stream_after_the_other() -> None:
    audio, _ = talk()
    fresh = VoiceDetector()
    fresh.hear(audio[: 5 * SAMPLE_RATE_HZ])
    used = VoiceDetector()
    used.hear(audio[5 * SAMPLE_RATE_HZ : 9 * SAMPLE_RATE_HZ])
    used.reset()
    for start in range(0, 5 * SAMPLE_RATE_HZ, 1000):  # in other pieces
        used.hear(audio[start : start + 1000][: 5 * SAMPLE_RATE_HZ - start])
    assert used.speech_s(0.0) == fresh.speech_s(0.0) > MIN_SPEECH_S
    assert used.last_s == fresh.last_s
    assert "silero_vad" not in sys.modules  # importing it would set PyTorch's threads


def test_the_tail_begins_shortly_before_the_first_speech() -> None:
    audio, words = talk()
    quiet = 1e-4 * np.random.default_rng(1).standard_normal(12 * SAMPLE_RATE_HZ).astype(np.float32)
    whole = np.concatenate([quiet, audio[: 10 * SAMPLE_RATE_HZ]])
    shifted = tuple(SourceWord(w.text, w.start_s + 12, w.end_s + 12) for w in words)
    planted = Planted(whole, shifted)
    recogniser = StreamingRecogniser(planted, planted, VoiceDetector())
    stream(recogniser, whole, 0.85)
    start_s: Any = planted.clips[0][0]
    assert shifted[0].start_s - LEAD_S - 0.2 <= start_s <= shifted[0].start_s
