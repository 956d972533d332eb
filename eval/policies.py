"""Acceptance policies on identical input: ``python -m eval.policies --target de --talks … --references …``.

The recogniser runs once per chunk length and is recorded; every policy then translates the recorded hypotheses with the
same model, and each run is scored like any other. Several settings a policy give its quality-latency curve.
``--choose`` names a results file of other talks: each policy is then run only with the setting that was best there, and
tested against ``alignatt`` at the same regime by a paired bootstrap.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from agent import stages, trace
from agent.asr import build_recognizer
from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.record import SUFFIX, Recording, read_recording
from agent.audio import decode
from agent.config import AgentConfig, from_namespace, load, preset_path, set_key, to_dict
from agent.models import ModelCache
from agent.mt.drafter import Draft, Drafter, DraftRequest, Head, RowConvention
from agent.mt.translator import Translator
from agent.mt.units import surface_tokens
from agent.session import Session
from agent.trace import TraceWriter
from eval.bootstrap import RunStatistics, compare_runs
from eval.score import REGIME_LIMIT_MS, Options, score, write_atomically
from eval.segments import read_segments

CHUNKS_S = (0.5, 1.0)
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "alignatt": [
        {
            "policy.margin_words": margin,
            "policy.confirmations": confirmations,
            "session.min_stability": stability,
            "session.hold_back_s": hold_back_s,
        }
        for margin, confirmations, stability, hold_back_s in (
            *((0, 0, 2, 0.0), (3, 0, 2, 0.0), (4, 0, 2, 0.0)),
            *((3, 1, 1, 0.0), (2, 2, 1, 0.0), (0, 0, 2, 1.5)),
        )
    ],
    "paper": [
        {"session.hold_back_s": hold_back_s, "policy.margin_tokens": margin}
        for hold_back_s, margin in ((0.0, 1), (0.25, 1), (0.5, 0), (1.0, 0), (1.5, 0), (2.0, 0))
    ],
    "local-agreement": [{"policy.agree": agree} for agree in (2, 3, 4, 5, 6, 7)],
    "wait-k": [{"policy.k": k} for k in (1, 2, 3, 4, 6, 8)],
    "cut-last": [{"policy.cut_words": words} for words in (1, 2, 3, 4, 5, 6)],
    "offline": [{}],
}
"""Six settings of each policy, from eager to patient: the same number for all."""
UNITS_PER_WORD = {"de": 1.0, "it": 1.0, "zh": 1.6}
"""Target units (words, Chinese characters) per English word, for wait-k."""
EQUAL_MS = 25.0
"""So much later than `alignatt` still counts as equal latency."""
POINTS = ("low", "low =", "high", "high =")
"""The best of each policy within a regime; and ``=``, the best of each that is no later than `alignatt` there."""


@dataclass(frozen=True)
class Cell:
    """One setting of one policy."""

    policy: str
    chunk_s: float
    keys: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``alignatt margin_words=2 chunk=0.85``."""
        keys = [f"{key.split('.')[1]}={value}" for key, value in self.keys.items()]
        return " ".join([self.policy, *keys, f"chunk={self.chunk_s}"])

    def config(self, target: str) -> AgentConfig:
        """The full configuration: the defaults, not a preset, with this cell's keys."""
        tree: dict[str, Any] = {"target_lang": target, "speech_chunk_size": self.chunk_s}
        set_key(tree, "policy.name", self.policy)
        for key, value in self.keys.items():
            set_key(tree, key, value)
        if self.policy == "wait-k":
            set_key(tree, "policy.units_per_word", UNITS_PER_WORD[target])
        return from_namespace(tree)


def grid(policies: Sequence[str], chunks_s: Sequence[float]) -> list[Cell]:
    """Every setting of the named policies at every chunk length; ``offline`` once."""
    cells = [Cell(p, c, keys) for p in policies for keys in SETTINGS[p] for c in chunks_s if p != "offline"]
    return cells + [Cell("offline", chunks_s[0], {})] * ("offline" in policies)


