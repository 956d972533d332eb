"""The pocketsphinx recogniser on speech that espeak-ng makes from the demonstration language."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from known_talk import not_speech, stream

from agent.asr.contract import Samples
from agent.asr.record import RecordingRecogniser
from agent.asr.replay import ReplayRecogniser
from agent.asr.sphinx import SphinxConfig, SphinxRecogniser
from agent.config import AgentConfig
from agent.errors import UserError
from agent.models import build_recogniser
from agent.paths import PROJECT
from agent.words import Hypothesis, SourceWord

MODEL = PROJECT / "demo" / "asr"
RATE = 16_000
CHUNK_S = 0.85
SENTENCES = (
    "Several engineers will install a new microphone in the garden.",
    "Six pilots discussed an interesting story in the classroom last month.",
    "The soldier will lose a shirt in the basement.",
)

pytestmark = [
    pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng, which makes the speech, is not installed"),
    pytest.mark.skipif(
        not (MODEL / "words.dict").is_file(), reason="the demonstration's recogniser model is not built"
    ),
]


def say(text: str) -> Samples:
    """Speech at 16 kHz without silence around it."""
    command = ["espeak-ng", "-v", "en-us", "-s", "140", "--stdout", text]
    wave = subprocess.run(command, check=True, capture_output=True).stdout
    audio, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    loud = np.flatnonzero(np.abs(audio) > 0.003)
    audio = 0.7 * audio[loud[0] : loud[-1] + 1]
    positions = np.arange(0, len(audio) - 1, rate / RATE)
    resampled: Samples = np.interp(positions, np.arange(len(audio)), audio).astype(np.float32)
    return resampled


def silence(seconds: float) -> Samples:
    """A quiet room."""
    return np.random.default_rng(0).normal(0, 0.001, int(seconds * RATE)).astype(np.float32)


def segments(hypotheses: Sequence[Hypothesis]) -> list[tuple[SourceWord, ...]]:
    return [segment for hypothesis in hypotheses for segment in hypothesis.committed]


def spoken(hypotheses: Sequence[Hypothesis]) -> list[tuple[tuple[str, float, float], ...]]:
    """Everything but the stability, which counts pushes."""
    return [tuple((word.text, word.start_s, word.end_s) for word in segment) for segment in segments(hypotheses)]


def check_contract(hypotheses: Sequence[Hypothesis], max_live_s: float = 28.0) -> None:
    last_s = 0.0
    for hypothesis in hypotheses:
        words = [*(word for segment in hypothesis.committed for word in segment), *hypothesis.live]
        edges = [last_s, *(edge for word in words for edge in (word.start_s, word.end_s)), hypothesis.now_s]
        assert edges == sorted(edges)
        assert all(segment for segment in hypothesis.committed)
        if hypothesis.committed:
            last_s = hypothesis.committed[-1][-1].end_s
        if hypothesis.live:
            assert hypothesis.now_s - hypothesis.live[0].start_s <= max_live_s
    assert hypotheses[-1].live == ()


@cache
def spoken_talk() -> tuple[Samples, list[tuple[float, float]]]:
    """Three sentences, 0.7 s apart; start and end of each, seconds."""
    parts, spans = [silence(1.3)], []
    for sentence in SENTENCES:
        start = sum(map(len, parts))
        parts += [say(sentence), silence(0.7)]
        spans.append((start / RATE, (start + len(parts[-2])) / RATE))
    return np.concatenate(parts), spans


@pytest.fixture(scope="module")
def talk() -> Samples:
    return spoken_talk()[0]


@pytest.fixture(scope="module")
def heard(talk: Samples) -> list[Hypothesis]:
    return stream(SphinxRecogniser(MODEL), talk, CHUNK_S)


def test_sentences_have_absolute_times_and_their_ends_are_found_soon(heard: list[Hypothesis]) -> None:
    check_contract(heard)
    found, (_, spans) = segments(heard), spoken_talk()
    assert len(found) == len(spans)
    expected = " ".join(SENTENCES).lower().split()
    recognised = [word.text for segment in found for word in segment]
    assert sum(word in expected for word in recognised) >= 0.8 * len(expected)
    for segment, (start_s, end_s) in zip(found, spans, strict=True):
        assert segment[-1].text.endswith(".")
        assert not any(word.text.endswith(".") for word in segment[:-1])
        assert segment[0].start_s == pytest.approx(start_s, abs=0.25)
        assert segment[-1].end_s == pytest.approx(end_s, abs=0.25)
    reported = [hypothesis.now_s for hypothesis in heard for _ in hypothesis.committed]
    for now_s, (_, end_s) in zip(reported, spans, strict=True):
        assert now_s - end_s < 0.45 + 0.2 + CHUNK_S


def test_partial_words_appear_and_grow_stable(heard: list[Hypothesis]) -> None:
    assert sum(bool(hypothesis.live) for hypothesis in heard) >= 8
    live = [word for hypothesis in heard for word in hypothesis.live]
    assert max(word.stability for word in live) >= 3
    assert not any(word.text.endswith(".") for word in live)


@pytest.mark.parametrize("chunk", [777, 5 * RATE, 60 * RATE])
def test_text_does_not_depend_on_the_pushes(talk: Samples, heard: list[Hypothesis], chunk: int) -> None:
    other = stream(SphinxRecogniser(MODEL), talk, chunk / RATE)
    check_contract(other)
    assert spoken(other) == spoken(heard)


def test_empty_push_changes_nothing(talk: Samples, heard: list[Hypothesis]) -> None:
    recogniser = SphinxRecogniser(MODEL)
    assert recogniser.push(talk[:0]) == Hypothesis((), (), 0.0)
    before = recogniser.push(talk[: 4 * RATE])
    assert recogniser.push(talk[:0]) == Hypothesis((), before.live, before.now_s)


def test_reset_forgets_the_stream(talk: Samples, heard: list[Hypothesis]) -> None:
    recogniser = SphinxRecogniser(MODEL)
    for n_samples in (0, 3 * RATE, 7 * RATE):
        recogniser.push(talk[:n_samples])
        recogniser.reset()
        recogniser.reset()
    assert stream(recogniser, talk, CHUNK_S) == heard
    assert recogniser.flush().committed == ()


@pytest.mark.slow
def test_two_streams_in_threads(talk: Samples, heard: list[Hypothesis]) -> None:
    recognisers = [SphinxRecogniser(MODEL), SphinxRecogniser(MODEL)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(stream, recognisers, [talk, talk], [CHUNK_S, CHUNK_S])) == [heard, heard]


@pytest.mark.parametrize("name", sorted(not_speech(1).keys() - {"chord"}))  # music is taken for speech
def test_no_words_without_speech(name: str) -> None:
    hypotheses = stream(SphinxRecogniser(MODEL), not_speech(8)[name], CHUNK_S)
    assert [word.text for hypothesis in hypotheses for word in hypothesis.live] == []
    assert segments(hypotheses) == []


def test_noise_before_speech_costs_nothing_later(talk: Samples) -> None:
    hiss = np.random.default_rng(2).normal(0, 0.01, 6 * RATE).astype(np.float32)
    hypotheses = stream(SphinxRecogniser(MODEL), np.concatenate([hiss, talk]), CHUNK_S)
    check_contract(hypotheses)
    assert len(segments(hypotheses)) == len(SENTENCES)
    assert segments(hypotheses)[0][0].start_s >= 7.0


@pytest.mark.slow
def test_tail_is_bounded_without_pauses() -> None:
    clips = [say(sentence) for sentence in SENTENCES]
    speech = np.concatenate(clips * 6)[: 57 * RATE]
    hypotheses = stream(SphinxRecogniser(MODEL, max_live_s=10.0), speech, CHUNK_S)
    check_contract(hypotheses, max_live_s=10.0)
    found = segments(hypotheses)
    assert len(found) >= 6
    assert found[-1][-1].text.endswith(".")
    assert max(segment[-1].end_s - segment[0].start_s for segment in found) <= 10.0
    assert sum(map(len, found)) >= 90


def test_record_and_replay(tmp_path: Path, talk: Samples, heard: list[Hypothesis]) -> None:
    config = AgentConfig(asr=SphinxConfig(model=str(MODEL)), record_asr=str(tmp_path))
    recorder = build_recogniser(config)
    assert isinstance(recorder, RecordingRecogniser)
    assert stream(recorder, talk, CHUNK_S) == heard
    assert stream(ReplayRecogniser(tmp_path), talk, CHUNK_S) == heard


def test_wrong_samples_are_refused() -> None:
    recogniser = SphinxRecogniser(MODEL)
    for samples in (np.zeros((2, 100), np.float32), np.full(100, np.nan, np.float32), np.full(9, np.inf, np.float32)):
        with pytest.raises(ValueError, match="one channel of finite numbers"):
            recogniser.push(samples)
    assert recogniser.flush() == Hypothesis((), (), 0.0)


def test_missing_model_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No recogniser model folder"):
        SphinxRecogniser(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has no words\.dict"):
        SphinxRecogniser(tmp_path)
    shutil.copy(MODEL / "words.dict", tmp_path)
    with pytest.raises(UserError, match="has no language model"):
        SphinxRecogniser(tmp_path)
    (tmp_path / "lm.arpa").write_text("nonsense")
    with pytest.raises(UserError, match="cannot load"):
        SphinxRecogniser(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('{"lww": 8}', "unknown decoder option 'lww'. Did you mean 'lw'"),
        ('{"lw": "much"}', "could not convert"),
        ('{"lm": "other"}', "'lm' cannot be set here"),
        ("[]", "must hold decoder options"),
        ("{", "not valid JSON"),
    ],
)
def test_options_reach_the_decoder_and_wrong_ones_are_refused(tmp_path: Path, options: str, message: str) -> None:
    for path in MODEL.glob("[wl]*.*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "sphinx.json").write_text(json.dumps({"lw": 8.5, "cmninit": "50,-1"}))
    assert SphinxRecogniser(tmp_path)._decoder.config["lw"] == 8.5
    (tmp_path / "sphinx.json").write_text(options)
    with pytest.raises(UserError, match=message) as caught:
        SphinxRecogniser(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_decoder_outlives_a_change_of_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(PROJECT)
    SphinxRecogniser("demo/asr").reset()
    monkeypatch.chdir(tmp_path)
    assert SphinxRecogniser(MODEL).push(np.zeros(1600, np.float32)).live == ()
