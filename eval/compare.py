"""Several scored runs in one table, fastest first: what ``alignatt compare DIR…`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.errors import UserError
from eval import table
from eval.score import read_scores


def compare(folders: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    """(name, scores.json) of each folder by CU-LongYAAL; UserError for a folder that has not been scored."""
    runs = []
    for folder in folders:
        scores = read_scores(folder)
        if scores is None:
            raise UserError(f"{folder} has no scores.json: run `alignatt score {folder}` first.")
        runs.append((folder.resolve().name, scores))
    return sorted(runs, key=lambda run: (run[1]["cu_long_yaal_ms"] is None, run[1]["cu_long_yaal_ms"] or 0.0, run[0]))


def show(runs: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Print the table, then each distinct offline figure that no listed run has itself."""
    rows = [table.row(name, scores) for name, scores in runs]
    own = {(scores["bleu"], scores["chrf"]) for _, scores in runs if scores.get("policy") == "offline"}
    offline = {(s["offline"]["bleu"], s["offline"]["chrf"]) for _, s in runs if s.get("offline")} - own
    rows += [table.offline_row({"bleu": bleu, "chrf": chrf}) for bleu, chrf in sorted(offline)]
    table.show(rows, [scores["signature"] for _, scores in runs])
