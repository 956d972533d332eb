"""Reading metrics logs, references and traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from eval_runs import ENGLISH, SEGMENTS, append, german_talks, write_references, write_run

from agent.errors import UserError
from agent.run.folder import read_trace
from eval.inputs.log import clean_tokens, read_log
from eval.inputs.references import load
from eval.scoring.wer import edit_distance, normalise, word_error_rate


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", "holds no talk"),
        ("not json\n", "line 1: not JSON"),
        ("[1]\n", "line 1: a list"),
        ('{"id": 3, "total_audio_processed": 1.0}\n', "no audio file belongs to stream 3"),
        ('{"id": 0, "metadata": {}}\n', "name no audio file"),
        ('{"id": 0, "metadata": {"wav_name": "a.wav"}}\n{"id": 0}\n', "line 2: total_audio_processed, computation"),
        ('{"id": 0, "metadata": {"wav_name": "a.wav"}}\n' * 2, r"twice \(a\)"),
    ],
)
def test_what_is_no_log(tmp_path: Path, text: str, pattern: str) -> None:
    path = tmp_path / "simulstream.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=pattern):
        read_log(path)
    with pytest.raises(UserError, match="No log"):
        read_log(tmp_path / "absent.jsonl")


def test_talk_without_steps_is_named(run: Path) -> None:
    append(run / "simulstream.jsonl", {"id": 7, "metadata": {"wav_name": "three.flac"}})
    log = read_log(run / "simulstream.jsonl")
    assert [talk.name for talk in log.talks] == ["one", "two", "three"]
    with pytest.raises(UserError, match="never processes them: three"):
        log.pick(["one", "three"])


def test_clean_tokens() -> None:
    assert clean_tokens(["a\u00a0b", "\u3000", "c\n"], "word") == ["a b", "c"]
    assert clean_tokens(["中", "\u3000", "\n", " "], "char") == ["中", " ", " ", " "]


def test_scattered_segments_are_grouped(tmp_path: Path) -> None:
    folder = write_references(tmp_path / "refs", [SEGMENTS[0], SEGMENTS[2], SEGMENTS[1]])
    loaded = load(folder / "audio-segments.yaml", folder, "de")
    assert [segment["wav"] for segment in loaded.segments] == ["one.wav", "one.wav", "two.wav"]
    assert loaded.of_talk("two").target == ("Wir gehen heute in den Park.",)


@pytest.mark.parametrize(
    ("segments", "pattern"),
    [
        ([], "holds no segments"),
        ([{"wav": "a.wav", "offset": 0}], "segment 1: wav, offset and duration"),
        ([{"wav": "a.wav", "offset": 0, "duration": "long"}], "must be seconds"),
        ([{"wav": "a.wav", "offset": 0, "duration": 0}], "above 0 s"),
        ([{"wav": f"{x}/a.wav", "offset": 0, "duration": 1} for x in "pqr"], "same name"),
    ],
)
def test_bad_segmentation(tmp_path: Path, segments: list[dict[str, object]], pattern: str) -> None:
    folder = write_references(tmp_path / "refs", segments)
    with pytest.raises(UserError, match=pattern):
        load(folder / "audio-segments.yaml", folder, "de")


def test_references_that_are_absent_or_of_another_length(references: Path) -> None:
    for text, pattern in (
        ("Nur eine Zeile.\n", r"ref.de.txt has 1 lines but .* has 3 segments"),
        ("\n" * 3, "is empty"),
    ):
        (references / "ref.de.txt").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=pattern):
            load(references / "audio-segments.yaml", references, "de")
    with pytest.raises(UserError, match=r"No references .*ref\.cs\.txt"):
        load(references / "audio-segments.yaml", references, "cs")
    with pytest.raises(UserError, match="No segmentation"):
        load(references / "other.yaml", references, "de")
    (references / "audio-segments.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        load(references / "audio-segments.yaml", references, "de")


def test_references_survive_windows_line_ends_and_a_mark(references: Path) -> None:
    (references / "ref.de.txt").write_bytes("\ufeffEins.\r\nZwei\u2028b.\r\nDrei.".encode())
    loaded = load(references / "audio-segments.yaml", references, "de")
    assert loaded.target == ("Eins.", "Zwei\u2028b.", "Drei.")
    assert yaml.safe_load((references / "audio-segments.yaml").read_text(encoding="utf-8"))[0]["wav"] == "one.wav"


def test_words_are_normalised_and_edits_counted() -> None:
    pairs = [("", ""), ("abc", ""), ("", "ab"), ("abcd", "acd"), ("abc", "axbc"), ("abc", "cba"), ("kitten", "sitting")]
    assert [edit_distance([*wanted], [*given]) for wanted, given in pairs] == [0, 3, 2, 1, 1, 2, 3]
    assert normalise("Don’t — in TWENTY-nineteen, OK?") == ["dont", "in", "twenty", "nineteen", "ok"]


def write_trace(path: Path, texts: dict[int, list[str]]) -> Path:
    for stream, sentences in texts.items():
        append(path, {"stream": stream, "committed": []})
        for sentence in sentences:
            words = [{"text": text, "start_s": 0.0, "end_s": 0.1} for text in sentence.split()]
            append(path, {"stream": stream, "committed": [words]})
    return path


def test_word_error_rate(tmp_path: Path, references: Path) -> None:
    loaded = load(references / "audio-segments.yaml", references, "de")
    talks = {"two": german_talks()["two"], "one": german_talks()["one"]}
    log = read_log(write_run(tmp_path / "run", talks) / "simulstream.jsonl")
    trace = write_trace(tmp_path / "trace.jsonl", {0: ["the dog sleeps in the garden"], 1: ["the house is tall", ""]})
    picked = log.pick(loaded.talks)
    n_words = sum(len(line.split()) for line in ENGLISH)
    assert word_error_rate(trace, picked, loaded) == pytest.approx((1 + 7) / n_words)
    assert word_error_rate(tmp_path / "none.jsonl", picked, loaded) is None
    assert word_error_rate(write_trace(tmp_path / "part.jsonl", {0: ["the dog"]}), picked, loaded) is None


def test_broken_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(json.dumps({"stream": 0}) + "\n{", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: not a step of a trace"):
        read_trace(trace)
