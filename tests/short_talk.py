"""Sentences of a shipped talk with their references, for runs that are scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
import yaml

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.paths import PROJECT

TALKS = PROJECT / "demo" / "talks"
NAME = "demo-talk-1"
SENTENCES = (2, 3)
PAUSE_S = 2.5
"""Silence after each sentence: long enough that it is committed, whatever the recogniser heard."""
END_S = 15.0
"""More silence: a slow machine, too, must have said something when the talk ends, or its latency is not defined."""


def write_talk(folder: Path) -> Path:
    """``folder/talk.wav``, 24 s, and beside it what `alignatt score` needs."""
    talk, rate = soundfile.read(TALKS / f"{NAME}.flac", dtype="float32")
    segmentation = yaml.safe_load((TALKS / "audio-segments.yaml").read_text(encoding="utf-8"))
    audio, segments = [np.zeros(0, np.float32)], []
    for number in SENTENCES:
        segment = segmentation[number]
        start = round(segment["offset"] * SAMPLE_RATE_HZ)
        offset = sum(map(len, audio)) / SAMPLE_RATE_HZ
        audio.append(talk[start : start + round(segment["duration"] * SAMPLE_RATE_HZ)])
        audio.append(np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32))
        segments.append({**segment, "offset": offset, "wav": "talk.wav"})
    audio.append(np.zeros(round(END_S * SAMPLE_RATE_HZ), np.float32))
    soundfile.write(folder / "talk.wav", np.concatenate(audio), rate)
    (folder / "audio-segments.yaml").write_text(json.dumps(segments), encoding="utf-8")  # JSON is YAML
    for path in TALKS.glob("ref.*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [lines[number] for number in SENTENCES]
        (folder / path.name).write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder / "talk.wav"


def write_beginning(folder: Path, n_sentences: int) -> Path:
    """The first sentences of the talk as ``folder/demo-talk-1.flac``, and beside it what `alignatt score` needs."""
    folder.mkdir(exist_ok=True)
    segments = yaml.safe_load((TALKS / "audio-segments.yaml").read_text(encoding="utf-8"))[:n_sentences]
    (folder / "audio-segments.yaml").write_text(yaml.safe_dump(segments), encoding="utf-8")
    for path in TALKS.glob("ref.*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:n_sentences]
        (folder / path.name).write_text("".join(lines), encoding="utf-8")
    samples, rate = soundfile.read(TALKS / f"{NAME}.flac", dtype="int16")
    end_s = segments[-1]["offset"] + segments[-1]["duration"] + 0.6
    soundfile.write(folder / f"{NAME}.flac", samples[: int(end_s * rate)], rate)
    return folder / f"{NAME}.flac"
