"""Recording hypotheses and answering from recordings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from agent.asr.contract import Samples
from agent.asr.record import RecordingRecogniser, read_recording, read_recordings
from agent.asr.replay import ReplayConfig, ReplayRecogniser
from agent.config import AgentConfig
from agent.errors import UserError
from agent.models import build_recogniser
from agent.words import Hypothesis, SourceWord

CHUNK = 4000


class Counter:
    """A recogniser that hears one word a push and commits every third."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._live: tuple[SourceWord, ...] = ()
        self._heard = 0

    def push(self, samples: Samples) -> Hypothesis:
        start_s, self._heard = self._heard / 16_000, self._heard + len(samples)
        self._live += (SourceWord(f"wörd{self._heard}", start_s, self._heard / 16_000, 1),)
        if len(self._live) < 3:
            return Hypothesis((), self._live, self._heard / 16_000)
        segment, self._live = self._live, ()
        return Hypothesis((segment,), (), self._heard / 16_000)

    def flush(self) -> Hypothesis:
        segment, self._live = self._live, ()
        return Hypothesis((segment,) if segment else (), (), self._heard / 16_000)


def noise(seed: int, n_samples: int = 5 * CHUNK + 123) -> Samples:
    return np.random.default_rng(seed).uniform(-1, 1, n_samples).astype(np.float32)


def hear(
    recogniser: Counter | RecordingRecogniser | ReplayRecogniser, audio: Samples, chunk: int = CHUNK
) -> list[Hypothesis]:
    return [*(recogniser.push(audio[at : at + chunk]) for at in range(0, len(audio), chunk)), recogniser.flush()]


@pytest.fixture
def streams() -> list[Samples]:
    """Three streams, two of which begin with the same two chunks of silence."""
    silence = np.zeros(2 * CHUNK, np.float32)
    return [noise(1), np.concatenate([silence, noise(2)]), np.concatenate([silence, noise(3)])]


@pytest.fixture
def folder(tmp_path: Path, streams: list[Samples]) -> Path:
    recorder = RecordingRecogniser(Counter(), tmp_path / "deep" / "asr", "counter")
    for audio in streams:
        hear(recorder, audio)
        recorder.reset()
    return tmp_path / "deep" / "asr"


def test_record_then_replay_is_identical(folder: Path, streams: list[Samples]) -> None:
    replay = ReplayRecogniser(folder)
    for audio in [*streams, streams[0]]:
        counter = Counter()
        assert hear(replay, audio) == hear(counter, audio)
        replay.reset()
        replay.reset()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in folder.glob("*.asr.jsonl"))


def test_a_recording_reads_without_audio(folder: Path, streams: list[Samples]) -> None:
    recordings = read_recordings(folder)
    assert len(recordings) == 3
    assert {recording.recogniser for recording in recordings} == {"counter"}
    assert [step.n_samples for step in recordings[0].steps].count(CHUNK) >= 5
    assert len({recording.fingerprint for recording in recordings}) == 2
    one_file = next(folder.glob("*.asr.jsonl"))
    assert read_recordings(one_file) == (read_recording(one_file),)


def test_recording_twice_replaces_and_reset_discards(folder: Path, streams: list[Samples]) -> None:
    recorder = RecordingRecogniser(Counter(), folder)
    hear(recorder, streams[0])
    recorder.push(noise(9, CHUNK))
    recorder.reset()
    recorder.flush()
    assert len(read_recordings(folder)) == 3


def test_empty_pushes_do_not_count(folder: Path, streams: list[Samples]) -> None:
    replay = ReplayRecogniser(folder)
    first = replay.push(streams[0][:CHUNK])
    assert replay.push(streams[0][:0]) == Hypothesis((), first.live, first.now_s)
    assert replay.push(streams[0][CHUNK : 2 * CHUNK]).now_s == 2 * CHUNK / 16_000
    replay.reset()
    assert replay.flush() == Hypothesis((), (), 0.0)


def test_other_audio_and_other_chunks_are_refused(folder: Path, streams: list[Samples]) -> None:
    replay = ReplayRecogniser(folder)
    with pytest.raises(UserError, match=r"recorded in pushes of 0\.25 s at 0\.00 s, not 0\.5 s"):
        replay.push(streams[0][: 2 * CHUNK])
    replay.reset()
    with pytest.raises(UserError, match="in no recording"):
        replay.push(noise(9, CHUNK))
    replay.reset()
    replay.push(streams[0][:CHUNK])
    with pytest.raises(UserError, match="goes on: give the whole audio"):
        replay.flush()
    replay.reset()
    with pytest.raises(UserError, match=r"from 0\.25 s on is in no recording"):
        hear(replay, np.concatenate([streams[0][:CHUNK], streams[1]]))
    replay.reset()
    for at in range(0, len(streams[0]), CHUNK):
        replay.push(streams[0][at : at + CHUNK])
    with pytest.raises(UserError, match="goes on after"):
        replay.push(noise(9, CHUNK))
    with pytest.raises(ValueError, match="finite"):
        replay.push(np.full(CHUNK, np.nan, np.float32))


def test_bad_recordings_are_user_errors(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="No recordings"):
        ReplayRecogniser(tmp_path / "nowhere")
    with pytest.raises(UserError, match="No recordings"):
        ReplayRecogniser(tmp_path)
    path = next(folder.glob("*.asr.jsonl"))
    lines = path.read_text(encoding="utf-8").splitlines()
    for broken in (lines[:-1], lines[:-2] + lines[-1:], lines[:1], [], ["{"], ["[]"], [lines[0], "{}"]):
        path.write_text("\n".join(broken), encoding="utf-8")
        with pytest.raises(UserError, match="not a whole recognition recording"):
            read_recording(path)
    path.write_text("\n".join([json.dumps({**json.loads(lines[0]), "version": 99}), *lines[1:]]), encoding="utf-8")
    with pytest.raises(UserError, match="version 99") as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        RecordingRecogniser(Counter(), tmp_path / "file")


def test_build_replay_and_recorder(tmp_path: Path, folder: Path, streams: list[Samples]) -> None:
    config = AgentConfig(asr=ReplayConfig(model=str(folder)))
    assert isinstance(build_recogniser(config), ReplayRecogniser)
    copying = build_recogniser(dataclasses.replace(config, record_asr=str(tmp_path / "copy")))
    assert isinstance(copying, RecordingRecogniser)
    hear(copying, streams[0])
    (copy,) = read_recordings(tmp_path / "copy")
    assert copy.recogniser == f"replay {folder}"
    assert any(copy.steps == recording.steps for recording in read_recordings(folder))
