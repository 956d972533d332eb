"""Everything the page shows, gathered from run folders: scores, intervals, per-talk figures, errors, replays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.run.folder import CONFIG, MANIFEST, TRACE, read, read_trace
from eval.compare import SAME, ScoredRun, judges, open_runs
from eval.inputs.log import read_log
from eval.report.budget import Budget, budget
from eval.report.plots import COLOURS, MARKERS, Point
from eval.report.replay import Replay, from_log, from_trace
from eval.score import find_log
from eval.scoring.bootstrap import Comparison, Interval, RunStatistics, compare_runs
from eval.scoring.comet import MODEL as XCOMET_XL
from eval.scoring.segments import Segment, read_segments
from eval.scoring.signature import fields_of, group

ANCHORS = Path(__file__).parent / "anchors.json"
N_ERRORS = 15
"""Worst segments listed per run."""
SHORT_REFERENCE = 3
"""Segments with fewer reference words or characters are left out of the error list: one miss is all there is to see."""


@dataclass(frozen=True)
class Run:
    """One run with everything the page says about it."""

    scored: ScoredRun
    config: dict[str, Any]
    manifest: dict[str, Any]
    segments: tuple[Segment, ...]
    replays: tuple[Replay, ...]
    budget: Budget | None
    colour: str
    marker: str

    @property
    def name(self) -> str:
        """As in the tables."""
        return self.scored.name

    @property
    def scores(self) -> dict[str, Any]:
        """The tree of scores.json."""
        return self.scored.scores


@dataclass(frozen=True)
class Group:
    """Runs scored alike on the same references, the first given one being the baseline of the tests."""

    direction: str
    runs: tuple[Run, ...]
    comparison: Comparison

    @property
    def comet(self) -> str:
        """Heading of the column of COMET scores, empty when no run has one."""
        models = judges([run.scored for run in self.runs])
        if not models:
            return ""
        return "XCOMET-XL" if all(model.startswith(f"{XCOMET_XL}@") for model in models) else "COMET"

    @property
    def anchors(self) -> list[dict[str, Any]]:
        """Published results of this direction if the runs are on their test set, else none."""
        published = read_anchors()
        talks = "\n".join(sorted(self.runs[0].scores["talks"]))
        if hashlib.sha256(talks.encode()).hexdigest() != published["talks_sha256"]:
            return []
        return [row for row in published["rows"] if row["direction"] == self.direction]


def read_anchors() -> dict[str, Any]:
    """Published results with their sources."""
    tree: dict[str, Any] = json.loads(ANCHORS.read_text(encoding="utf-8"))
    return tree


def gather(folders: Sequence[Path]) -> list[Group]:
    """The runs by group, in the order given; UserError for a folder that has not been scored."""
    opened = {run.folder: run for run in open_runs(folders)}
    grouped: dict[tuple[str, ...], list[ScoredRun]] = {}
    for folder in folders:
        run = opened[folder]
        fields = fields_of(run.scores["signature"])
        key = (run.scores["direction"], *(fields.get(name, "") for name in SAME))
        grouped.setdefault(key, []).append(run)
    groups = []
    for key, scored in grouped.items():
        runs = tuple(open_run(run, index) for index, run in enumerate(scored))
        comet = len(judges(scored)) == 1
        statistics = {run.name: RunStatistics.of(run.segments, comet) for run in runs}
        groups.append(Group(key[0], runs, compare_runs(statistics, runs[0].name)))
    return groups


def open_run(scored: ScoredRun, index: int) -> Run:
    """Read what lies beside the scores; ``index`` chooses colour and marker."""
    log_path = scored.folder / scored.scores["log"] if scored.scores.get("log") else find_log(scored.folder)
    folder = log_path.parent
    config = read(folder, CONFIG)
    segments = read_segments(scored.folder, scored.scores["signature"])
    replays = tuple(_replays(folder / TRACE, log_path, scored.scores, config, segments))
    return Run(
        scored,
        config,
        read(folder, MANIFEST),
        segments,
        replays,
        budget([replay for replay in replays if replay.traced]),
        COLOURS[index % len(COLOURS)],
        MARKERS[index % len(MARKERS)],
    )


def points(group: Group, metric: str) -> list[Point]:
    """Plot points of a group's runs and anchors. ``metric``: ``bleu`` or ``chrf``."""
    found = []
    for run in group.runs:
        intervals = group.comparison.scores[run.name]
        if "cu_ms" not in intervals:
            continue
        cu_s = intervals["cu_ms"].scaled(0.001)
        ca_s = intervals["ca_ms"].value / 1000 if "ca_ms" in intervals else None
        found.append(Point(run.name, run.colour, run.marker, intervals[metric], cu_s, ca_s))
    for row in group.anchors:
        if row["cu_s"] is None or row[metric] is None:
            continue
        name = f"{row['system']} {row['setting']}"
        quality, cu_s = (Interval(value, value, value) for value in (row[metric], row["cu_s"]))
        found.append(Point(name, COLOURS[-1], "D", quality, cu_s, row["ca_s"], published=True))
    return found


