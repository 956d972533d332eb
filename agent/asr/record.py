"""Recordings of a recogniser's hypotheses: written while it works, read back by `agent.asr.replay` and by reports.

A recording is one JSON-lines file a stream. The header line holds the version, the samples of each push and the
fingerprint (SHA-256 of the first pushed chunk as int16); then one line a push, and one for the flush. Each line carries
a digest of all audio heard so far, so that streams which begin alike can be told apart.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.asr.contract import Recogniser, Samples
from agent.errors import UserError
from agent.words import Hypothesis, SourceWord

VERSION = 1
SUFFIX = ".asr.jsonl"


@dataclass(frozen=True)
class Step:
    """One push: ``n_samples`` of audio, the digest of all audio up to its end, what the recogniser answered."""

    n_samples: int
    digest: str
    hypothesis: Hypothesis


@dataclass(frozen=True)
class Recording:
    """One recorded stream."""

    fingerprint: str
    recogniser: str
    """What made it, for the reader."""
    steps: tuple[Step, ...]
    final: Hypothesis
    """The flush."""


class AudioDigest:
    """SHA-256 of the audio heard so far, as int16."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def hear(self, samples: Samples) -> str:
        """``samples`` further; the full hexadecimal digest."""
        scaled = np.clip(np.round(np.asarray(samples, np.float64) * 32768.0), -32768, 32767)
        self._hash.update(scaled.astype("<i2").tobytes())
        return self._hash.hexdigest()


class RecordingRecogniser:
    """Passes everything on to ``inner`` and writes a recording of each stream that is flushed to ``folder``.

    The file appears complete or not at all; a stream that is reset before its flush leaves none. Pushes without
    samples are not recorded.
    """

    def __init__(self, inner: Recogniser, folder: str | Path, description: str = "") -> None:
        self.inner = inner
        self._folder = Path(folder).expanduser()
        self._description = description
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write recordings to {self._folder}: {error.strerror}.") from error
        self._forget()

    def push(self, samples: Samples) -> Hypothesis:
        """Hear more audio."""
        hypothesis = self.inner.push(samples)
        if len(samples):
            digest = self._audio.hear(samples)
            if not self._steps:
                self._fingerprint = digest
            self._steps.append(Step(len(samples), digest[:16], hypothesis))
        return hypothesis

    def flush(self) -> Hypothesis:
        """End of the stream; writes its recording."""
        hypothesis = self.inner.flush()
        if self._steps:
            write_recording(
                Recording(self._fingerprint, self._description, tuple(self._steps), hypothesis), self._folder
            )
        self._forget()
        return hypothesis

    def reset(self) -> None:
        """Forget the stream."""
        self.inner.reset()
        self._forget()

    def _forget(self) -> None:
        self._audio = AudioDigest()
        self._fingerprint = ""
        self._steps: list[Step] = []


def write_recording(recording: Recording, folder: Path) -> Path:
    """Write atomically to a file named after the audio and its chunking, replacing an earlier recording of both."""
    header = {
        "version": VERSION,
        "fingerprint": recording.fingerprint,
        "recognizer": recording.recogniser,
        "chunk_samples": [step.n_samples for step in recording.steps],
    }
    lines = [header, *({"audio": step.digest, **_to_json(step.hypothesis)} for step in recording.steps)]
    lines.append({"flush": True, **_to_json(recording.final)})
    path = folder / f"{recording.steps[-1].digest}-{recording.steps[0].n_samples}{SUFFIX}"
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write the recording {path}: {error.strerror}.") from error
    return path


def read_recording(path: str | Path) -> Recording:
    """One recording; UserError when the file is missing or not a recording of this version."""
    path = Path(path).expanduser()
    try:
        header, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if header["version"] != VERSION:
            raise UserError(f"{path} is version {header['version']} of the format, not {VERSION}: record it again.")
        *pushes, final = lines
        if not final.get("flush"):
            raise ValueError("no flush line")
        steps = tuple(
            Step(int(n_samples), str(line["audio"]), _from_json(line))
            for n_samples, line in zip(header["chunk_samples"], pushes, strict=True)
        )
        if not steps:
            raise ValueError("no pushes")
        return Recording(str(header["fingerprint"]), str(header["recognizer"]), steps, _from_json(final))
    except OSError as error:
        raise UserError(f"Cannot read the recording {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a whole recognition recording: record it again with --record-asr.") from error


def read_recordings(path: str | Path) -> tuple[Recording, ...]:
    """Every recording of a folder, in file name order, or the one in a file."""
    path = Path(path).expanduser()
    if path.is_file():
        return (read_recording(path),)
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []
    if not files:
        raise UserError(f"No recordings (*{SUFFIX}) in {path}: make them with --record-asr.")
    return tuple(read_recording(file) for file in files)


def _to_json(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "now_s": hypothesis.now_s,
        "committed": [_words_to_json(segment) for segment in hypothesis.committed],
        "live": _words_to_json(hypothesis.live),
    }


def _words_to_json(words: tuple[SourceWord, ...]) -> list[list[str | float | int]]:
    return [
        [word.text, word.start_s, word.end_s, word.stability, *([] if word.log_prob is None else [word.log_prob])]
        for word in words
    ]


def _from_json(line: dict[str, Any]) -> Hypothesis:
    return Hypothesis(
        tuple(_words_from_json(segment) for segment in line["committed"]),
        _words_from_json(line["live"]),
        float(line["now_s"]),
    )


def _words_from_json(words: list[list[Any]]) -> tuple[SourceWord, ...]:
    return tuple(
        SourceWord(str(text), float(start), float(end), int(count), *map(float, log_prob))
        for text, start, end, count, *log_prob in words
    )
