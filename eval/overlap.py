"""``alignatt overlap RUN``: what `agent.overlap` would gain, computed from the stage times of a run.

A run's trace says how long the stages of every chunk took. Two schedules are laid over the clock of a live stream, in
which a chunk arrives when it has been spoken: one stage after the other, and the first draft beside the aligner. Unlike
simulstream's own CA, both let a late chunk delay the next.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.errors import UserError
from eval import table
from eval.inputs.log import LOG_NAME, Talk, write_clean
from eval.inputs.trace import read_trace
from eval.score import Options, Run, open_run, score
from eval.scoring.wer import TRACE_NAME

RECOGNITION = ("vad", "asr", "align")
DRAFTING = ("prefill", "decode", "replay")


@dataclass(frozen=True)
class Chunk:
    """Seconds: ``arrival_s`` on the clock of the audio, the rest durations.

    ``beside_s``: how much of the translation can be done while the aligner runs.
    """

    arrival_s: float
    recognition_s: float
    translation_s: float
    beside_s: float = 0.0


def in_turn(chunks: Sequence[Chunk]) -> list[tuple[int, float]]:
    """(chunk it comes with, when) for the text of each chunk, when each waits for the one before."""
    now_s, shown = 0.0, []
    for number, chunk in enumerate(chunks):
        now_s = max(now_s, chunk.arrival_s) + chunk.recognition_s + chunk.translation_s
        shown.append((number, now_s))
    return shown


def beside_aligner(chunks: Sequence[Chunk]) -> list[tuple[int, float]]:
    """The same with `agent.overlap.BesideAligner`."""
    return in_turn([replace(chunk, translation_s=chunk.translation_s - chunk.beside_s) for chunk in chunks])


def chunks_of(talk: Talk, trace: Sequence[dict[str, Any]], slower: float) -> list[Chunk]:
    """The chunks of a talk, computation ``slower`` times as long. UserError when trace and log do not fit."""
    n_steps = len(talk.steps)
    if len(trace) not in (n_steps, n_steps + 1):
        raise UserError(f"Talk {talk.name} has {n_steps} steps in the log and {len(trace)} in the trace.")
    found = []
    for number, step in enumerate(talk.steps):
        # simulstream logs the end of a stream together with its last chunk.
        lines = trace[number:] if number == n_steps - 1 else trace[number : number + 1]
        recognition_s = sum(line["stages_s"][name] for line in lines for name in RECOGNITION)
        translation_s = sum(sum(line["stages_s"].values()) for line in lines) - recognition_s
        arrival_s = float(step["total_audio_processed"])
        beside_s = slower * sum(map(_beside_s, lines))
        found.append(Chunk(arrival_s, slower * recognition_s, slower * translation_s, beside_s))
    return found


def _beside_s(line: dict[str, Any]) -> float:
    """Seconds of a step's first draft that fit beside its aligner; drafts of one step are taken to be equally long."""
    stages, n_drafts = line["stages_s"], sum(record.get("n_calls", 0) > 0 for record in line["steps"])
    return float(min(stages["align"], sum(stages[name] for name in DRAFTING) / max(1, n_drafts)))


def shifted(talk: Talk, shown: Sequence[tuple[int, float]]) -> Talk:
    """The talk's log when the text of each step comes with the chunk and at the time that ``shown`` says."""
    steps: list[dict[str, Any]] = [
        {**step, "generated_tokens": [], "deleted_tokens": [], "computation_time": 0.0} for step in talk.steps
    ]
    for step, (number, at_s) in zip(talk.steps, shown, strict=True):
        steps[number]["generated_tokens"] = [*steps[number]["generated_tokens"], *step["generated_tokens"]]
        steps[number]["computation_time"] = at_s - float(steps[number]["total_audio_processed"])
    return replace(talk, steps=tuple(steps))


def read_stages(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Lines of a run's trace by stream. UserError when there is none with stage times."""
    path = folder / TRACE_NAME
    if not path.is_file():
        raise UserError(f"{folder} has no {TRACE_NAME}: give the output folder of a run of this agent.")
    streams = read_trace(path)
    if any("stages_s" not in step for steps in streams.values() for step in steps):
        raise UserError(f"{path} says nothing about stages: run again with this version.")
    return streams


def simulate(run: Run, trace: dict[int, list[dict[str, Any]]], options: Options, slower: float) -> list[float]:
    """[RTF, then CU and CA for each schedule], CU and CA LongYAAL in ms."""
    chunks = {talk.name: chunks_of(talk, trace[talk.index], slower) for talk in run.talks}
    figures = []
    for schedule in (in_turn, beside_aligner):
        talks = [shifted(talk, schedule(chunks[talk.name])) for talk in run.talks]
        with tempfile.TemporaryDirectory() as scratch:
            log = Path(scratch, LOG_NAME)
            write_clean(talks, log, str(run.config.get("latency_unit", "word")))
            Path(scratch, "config.yaml").write_text(json.dumps(dict(run.config)), encoding="utf-8")
            scores, _ = score(Path(scratch), replace(options, offline=None))
        figures += [scores.cu_long_yaal_ms or 0.0, scores.ca_long_yaal_ms or 0.0]
    audio_s = sum(talk.audio_s for talk in run.talks)
    spent_s = sum(chunk.recognition_s + chunk.translation_s for talk in chunks.values() for chunk in talk)
    return [spent_s / audio_s, *figures]


def show(folder: Path, options: Options, factors: Sequence[float]) -> None:
    """Print one line per factor."""
    if min(factors) <= 0:
        raise UserError("--slower wants factors above 0.")
    run, trace = open_run(folder, options), read_stages(folder)
    if (kind := dict(run.config.get("session") or {}).get("overlap")) not in (None, False, "none"):
        raise UserError(f"{folder} was run with session.overlap={kind}: give a run without, whose stages took turns.")
    rows = []
    for slower in factors:
        rtf, cu, ca, _, ca_beside = simulate(run, trace, options, slower)
        rows.append([f"{slower:g}", "", f"{rtf:.2f}", *(f"{ms:.0f}" for ms in (cu, ca, ca_beside))])
    header = ["slower", "", "RTF", "CU", "CA", "CA aligner"]
    print("\n".join(table.plain(header, rows)))
