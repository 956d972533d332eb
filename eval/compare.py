"""Several scored runs in one table, fastest first, and what their differences are worth: ``alignatt compare DIR…``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import UserError
from agent.run.folder import SCORES, read
from eval import table
from eval.scoring.bootstrap import FEW_TALKS, METRICS, Comparison, RunStatistics, Unit, compare_runs
from eval.scoring.segments import read_segments
from eval.scoring.signature import fields_of

SAME = {
    "omnisteval": "another version of OmniSTEval",
    "sacrebleu": "another version of sacreBLEU",
    "unit": "another unit",
    "bleu": "another tokeniser of BLEU",
    "refs": "other references or segmentation",
}
"""Signature fields that must be equal for two figures to be comparable, and what it is called when they are not."""
EXAMPLE_WORDS = 7
"""Sentences that are shown have at least so many words."""
LABELS = {"bleu": "BLEU", "chrf": "chrF", "comet": "COMET", "cu_ms": "CU ms", "ca_ms": "CA ms"}
DIGITS = {"bleu": 2, "chrf": 2, "comet": 4, "cu_ms": 0, "ca_ms": 0}


@dataclass(frozen=True)
class ScoredRun:
    """A run folder with the tree of its scores.json."""

    name: str
    folder: Path
    scores: dict[str, Any]


def open_runs(folders: Sequence[Path]) -> list[ScoredRun]:
    """The runs by CU-LongYAAL, those without one last; UserError for a folder that has not been scored."""
    runs = []
    for folder, name in zip(folders, run_names(folders), strict=True):
        scores = read(folder, SCORES)
        if not scores:
            raise UserError(f"{folder} has no {SCORES}: run `alignatt score {folder}` first.")
        runs.append(ScoredRun(name, folder, scores))
    latency = {run.name: run.scores["cu_long_yaal_ms"] for run in runs}
    return sorted(runs, key=lambda run: (latency[run.name] is None, latency[run.name] or 0.0, run.name))


def run_names(folders: Sequence[Path]) -> list[str]:
    """Names of the folders, with as many of their parents as it takes to tell them apart; UserError for one twice."""
    paths = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder, path in zip(folders, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise UserError(f"{twice[0]} is given twice.")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]


def judges(runs: Sequence[ScoredRun]) -> list[str]:
    """COMET models that scored any of the runs. Scores of different ones cannot be compared."""
    return list(dict.fromkeys(str(run.scores["comet"]["model"]) for run in runs if run.scores.get("comet")))


def difference(run: ScoredRun, base: ScoredRun) -> str:
    """Why the figures of two runs cannot be compared; empty when they can."""
    given, wanted = (fields_of(one.scores["signature"]) for one in (run, base))
    unequal = {key: what for key, what in SAME.items() if given.get(key) != wanted.get(key)}
    found = [f"{what} ({given.get(key)}, not {wanted.get(key)})" for key, what in unequal.items()]
    if "refs" in unequal and set(run.scores["talks"]) != set(base.scores["talks"]):
        found[-1] = f"other talks ({len(run.scores['talks'])}, not the {len(base.scores['talks'])})"
    return ", ".join(found)


def paired_test(
    runs: Sequence[ScoredRun], baseline: Path | None = None, unit: Unit | None = None
) -> tuple[Comparison, dict[str, str]]:
    """Paired bootstrap of the runs against ``baseline`` (default: the first), and the runs left out with the reason.

    UserError when the baseline is none of the runs or cannot be read.
    """
    base = runs[0]
    if baseline is not None:
        found = [run for run in runs if run.folder.resolve() == baseline.resolve()]
        if not found:
            raise UserError(f"The baseline {baseline} is not among the runs: {', '.join(run.name for run in runs)}.")
        base = found[0]
    segments = {base.name: read_segments(base.folder, base.scores["signature"])}
    left_out = {}
    for run in (run for run in runs if run is not base):
        try:
            if why := difference(run, base):
                raise UserError(why)
            segments[run.name] = read_segments(run.folder, run.scores["signature"])
        except UserError as error:
            left_out[run.name] = str(error)
    comet = len(judges([run for run in runs if run.name in segments])) == 1
    statistics = {name: RunStatistics.of(rows, comet) for name, rows in segments.items()}
    return compare_runs(statistics, base.name, unit), left_out


def show(runs: Sequence[ScoredRun]) -> None:
    """Print the table, then each distinct offline figure that no listed run has itself."""
    rows = [table.row(run.name, run.scores) for run in runs]
    own = {(run.scores["bleu"], run.scores["chrf"]) for run in runs if run.scores.get("policy") == "offline"}
    offline = {(r.scores["offline"]["bleu"], r.scores["offline"]["chrf"]) for r in runs if r.scores.get("offline")}
    rows += [table.offline_row({"bleu": bleu, "chrf": chrf}) for bleu, chrf in sorted(offline - own)]
    table.show(rows, [run.scores["signature"] for run in runs])
    if judges(runs):
        print(f"COMET: {', '.join(judges(runs))}")


def show_examples(runs: Sequence[ScoredRun], n: int) -> None:
    """Print the first ``n`` longer sentences of the first run: source, what each run said, reference."""
    said = {
        run.name: {(segment.talk, segment.offset_s, segment.reference): segment for segment in segments}
        for run in runs
        for segments in [read_segments(run.folder, run.scores["signature"])]
    }
    texts = {key: segment.source or segment.reference for key, segment in said[runs[0].name].items()}
    longer = [key for key, text in texts.items() if len(text.split()) >= EXAMPLE_WORDS or " " not in text]
    for key in longer[:n]:
        talk, offset_s, reference = key
        outputs = [(name, segments[key].prediction) for name, segments in said.items() if key in segments]
        lines = [("source", texts[key]), *outputs, ("reference", reference)]
        width = max(len(name) for name, _ in lines)
        print(f"\n{talk}, {offset_s:.1f} s", *(f"  {name:<{width}}  {text}" for name, text in lines), sep="\n")


def show_test(comparison: Comparison) -> None:
    """Print values, intervals, differences and p-values, metric by metric."""
    header = ("metric", "run", "value", "95 % interval", "difference", "95 % interval", "p")
    body = []
    for metric in METRICS:
        digits = DIGITS[metric]
        for name, scores in comparison.scores.items():
            if metric not in scores:
                continue
            score, difference = scores[metric], comparison.differences.get(name, {}).get(metric)
            cells = [
                LABELS[metric],
                name,
                f"{score.value:.{digits}f}",
                f"{score.low:.{digits}f} – {score.high:.{digits}f}",
            ]
            if difference is None:
                body.append([*cells, "–", "–", "–"])
            else:
                span = f"{difference.low:+.{digits}f} – {difference.high:+.{digits}f}"
                body.append([*cells, f"{difference.value:+.{digits}f}", span, p_text(difference.p_value)])
    print(
        f"\nPaired bootstrap over {comparison.n_units} {comparison.unit}, {comparison.n_resamples} resamples, ", end=""
    )
    print(f"seed {comparison.seed}; differences to {comparison.baseline}, two-sided p, not corrected for their number.")
    if comparison.unit == "talks" and comparison.n_units < FEW_TALKS:
        print(f"With fewer than {FEW_TALKS} talks these intervals are too narrow; see --resample segments.")
    if comparison.unit == "segments":
        print("Segments of one talk are not independent: intervals over segments are somewhat too narrow.")
    print("\n".join(table.plain(header, body)))


def p_text(p_value: float | None) -> str:
    """Three decimals, or ``<0.001``."""
    if p_value is None:
        return "–"
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