def record(talks: Sequence[Path], chunk_s: float, folder: Path) -> dict[str, Recording]:
    """Recorded hypotheses of each talk at a chunk length, made unless they are in ``folder`` already."""
    config = load(preset_path("ende-low"), {"speech_chunk_size": chunk_s})
    return {talk.stem: record_talk(talk, config, folder / f"{talk.stem}-{chunk_s}{SUFFIX}") for talk in talks}


def record_talk(talk: Path, config: AgentConfig, kept: Path) -> Recording:
    """What the configuration's recogniser hears in a talk, chunk by chunk; made unless the file ``kept`` is there."""
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            recognizer = build_recognizer(replace(config, record_asr=scratch))
            samples = (decode(talk) / 32768.0).astype(np.float32)
            step = int(config.speech_chunk_size * SAMPLE_RATE_HZ)
            for start in range(0, len(samples), step):
                recognizer.push(samples[start : start + step])
            recognizer.flush()
            recognizer.reset()
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, next(Path(scratch).glob(f"*{SUFFIX}")).read_text(encoding="utf-8"))
    return read_recording(kept)


@dataclass
class Models:
    """Translators of one direction whose drafts are remembered: settings share many sources and accepted prefixes.

    Requests for no rows are asked with the head set's rows, so that they are the same as those of `alignatt`. Without
    ``remember`` every draft is computed, as times of computation want it.
    """

    remember: bool = True
    loaded: ModelCache = field(default_factory=ModelCache)
    _seen: dict[DraftRequest, Draft] = field(default_factory=dict)
    _heads: tuple[Head, ...] = ()
    _convention: RowConvention = "predicting"
    _drafter: Drafter | None = None

    def translator(self, config: AgentConfig) -> Translator:
        """The translator of a configuration, drafting through this memory."""
        if not self.remember:
            return self.loaded.translator(config, config.source_lang, config.target_lang)
        aligning = replace(config, policy=replace(config.policy, name="alignatt"))
        reference = self.loaded.translator(aligning, config.source_lang, config.target_lang)
        assert reference.selection is not None
        self._heads, self._convention = reference.selection.heads, reference.selection.convention
        self._drafter = reference.drafter
        return replace(self.loaded.translator(config, config.source_lang, config.target_lang), drafter=self)

    def draft(self, request: DraftRequest) -> Draft:
        """As the drafter behind it."""
        assert self._drafter is not None
        if not request.heads:
            request = replace(request, heads=self._heads, row_convention=self._convention)
        # Whole drafts, of which every setting takes what it would have asked for.
        request = replace(request, guess_ids=(), stop=None)
        key = replace(request, stream="")
        if key not in self._seen:
            self._seen[key] = self._drafter.draft(request)
        return self._seen[key]

    def forget(self, stream: str) -> None:
        """As the drafter behind it; what was drafted stays known."""
        if self._drafter is not None:
            self._drafter.forget(stream)


def translate(
    config: AgentConfig, models: Models, recordings: Mapping[str, Recording], tracer: TraceWriter | None = None
) -> Iterator[dict[str, Any]]:
    """Lines of a simulstream log: every recorded stream through a session of its own. ``tracer`` gets each step."""
    translator = models.translator(config)
    yield {"model_loading_time": 0.0}
    for number, (name, recording) in enumerate(recordings.items()):
        session = Session(translator, config.session, f"policies-{number}")
        yield {"id": number, "metadata": {"wav_name": f"{name}.wav"}}
        n_samples = 0
        for index, step in enumerate(recording.steps):
            n_samples += step.n_samples
            heard = [(step.hypothesis, step.n_samples / SAMPLE_RATE_HZ)]
            heard += [(recording.final, 0.0)] if index == len(recording.steps) - 1 else []
            text, computation_s = "", 0.0
            for hypothesis, audio_s in heard:
                with stages.measure() as timer:
                    records = session.step(hypothesis)
                computation_s += timer.total_s
                text += "".join(record.accepted for record in records)
                if tracer:
                    tracer.write(trace.step(number, hypothesis, records, config.target_lang, 0.0, audio_s, timer))
            yield {
                "id": number,
                "total_audio_processed": n_samples / SAMPLE_RATE_HZ,
                "computation_time": computation_s,
                "generated_tokens": [token for token in surface_tokens(text, config.target_lang) if token],
                "deleted_tokens": [],
            }
        session.close()


