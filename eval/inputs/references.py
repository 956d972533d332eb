"""Segmentation and references in OmniSTEval's formats: a YAML list of segments and one text line per segment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.errors import UserError, nearest
from eval.inputs import quotes
from eval.inputs.quotes import Damaged

SEGMENTS_NAME = "audio-segments.yaml"
DEMO_TALKS = Path("demo/talks")


@dataclass(frozen=True)
class References:
    """Segments of one or more talks with their target lines and, where a transcript exists, their source lines.

    Segments of one talk follow each other. ``offset`` and ``duration`` of a segment are seconds.
    """

    segments: tuple[dict[str, Any], ...]
    target: tuple[str, ...]
    source: tuple[str, ...] | None

    @property
    def talks(self) -> tuple[str, ...]:
        """Names (stems of the audio files), in the order of the segmentation."""
        return tuple(dict.fromkeys(stem(segment) for segment in self.segments))

    @property
    def digest(self) -> str:
        """sha256 over segments and target lines, hexadecimal."""
        return hashlib.sha256((self._segments_json() + "\n".join(self.target)).encode()).hexdigest()

    def subset(self, names: Sequence[str]) -> References:
        """Only the talks of these names (with or without an extension); UserError for an unknown one."""
        stems = [Path(name).stem if Path(name).stem in self.talks else name for name in names]
        for name in stems:
            if name not in self.talks:
                raise UserError(f"The segmentation has no talk '{name}'.{nearest(name, self.talks)}")
        return self._take([i for i, segment in enumerate(self.segments) if stem(segment) in stems])

    def of_talk(self, name: str) -> References:
        """One talk."""
        return self._take([i for i, segment in enumerate(self.segments) if stem(segment) == name])

    def write(self, segments: Path, target: Path) -> None:
        """Write what OmniSTEval reads; ``segments`` must end in ``.json``."""
        segments.write_text(self._segments_json(), encoding="utf-8")
        target.write_text("".join(f"{line}\n" for line in self.target), encoding="utf-8")

    def _take(self, rows: Sequence[int]) -> References:
        source = None if self.source is None else tuple(self.source[i] for i in rows)
        return References(tuple(self.segments[i] for i in rows), tuple(self.target[i] for i in rows), source)

    def _segments_json(self) -> str:
        return json.dumps(
            [{"wav": f"{stem(s)}.wav", "offset": s["offset"], "duration": s["duration"]} for s in self.segments]
        )


def load(segments: Path, folder: Path, language: str, damaged: Damaged = "refuse") -> References:
    """Read ``segments`` and ``folder``/ref.<language>.txt, and ref.en.txt if it is there; UserError on any mismatch.

    ``damaged``: what to do with lines that went through a spreadsheet (see ``eval.inputs.quotes``).
    """
    entries = read_segmentation(segments)
    talks = [stem(entry) for entry in entries]

    def read(path: Path) -> tuple[str, ...]:
        return quotes.treat(read_lines(path, len(entries), segments), talks, path, damaged)

    target = read(folder / f"ref.{language}.txt")
    english = folder / "ref.en.txt"
    source = read(english) if english.is_file() else None
    if len({stem(entry) for entry in entries}) != len({entry["wav"] for entry in entries}):
        raise UserError(f"{segments} has different audio files of the same name: rename them, scoring goes by name.")
    loaded = References(tuple(entries), target, source)
    order = loaded.talks
    return loaded._take(sorted(range(len(entries)), key=lambda row: order.index(stem(entries[row]))))


def stem(segment: dict[str, Any]) -> str:
    """Name of a segment's talk."""
    return Path(segment["wav"]).stem


def read_segmentation(path: Path) -> list[dict[str, Any]]:
    """Segments of a YAML file in its order; UserError when it is none."""
    if not path.is_file():
        raise UserError(f"No segmentation {path}: give one with --segments.")
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} holds no segments: a list of {{wav, offset, duration}} is wanted.")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not {"wav", "offset", "duration"} <= entry.keys():
            raise UserError(f"{path}, segment {number}: wav, offset and duration are wanted.")
        entry["wav"] = str(entry["wav"])
        try:
            entry["offset"], entry["duration"] = float(entry["offset"]), float(entry["duration"])
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}, segment {number}: offset and duration must be seconds.") from error
        if entry["duration"] <= 0:
            raise UserError(f"{path}, segment {number}: duration must be above 0 s, not {entry['duration']}.")
    return entries


def read_lines(path: Path, expected: int, segments: Path) -> tuple[str, ...]:
    """Lines of a reference file without outer spaces; UserError unless there are ``expected``."""
    if not path.is_file():
        raise UserError(f"No references {path}: give their folder with --references.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text.") from error
    if not text.strip():
        raise UserError(f"{path} is empty: {expected} lines are wanted, one per segment of {segments.name}.")
    # Inner spaces stay: OmniSTEval counts a reference by its plain spaces, so "z. B." may be one word or two.
    lines = [line.replace("\r", "").strip() for line in text.removesuffix("\n").split("\n")]
    if len(lines) != expected:
        raise UserError(f"{path} has {len(lines)} lines but {segments} has {expected} segments: they must be equal.")
    return tuple(lines)
