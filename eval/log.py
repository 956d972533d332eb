"""The metrics log that simulstream writes: read, checked, and rewritten clean for scoring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import UserError

LOG_NAME = "simulstream.jsonl"
STEP_KEYS = ("total_audio_processed", "computation_time", "generated_tokens", "deleted_tokens")


@dataclass(frozen=True)
class Talk:
    """One stream of a log. ``name`` is the stem of its audio file; ``steps`` are simulstream's own lines."""

    name: str
    index: int
    """Position in the log, counted from 0: the ``stream`` of a trace."""
    steps: tuple[dict[str, Any], ...]

    @property
    def audio_s(self) -> float:
        """Seconds of audio heard."""
        return max((float(step["total_audio_processed"]) for step in self.steps), default=0.0)

    @property
    def computation_s(self) -> float:
        """Seconds spent on all steps; loading the models is not among them."""
        return sum(float(step["computation_time"]) for step in self.steps)

    @property
    def n_tokens(self) -> int:
        """Tokens emitted, those taken back included."""
        return sum(len(step["generated_tokens"]) for step in self.steps)


@dataclass(frozen=True)
class RunLog:
    """All talks of a log, in its order."""

    path: Path
    talks: tuple[Talk, ...]
    digest: str
    """sha256 of the file, hexadecimal."""

    def pick(self, names: Sequence[str]) -> list[Talk]:
        """The talks of these names, in their order; UserError that lists those the log lacks."""
        known = {talk.name: talk for talk in self.talks}
        missing = [name for name in names if name not in known]
        if missing:
            raise UserError(
                f"{self.path} lacks {len(missing)} of {len(names)} talks of the segmentation: {', '.join(missing)}. "
                "Run them too, or score a subset with --talks."
            )
        silent = [name for name in names if not known[name].steps]
        if silent:
            raise UserError(f"{self.path} opens these talks but never processes them: {', '.join(silent)}. Run again.")
        return [known[name] for name in names]

    def extra(self, names: Iterable[str]) -> list[str]:
        """Talks of the log that ``names`` leaves out."""
        wanted = set(names)
        return [talk.name for talk in self.talks if talk.name not in wanted]


def read_log(path: Path) -> RunLog:
    """Read a metrics log; UserError when it is not one or holds a talk twice."""
    if not path.is_file():
        raise UserError(f"No log {path}: give the output folder of a simulstream run.")
    data = path.read_bytes()
    names: dict[Any, str] = {}
    steps: dict[str, list[dict[str, Any]]] = {}
    twice: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        entry = _parse(line, path, number)
        if "metadata" in entry:
            name = _talk_name(entry, path, number)
            names[entry.get("id")] = name
            if name in steps:
                twice.append(name)
            steps.setdefault(name, [])
        elif "id" in entry:
            if entry["id"] not in names:
                raise UserError(f"{path}, line {number}: no audio file belongs to stream {entry['id']}.")
            steps[names[entry["id"]]].append(_check_step(entry, path, number))
    if twice:
        raise UserError(
            f"{path} holds {len(twice)} of its talks twice ({', '.join(dict.fromkeys(twice))}): a second run was "
            "appended. Delete the folder and run again (simulstream --force)."
        )
    if not steps:
        raise UserError(f"{path} holds no talk: it is empty or not a simulstream metrics log.")
    talks = tuple(Talk(name, index, tuple(lines)) for index, (name, lines) in enumerate(steps.items()))
    return RunLog(path, talks, hashlib.sha256(data).hexdigest())


def write_clean(talks: Sequence[Talk], path: Path, unit: str) -> None:
    """Write ``talks`` as a log whose tokens hold no white space that the scorer would count differently."""
    with path.open("w", encoding="utf-8") as out:
        for talk in talks:
            out.write(json.dumps({"id": talk.index, "metadata": {"wav_name": f"{talk.name}.wav"}}) + "\n")
            for step in talk.steps:
                clean = {key: clean_tokens(step[key], unit) for key in ("generated_tokens", "deleted_tokens")}
                out.write(json.dumps({**step, "id": talk.index, **clean}, ensure_ascii=False) + "\n")


def clean_tokens(tokens: Iterable[str], unit: str) -> list[str]:
    """No-break spaces, ideographic spaces, line ends … become plain spaces; word tokens lose those at their ends.

    ``unit`` is ``word`` or ``char``. A word token with a space inside counts as two words, as it always did on screen.
    """
    if unit == "char":
        return ["".join(" " if char.isspace() else char for char in token) for token in tokens]
    return [clean for token in tokens if (clean := " ".join(token.split()))]


def real_time_factor(talks: Sequence[Talk]) -> float:
    """Computation seconds per second of audio."""
    audio_s = sum(talk.audio_s for talk in talks)
    return sum(talk.computation_s for talk in talks) / audio_s if audio_s else 0.0


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: not JSON. Is this a simulstream metrics log?") from error
    if not isinstance(entry, dict):
        raise UserError(f"{path}, line {number}: a {type(entry).__name__}, not an object of a simulstream metrics log.")
    return entry


def _talk_name(entry: dict[str, Any], path: Path, number: int) -> str:
    metadata = entry["metadata"]
    if not isinstance(metadata, dict) or not isinstance(metadata.get("wav_name"), str):
        raise UserError(f"{path}, line {number}: the metadata name no audio file (wav_name).")
    return Path(metadata["wav_name"]).stem


def _check_step(entry: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    missing = [key for key in STEP_KEYS if key not in entry]
    if missing:
        raise UserError(f"{path}, line {number}: {', '.join(missing)} missing. Is this a simulstream metrics log?")
    return entry