def run_cell(
    cell: Cell, target: str, models: Models, recordings: Mapping[str, Recording], options: Options
) -> tuple[dict[str, Any], RunStatistics]:
    """Translate and score one setting; the figures, and what a bootstrap needs."""
    config = cell.config(target)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config), sort_keys=False), encoding="utf-8")
        with (folder / "simulstream.jsonl").open("w", encoding="utf-8") as log:
            for line in translate(config, models, recordings):
                log.write(json.dumps(line, ensure_ascii=False) + "\n")
        scores, _ = score(folder, options)
        statistics = RunStatistics.of(read_segments(folder, scores.signature))
    figures = {
        "policy": cell.policy,
        "name": cell.name,
        "chunk_s": cell.chunk_s,
        "keys": dict(cell.keys),
        "bleu": scores.bleu,
        "chrf": scores.chrf,
        "cu_ms": scores.cu_long_yaal_ms,
    }
    return figures, statistics


def behind_alignatt(
    points: Mapping[str, Sequence[tuple[str, str]]], statistics: Mapping[str, RunStatistics]
) -> Iterator[dict[str, Any]]:
    """At each point, each policy's BLEU and CU-LongYAAL minus those of ``alignatt``, with interval and p-value.

    ``points``: by setting, the (point, policy) pairs it was chosen for.
    """
    for point in POINTS:
        names = {policy: name for name, chosen in points.items() for p, policy in chosen if p == point}
        if "alignatt" not in names:
            continue
        runs = {policy: statistics[name] for policy, name in names.items()}
        comparison = compare_runs(runs, "alignatt")
        for policy, differences in comparison.differences.items():
            for metric in ("bleu", "cu_ms"):
                interval = differences[metric]
                yield {"point": point, "policy": policy, "metric": metric, "by": comparison.unit, **vars(interval)}


