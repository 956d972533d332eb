"""The live recogniser: nothing lost or doubled between commits, a bounded tail, no decoding of silence; silero-vad."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from known_talk import Planted, committed, listening, not_speech, shifted, stream, talk

from agent.asr.commit import normalize
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.silero_vad import VoiceDetector
from agent.asr.streaming import LEAD_S, MIN_SPEECH_S
from agent.words import Hypothesis, SourceWord

QUIET = 1e-4 * np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE_HZ).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("chunk_s", "max_live_s"), [(0.85, 28.0), (1.5, 8.0), (0.3, 4.0), (9.0, 28.0)])
def test_no_word_is_lost_or_doubled(chunk_s: float, max_live_s: float) -> None:
    audio, words = talk()
    planted = Planted(audio, words)
    hypotheses = stream(listening(planted, max_live_s), audio, chunk_s)
    assert [word.text for word in committed(hypotheses)] == [word.text for word in words]
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
    recogniser = listening(Planted(audio, words))
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
    hypotheses = stream(listening(planted, 12.0), audio, 0.85)
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
    assert committed(stream(listening(deaf, 10.0), audio[: 60 * SAMPLE_RATE_HZ], 0.85)) == []
    assert 5.0 < deaf.longest_s <= 10.0


@pytest.mark.parametrize("name", not_speech(1))
def test_what_is_not_speech_is_not_decoded(name: str) -> None:
    recogniser = listening(Deaf("Thanks."))
    hypotheses = stream(recogniser, not_speech(10)[name], 0.85)
    assert recogniser.n_decoded == 0
    assert all(not hypothesis.committed and not hypothesis.live for hypothesis in hypotheses)
    assert hypotheses[-1].now_s == 10.0


def test_silence_after_speech_costs_nothing_and_commits() -> None:
    audio, words = talk()
    first = audio[: round((words[0].start_s + 3.0) * SAMPLE_RATE_HZ)]
    whole = np.concatenate([first, QUIET])
    planted = Planted(whole, tuple(word for word in words if word.end_s < len(first) / SAMPLE_RATE_HZ))
    recogniser = listening(planted)
    hypotheses = [recogniser.push(whole[i : i + 8000]) for i in range(0, len(whole), 8000)]
    assert [word.text for word in committed(hypotheses)] == [word.text for word in planted.words]
    assert recogniser.n_decoded <= len(first) / 8000 + 2
    assert not hypotheses[-1].live


def test_speech_in_the_first_sample_is_heard() -> None:
    audio, words = talk()
    start = round(words[0].start_s * SAMPLE_RATE_HZ)
    planted = Planted(audio[start:], shifted(words, -words[0].start_s))
    hypotheses = stream(listening(planted), audio[start : start + 16000 * 15], 0.85)
    assert committed(hypotheses)[0].text == words[0].text


def test_a_clip_of_200_ms_is_not_decoded_and_flush_is_idempotent() -> None:
    audio, words = talk()
    start = round(words[0].start_s * SAMPLE_RATE_HZ)
    recogniser = listening(Deaf("Thanks."))
    assert recogniser.push(audio[start : start + 3200]) == Hypothesis((), (), 0.2)
    assert recogniser.flush() == recogniser.flush() == Hypothesis((), (), 0.2)


@pytest.mark.parametrize("bad", [np.array([0.0, np.nan]), np.array([np.inf]), np.zeros((2, 100))])
def test_what_is_not_audio_is_refused_and_harmless(bad: Samples) -> None:
    recogniser = listening(Deaf("Thanks."))
    with pytest.raises(ValueError, match="finite"):
        recogniser.push(bad.astype(np.float32))
    assert recogniser.push(np.zeros(160, np.float32)).now_s == 0.01


@pytest.mark.parametrize(
    "change",
    [lambda x: np.clip(8 * x, -0.5, 0.5), lambda x: np.round(x * 128) / 128, lambda x: 20 * x],
    ids=["clipped", "8-bit", "too loud"],
)
def test_damaged_speech_is_heard(change: Any) -> None:
    audio, words = talk()
    detector = VoiceDetector()
    detector.hear(np.asarray(change(audio[: 10 * SAMPLE_RATE_HZ]), np.float32))
    spoken_s = sum(word.end_s - word.start_s for word in words if word.end_s < 10)
    assert detector.speech_s(0.0) > 0.7 * spoken_s


def test_reset_forgets_the_stream() -> None:
    audio, words = talk()
    planted = Planted(audio, words)
    recogniser = listening(planted)
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
    whole = np.concatenate([QUIET[: 12 * SAMPLE_RATE_HZ], audio[: 10 * SAMPLE_RATE_HZ]])
    planted = Planted(whole, shifted(words, 12))
    stream(listening(planted), whole, 0.85)
    first_s = 12 + words[0].start_s
    assert first_s - LEAD_S - 0.2 <= planted.clips[0][0] <= first_s
