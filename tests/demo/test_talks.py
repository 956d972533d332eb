"""The committed talks: files agree with each other, with their text, and stay out of training samples."""

from __future__ import annotations

import pytest
import soundfile
import yaml

from demo.language import realise, spoken_form
from demo.language.ngram import sample_words
from demo.make import talks
from demo.make.talk_texts import TALK_SEEDS, held_out_sources, talk_documents

FOLDER = talks.FOLDER


def segments() -> list[dict[str, str | float]]:
    loaded: list[dict[str, str | float]] = yaml.safe_load((FOLDER / "audio-segments.yaml").read_text(encoding="utf-8"))
    return loaded


def lines(lang: str) -> list[str]:
    return (FOLDER / f"ref.{lang}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", talks.talk_names("eval"))
def test_segments_follow_each_other_inside_the_audio(name: str) -> None:
    audio = soundfile.info(FOLDER / f"{name}.flac")
    assert (audio.samplerate, audio.channels) == (16_000, 1)
    low, high = (340, 380) if name.endswith("long") else (60, 120)
    assert low <= audio.duration <= high
    end = 0.0
    for segment in (segment for segment in segments() if segment["wav"] == f"{name}.wav"):
        offset, duration = float(segment["offset"]), float(segment["duration"])
        assert offset >= end + (talks.LEAD_S if end == 0.0 else talks.SENTENCE_PAUSE_S[0]) - 0.001
        assert duration > 0.5
        end = offset + duration
    assert 0.0 < end <= audio.duration


def test_every_talk_has_segments_in_order() -> None:
    names = [str(segment["wav"]).removesuffix(".wav") for segment in segments()]
    assert list(dict.fromkeys(names)) == talks.talk_names("eval")


def test_references_are_the_texts_of_the_language() -> None:
    meanings = [meaning for talk in talk_documents("eval") for document in talk for meaning in document]
    assert len(meanings) == len(segments())
    for lang in talks.LANGUAGES:
        assert lines(lang) == [realise(meaning, lang).text for meaning in meanings]


def test_talks_are_held_out_and_in_no_sample_of_the_language_model() -> None:
    documents = [document for split in TALK_SEEDS for talk in talk_documents(split) for document in talk]
    sentences = [realise(meaning, "en") for document in documents for meaning in document]
    assert {sentence.text for sentence in sentences} <= held_out_sources()
    spoken = {tuple(spoken_form(sentence)) for sentence in sentences}
    assert not spoken & {tuple(words) for words in sample_words(6000)}


def test_missing_espeak_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.argv", ["talks"])
    assert talks.main() == 2
    assert capsys.readouterr().err.startswith("espeak-ng is not installed")