def winners(
    results: Sequence[Mapping[str, Any]], limits_ms: Mapping[str, float]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Per (regime, policy) the best BLEU within the regime's limit; the fastest setting where none is within it."""
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for regime, limit in limits_ms.items():
        for policy in dict.fromkeys(r["policy"] for r in results if r["policy"] != "offline"):
            mine = [r for r in results if r["policy"] == policy]
            within = [r for r in mine if r["cu_ms"] <= limit]
            best[regime, policy] = (
                max(within, key=lambda r: r["bleu"]) if within else min(mine, key=lambda r: r["cu_ms"])
            )
    return best


def choose(
    results: Sequence[Mapping[str, Any]], limits_ms: Mapping[str, float]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """`winners` within each regime's limit, and at equal latency: no later than the regime's ``alignatt``."""
    chosen = winners(results, limits_ms)
    equal = {f"{r} =": chosen[r, "alignatt"]["cu_ms"] + EQUAL_MS for r in limits_ms if (r, "alignatt") in chosen}
    at_equal = winners(results, equal)
    # The same `alignatt` row: a setting a few milliseconds later is not let in for it.
    return chosen | at_equal | {(point, "alignatt"): chosen[point.split()[0], "alignatt"] for point in equal}


def show(rows: Sequence[tuple[str, Mapping[str, Any]]], offline_bleu: float | None) -> None:
    """Print results, fastest first within each group."""
    table = Table()
    for column in ("point", "setting", "BLEU", "of offline", "chrF", "CU-LongYAAL ms"):
        table.add_column(column, justify="left" if column in ("point", "setting") else "right")
    for point, row in rows:
        share = f"{row['bleu'] / offline_bleu:.1%}" if offline_bleu else "-"
        latency = f"{row['cu_ms']:.0f}" if row["cu_ms"] is not None else "-"
        table.add_row(point, row["name"], f"{row['bleu']:.2f}", share, f"{row['chrf']:.2f}", latency)
    Console(width=140).print(table)


def show_differences(tested: Sequence[Mapping[str, Any]]) -> None:
    """Print what `behind_alignatt` found; nothing where nothing was tested."""
    if not tested:
        return
    table = Table(title=f"minus alignatt, paired bootstrap over {tested[0]['by']}")
    for column in ("point", "policy", "metric", "difference", "95 % interval", "p"):
        table.add_column(column, justify="left" if column in ("point", "policy", "metric") else "right")
    for row in tested:
        interval = f"{row['low']:+.2f} … {row['high']:+.2f}"
        cells = (row["point"], row["policy"], row["metric"], f"{row['value']:+.2f}", interval, f"{row['p_value']:.3f}")
        table.add_row(*cells)
    Console(width=140).print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=sorted(UNITS_PER_WORD), default="de")
    parser.add_argument("--talks", nargs="+", type=Path, required=True, help="audio files")
    parser.add_argument("--references", type=Path, required=True, help="folder with audio-segments.yaml and ref.*.txt")
    parser.add_argument("--recordings", type=Path, default=Path("out/recordings"))
    parser.add_argument("--policies", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--chunks", nargs="+", type=float, default=list(CHUNKS_S), metavar="SECONDS")
    parser.add_argument("--slack-ms", type=float, default=100.0, help="kept below a regime's limit when choosing")
    parser.add_argument("--choose", type=Path, help="results of other talks to choose settings from")
    parser.add_argument("--output", type=Path, help="results file (JSON)")
    arguments = parser.parse_args()
    limits = {name: limit - arguments.slack_ms for name, limit in REGIME_LIMIT_MS.items()}
    points: dict[str, list[tuple[str, str]]] = {}
    cells = grid(arguments.policies, arguments.chunks)
    if arguments.choose:
        chosen = choose(json.loads(arguments.choose.read_text(encoding="utf-8")), limits)
        cells = [Cell("offline", arguments.chunks[0], {})]
        for (point, policy), row in chosen.items():
            cell = Cell(policy, row["chunk_s"], row["keys"])
            points.setdefault(cell.name, []).append((point, policy))
            cells += [cell] if cell not in cells else []
    recordings = {c: record(arguments.talks, c, arguments.recordings) for c in sorted({x.chunk_s for x in cells})}
    options = Options(
        segments=arguments.references / "audio-segments.yaml",
        references=arguments.references,
        talks=tuple(talk.stem for talk in arguments.talks),
    )
    models, results, statistics = Models(), [], {}
    for cell in tqdm(cells, unit="setting"):
        figures, statistics[cell.name] = run_cell(cell, arguments.target, models, recordings[cell.chunk_s], options)
        results.append(figures)
        if arguments.output:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    offline = next((row["bleu"] for row in results if row["policy"] == "offline"), None)
    rows: list[tuple[str, Mapping[str, Any]]]
    if arguments.choose:
        rows = [(point, row) for row in results for point, _ in points.get(row["name"], [("", "")])]
        rows.sort(key=lambda item: (("", *POINTS).index(item[0]), -item[1]["bleu"]))
    else:
        best = winners(results, limits)
        rows = [(regime, best[regime, policy]) for regime, policy in best]
    show(rows, offline)
    tested = list(behind_alignatt(points, statistics))
    show_differences(tested)
    if arguments.output and tested:
        path = arguments.output.with_suffix(".tests.json")
        path.write_text(json.dumps(tested, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
