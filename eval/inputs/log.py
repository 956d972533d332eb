"""Logs of simulstream (any system's) and SimulEval: read, checked, and rewritten clean for scoring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.errors import UserError
from eval.inputs import simuleval

SIMULSTREAM, SIMULEVAL = "simulstream", "simuleval"
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
        return len(self.tokens)

    @property
    def tokens(self) -> list[str]:
        """All tokens emitted, in order."""
        return [token for step in self.steps for token in step["generated_tokens"]]


@dataclass(frozen=True)
class RunLog:
    """All talks of a log, in its order."""

    path: Path
    talks: tuple[Talk, ...]
    digest: str
    """sha256 of the file, hexadecimal."""
    format: str = SIMULSTREAM
    timed: bool = True
    """Whether it says how long computation took."""

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


def read_log(path: Path, cumulative_elapsed: bool = False) -> RunLog:
    """Read a log of either kind; UserError when it is not one or holds a talk twice.

    ``cumulative_elapsed``: see ``eval.inputs.simuleval.steps_of``.
    """
    if not path.is_file():
        raise UserError(f"No log {path}: give the output folder of a simulstream run, or a log file.")
    data = path.read_bytes()
    names: dict[Any, str] = {}
    steps: dict[str, list[dict[str, Any]]] = {}
    twice: list[str] = []
    kind, timed = SIMULSTREAM, True
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        entry = _parse(line, path, number)
        if simuleval.is_entry(entry):
            kind, name = SIMULEVAL, simuleval.talk_name(entry, path, number)
            if name in steps:
                twice.append(name)
            timed = timed and bool(entry.get("elapsed"))
            steps[name] = simuleval.steps_of(entry, path, number, cumulative_elapsed)
        elif "metadata" in entry:
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
        raise UserError(f"{path} holds no talk: it is empty, or no log of simulstream or SimulEval.")
    talks = tuple(Talk(name, index, tuple(lines)) for index, (name, lines) in enumerate(steps.items()))
    return RunLog(path, talks, hashlib.sha256(data).hexdigest(), kind, timed)


def detokenized(log: RunLog, config: Mapping[str, Any], unit: str) -> RunLog:
    """The log with the words or characters that simulstream makes of its tokens by the system's own configuration.

    For logs of subword tokens (``detokenizer_type`` hf or canary, ``latency_unit`` spm). The units have the times that
    simulstream's own reader gives them; what was taken back is gone.
    """
    from simulstream.metrics.readers import LogReader, text_items

    try:
        reader = LogReader(SimpleNamespace(**config), str(log.path), unit)
        outputs = reader.final_outputs_and_latencies()
    except (AssertionError, KeyError, NotImplementedError, ImportError, OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"simulstream cannot join the tokens of {log.path} by its config.yaml (detokenizer_type "
            f"{config.get('detokenizer_type')}): {' '.join(str(error).split()) or error!r}"
        ) from error
    talks = []
    for talk in log.talks:
        steps = [{"total_audio_processed": talk.audio_s, "computation_time": 0.0}]
        if talk.name in outputs:
            output = outputs[talk.name]
            timed = zip(output.ideal_delays, output.computational_aware_delays, strict=True)
            units = text_items(output.final_text, unit)
            emitted = [
                {"total_audio_processed": cu, "computation_time": ca - cu, "generated_tokens": [text]}
                for text, (cu, ca) in zip(units, timed, strict=True)
            ]
            steps = [*emitted, *steps]
        blank: dict[str, Any] = {"generated_tokens": [], "deleted_tokens": []}
        talks.append(Talk(talk.name, talk.index, tuple({**blank, **step} for step in steps)))
    return RunLog(log.path, tuple(talks), log.digest, log.format, log.timed)


def write_clean(talks: Sequence[Talk], path: Path, unit: str) -> None:
    """Write ``talks`` as a log whose tokens hold no white space that the scorer would count differently."""
    with path.open("w", encoding="utf-8") as out:
        for talk in talks:
            out.write(json.dumps({"id": talk.index, "metadata": {"wav_name": f"{talk.name}.wav"}}) + "\n")
            for step in talk.steps:
                clean = {key: clean_tokens(step[key], unit) for key in ("generated_tokens", "deleted_tokens")}
                out.write(json.dumps({**step, "id": talk.index, **clean}, ensure_ascii=False) + "\n")


def has_odd_space(token: str) -> bool:
    """Whether a token holds white space other than plain spaces."""
    return any(char.isspace() and char != " " for char in token)


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
