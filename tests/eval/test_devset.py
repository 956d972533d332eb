"""``alignatt devset``: a folder as it is downloaded becomes a set that runs and scoring take."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import yaml

from agent.cli.main import alignatt
from agent.run.talks import find_talks
from eval.inputs.references import load

LINES = ['He said "yes".', "Fine.", "One.", "Two."]
DAMAGED = ['"He said ""yes"".', 'Fine."', "One.", "Two."]


def write_film(path: Path, seconds: float) -> None:
    """Stereo AAC at 44.1 kHz in an MP4, as talks are published."""
    samples = (0.2 * np.sin(np.arange(int(seconds * 44_100)) / 20)).astype(np.float32)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44_100, layout="stereo")
        for start in range(0, len(samples), 1024):
            block = samples[start : start + 1024]
            frame = av.AudioFrame.from_ndarray(np.stack([block, block]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44_100, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """Two talks, one a film in a folder of its own, and Italian references that went through a spreadsheet."""
    folder = tmp_path / "downloaded"
    (folder / "video").mkdir(parents=True)
    segments = [
        {"wav": "first.wav", "offset": 0.1, "duration": 0.5},
        {"wav": "first.wav", "offset": 0.7, "duration": 1.2},
        {"wav": "second.wav", "offset": 0.0, "duration": 0.5},
        {"wav": "second.wav", "offset": 0.5, "duration": 0.45},
    ]
    (folder / "dev.yaml").write_text(yaml.safe_dump(segments), encoding="utf-8")
    (folder / "ref.en.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (folder / "iwslt.it.txt").write_text("\r\n".join(DAMAGED), encoding="utf-8")
    write_film(folder / "video" / "first.mp4", 2.0)
    soundfile.write(folder / "second.wav", np.zeros((8000, 2)), 8000)
    return folder


def made(folder: Path, *options: str) -> int:
    return alignatt(["devset", str(folder), "--output", str(folder.parent / "set"), *options])


def test_a_folder_becomes_a_set(downloaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made(downloaded) == 0
    printed = capsys.readouterr().out
    assert "2 talks" in printed
    assert "ref.it.txt: quotes of 2 lines repaired" in printed
    folder = downloaded.parent / "set"
    assert load(folder / "audio-segments.yaml", folder, "it").target == tuple(LINES)
    talks = find_talks([folder / "talks.txt"])
    assert [talk.name for talk in talks] == ["first.wav", "second.wav"]
    for talk, seconds in zip(talks, (2.0, 1.0), strict=True):
        info = soundfile.info(talk)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.duration == pytest.approx(seconds, abs=0.1)
    tree = json.loads((folder / "devset.json").read_text(encoding="utf-8"))
    assert tree["repaired"] == {"it": [1, 2]}
    assert tree["known"] is None

    assert made(downloaded) == 2
    assert made(downloaded, "--force") == 0


def test_what_cannot_be_used_is_named(downloaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> str:
        assert made(downloaded) == 2
        assert not (downloaded.parent / "set").exists()
        return capsys.readouterr().err

    second = (downloaded / "second.wav").rename(downloaded / "third.wav")
    assert "no recording of 1 of 2 talks of the segmentation: second" in refused()
    second.rename(downloaded / "second.wav")
    soundfile.write(downloaded / "second.wav", np.zeros(4000), 16_000)
    assert "second (0.2 s, last segment ends at 0.9 s)" in refused()
    (downloaded / "ref.en.txt").write_text("one\n", encoding="utf-8")
    assert "has 1 lines but" in refused()
    (downloaded / "another.yaml").write_text("[]", encoding="utf-8")
    assert "2 files that may be the segmentation" in refused()