def per_talk(group: Group) -> list[dict[str, Any]]:
    """A row for each talk: BLEU, chrF, CU and CA of each run on that talk alone."""
    statistics = {run.name: RunStatistics.of(run.segments) for run in group.runs}
    talks = statistics[group.runs[0].name].talks
    rows = []
    for talk in dict.fromkeys(talks):
        keep = np.array([name == talk for name in talks])
        values = {}
        for name, run in statistics.items():
            part = RunStatistics((talk,) * int(keep.sum()), {key: rows[keep] for key, rows in run.counts.items()})
            values[name] = {metric: part.value(metric) for metric in part.counts}
        rows.append({"talk": talk, "n_segments": int(keep.sum()), "values": values})
    return rows


def worst(run: Run) -> list[dict[str, Any]]:
    """Segments of the lowest chrF, worst first."""
    scored = []
    for index, segment in enumerate(run.segments):
        if len(segment.reference.split()) < SHORT_REFERENCE and len(segment.reference) < 2 * SHORT_REFERENCE:
            continue
        counts = np.array([segment.chrf], dtype=np.float64)
        chrf = RunStatistics((segment.talk,), {"chrf": counts}).value("chrf")
        scored.append((chrf, index, segment))
    return [
        {
            "talk": segment.talk,
            "start_s": segment.offset_s,
            "end_s": segment.offset_s + segment.duration_s,
            "source": segment.source,
            "reference": segment.reference,
            "output": segment.prediction,
            "chrf": chrf,
            "comet": segment.comet,
            "cu_s": None if segment.cu_ms is None else segment.cu_ms / 1000,
        }
        for chrf, _, segment in sorted(scored, key=lambda item: item[:2])[:N_ERRORS]
    ]


def settings_of(run: Run) -> list[tuple[str, str]]:
    """What a reader wants to know of the configuration, flattened."""
    shown = [("chunk", f"{run.config['speech_chunk_size']} s")] if "speech_chunk_size" in run.config else []
    for name in ("policy", "session", "asr", "mt"):
        for key, value in group(run.config, name).items():
            if isinstance(value, (str, int, float, bool)) and value != "":
                shown.append((f"{name}.{key}", str(value)))
    return shown


def _replays(
    trace: Path, log_path: Path, scores: dict[str, Any], config: dict[str, Any], segments: Sequence[Segment]
) -> list[Replay]:
    log = read_log(log_path)
    streams = read_trace(trace) if trace.is_file() else {}
    n_context = int(group(config, "session").get("context_sentences", 1))
    language = scores["direction"].rpartition("-")[2]
    replays = []
    for talk in log.pick(scores["talks"]):
        if talk.index in streams:
            replays.append(from_trace(talk.name, streams[talk.index], n_context))
        else:
            own = [segment for segment in segments if segment.talk == talk.name]
            replays.append(from_log(talk, language, own))
    return replays
