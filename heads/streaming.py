"""How many heads streaming wants: ``python -m heads.streaming --target de --talks … --references … --sets NAME=FILE``.

The same recorded hypotheses are translated with the best 1, 2, 4, 8 and all heads and with the selected heads of given
sets, each at several margins. Every draft is made once, with the rows of all heads. Differences from the single best
head at the same margin have intervals (paired bootstrap).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from agent.mt.drafter import Draft, DraftRequest, Head
from agent.mt.hf import HFDrafter
from eval.bootstrap import RunStatistics, compare_runs
from eval.policies import Cell, Models, record, run_cell
from eval.score import Options

MARGINS = (1, 2, 3)
TOP_K = (1, 2, 4, 8, 0)
"""Best heads by TS; 0 stands for all that the set scores."""
CHUNK_S = 0.5
MAX_DRAFT_TOKENS = 10


@dataclass
class AllHeads(Models):
    """Drafts carry the rows of every head of the model; a request gets those it names."""

    _every: tuple[Head, ...] = field(default=())

    def draft(self, request: DraftRequest) -> Draft:
        """As the drafter behind it."""
        assert isinstance(self._drafter, HFDrafter)
        if not self._every:
            config = self._drafter.model.config.get_text_config()
            layers, heads = range(config.num_hidden_layers), range(config.num_attention_heads)
            self._every = tuple(Head(layer, head) for layer in layers for head in heads)
        # Whole drafts: when one may end early depends on the rows of the heads chosen.
        everything = replace(request, heads=self._every, row_convention=self._convention, guess_ids=(), stop=None)
        key = replace(everything, stream="")
        if key not in self._seen:
            self._seen[key] = self._drafter.draft(everything)
        draft = self._seen[key]
        return replace(draft, rows=draft.rows[[self._every.index(head) for head in request.heads]])


def variants(target: str, sets: Mapping[str, str], n_heads: int) -> dict[str, dict[str, Any]]:
    """Keys of each choice of heads, by name."""
    found: dict[str, dict[str, Any]] = {f"top-{k}" if k else "all": {"mt.n_heads": k or n_heads} for k in TOP_K}
    return found | {name: {"mt.head_set": path.replace("{tgt}", target)} for name, path in sets.items()}


def at_latency(curve: Sequence[tuple[float, float]], cu_ms: float) -> float:
    """BLEU at ``cu_ms`` on the line through (CU ms, BLEU) points; NaN outside them."""
    points = sorted(curve)
    if not points[0][0] <= cu_ms <= points[-1][0]:
        return float("nan")
    return float(np.interp(cu_ms, [x for x, _ in points], [y for _, y in points]))


def show(results: Sequence[Mapping[str, Any]], target: str) -> None:
    """Print BLEU @ CU by choice and margin, and BLEU at the latency in the middle of what all choices reach."""
    curves = {r["heads"]: [(q["cu_ms"], q["bleu"]) for q in results if q["heads"] == r["heads"]] for r in results}
    low = max(min(x for x, _ in curve) for curve in curves.values())
    high = min(max(x for x, _ in curve) for curve in curves.values())
    middle = (low + high) / 2
    table = Table(title=f"en-{target}: BLEU @ CU-LongYAAL ms, chunk {CHUNK_S} s")
    table.add_column("heads")
    margins = list(dict.fromkeys(r["keys"]["policy.margin_words"] for r in results))
    for margin in margins:
        table.add_column(f"margin {margin}", justify="right")
    table.add_column(f"BLEU at {middle:.0f} ms", justify="right")
    for name, curve in curves.items():
        table.add_row(name, *(f"{y:.2f} @ {x:.0f}" for x, y in curve), f"{at_latency(curve, middle):.2f}")
    Console(width=140).print(table)


def behind_best(runs: Mapping[str, RunStatistics]) -> dict[str, dict[str, dict[str, Any]]]:
    """For each choice but the first: BLEU and CU-LongYAAL minus the first's, each with interval and p-value."""
    differences = compare_runs(runs, next(iter(runs))).differences
    return {name: {metric: vars(of[metric]) for metric in ("bleu", "cu_ms")} for name, of in differences.items()}


def show_differences(results: Sequence[Mapping[str, Any]]) -> None:
    """Print BLEU of every choice minus that of the first, by margin."""
    for row in results:
        if "minus_first" in row:
            margin, bleu = row["keys"]["policy.margin_words"], row["minus_first"]["bleu"]
            interval = f"{bleu['low']:+.2f} … {bleu['high']:+.2f}"
            print(f"margin {margin}: {row['heads']} {bleu['value']:+.2f} BLEU ({interval}), p {bleu['p_value']:.3f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="de")
    parser.add_argument("--talks", nargs="+", type=Path, required=True, help="audio files")
    parser.add_argument("--references", type=Path, required=True, help="folder with audio-segments.yaml and ref.*.txt")
    parser.add_argument("--recordings", type=Path, default=Path("out/recordings"))
    parser.add_argument("--sets", nargs="*", default=[], metavar="NAME=FILE", help="head sets; {tgt} is replaced")
    parser.add_argument("--margins", nargs="+", type=int, default=list(MARGINS), metavar="WORDS")
    parser.add_argument("--n-heads", type=int, default=24, help="heads of the model (default: 24)")
    parser.add_argument("--output", type=Path, help="results file (JSON)")
    arguments = parser.parse_args()
    recordings = record(arguments.talks, CHUNK_S, arguments.recordings)
    options = Options(
        segments=arguments.references / "audio-segments.yaml",
        references=arguments.references,
        talks=tuple(talk.stem for talk in arguments.talks),
    )
    choices = variants(arguments.target, dict(item.split("=", 1) for item in arguments.sets), arguments.n_heads)
    models, results = AllHeads(), []
    # Choices share most drafts at the same margin: the margin is the outer loop.
    for margin in arguments.margins:
        runs: dict[str, RunStatistics] = {}
        for name, keys in tqdm(choices.items(), unit="choice", desc=f"margin {margin}"):
            keys_here = {**keys, "policy.margin_words": margin, "mt.max_draft_tokens": MAX_DRAFT_TOKENS}
            cell = Cell("alignatt", CHUNK_S, keys_here)
            figures, runs[name] = run_cell(cell, arguments.target, models, recordings, options)
            results.append({"heads": name, **figures})
        differences = behind_best(runs)
        for row in results[-len(runs) :]:
            row.update({"minus_first": differences[row["heads"]]} if row["heads"] in differences else {})
        if arguments.output:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results, arguments.target)
    show_differences(results)


if __name__ == "__main__":
    main()
