"""Head sets: which (layer, head) rows tell what source a target token comes from, for one model and direction.

A JSON file. ``scores`` maps each row convention to rows of ``columns``, best first: layer, head, TS (translation score,
see `heads.score`) and, where they were measured, its 95 % interval, the published definition of TS, and how well the
head tells units that are not yet heard. ``convention`` is the better of the two. ``selected`` names the heads that are
used, in the order in which they were chosen; without it they are the best ``k``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent import languages
from agent.errors import UserError
from agent.mt.drafter import Head, RowConvention
from agent.paths import resolve

SETS = Path(__file__).parents[1] / "head_sets"
FORMAT = 1
COLUMNS = ("layer", "head", "ts", "ts_low", "ts_high", "ts_published", "not_heard_auc")
"""What a row of ``scores`` holds; short rows have the first three."""


@dataclass(frozen=True)
class ScoredHead:
    """A head and its translation score in [0, 1]; NaN where something was not measured (see `COLUMNS`)."""

    head: Head
    score: float
    low: float = math.nan
    high: float = math.nan
    published: float = math.nan
    not_heard: float = math.nan


@dataclass(frozen=True)
class Selection:
    """Heads to capture, their weights (float32 ``[heads]``) and the rows to read."""

    heads: tuple[Head, ...]
    weights: npt.NDArray[np.float32]
    convention: RowConvention


@dataclass(frozen=True)
class HeadSet:
    """Everything a head-set file says."""

    model: str
    direction: str
    n_layers: int
    n_heads: int
    convention: RowConvention
    k: int
    scores: Mapping[RowConvention, tuple[ScoredHead, ...]]
    layout: str = ""
    """Fingerprint of the prompt layout it was calibrated under; empty when unknown."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Corpus, tool versions, date and remarks."""
    selected: tuple[Head, ...] = ()
    """Heads chosen together under `convention`; empty: the best `k`."""
    revision: str = ""
    """Revision of the model on its hub, or empty."""

    def select(self, convention: RowConvention | None = None, n: int = 0) -> Selection:
        """The best ``n`` heads (0: those the set selects) under a convention (None: the set's own)."""
        chosen = convention or self.convention
        if chosen not in self.scores:
            chosen = self.convention
        ranked = self.scores[chosen][: n or self.k]
        if self.selected and not n and chosen == self.convention:
            by_head = {scored.head: scored for scored in self.scores[chosen]}
            ranked = tuple(by_head[head] for head in self.selected)
        weights = np.asarray([scored.score for scored in ranked], dtype=np.float32)
        return Selection(tuple(scored.head for scored in ranked), weights, chosen)


def head_set_path(name: str, source: str, target: str) -> Path:
    """The file of a head set: a path as typed, or ``agent/head_sets/NAME-src-tgt.json``; UserError if there is none."""
    filled = name.replace("{src}", source).replace("{tgt}", target)
    shipped = SETS / f"{filled}-{source}-{target}.json"
    if shipped.is_file():
        return shipped
    path = resolve(filled)
    if path.is_file():
        return path
    known = ", ".join(sorted(file.stem for file in SETS.glob("*.json"))) or "none"
    raise UserError(
        f"No head set '{name}' for {source}-{target}: give a JSON file with mt.head_set, or a policy that reads no "
        f"attention, e.g. --set policy.name=local-agreement. Shipped: {known}."
    )


def load_all(name: str, source: str) -> list[HeadSet]:
    """The head sets of a name from ``source`` into every language that there is one for."""
    found = []
    for target in languages.NAMES:
        try:
            found.append(load(head_set_path(name, source, target)))
        except UserError:
            continue
    return found


def load(path: Path) -> HeadSet:
    """Read a head-set file. UserError when it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise UserError(f"Head set {path} has format {data['format']}; this version reads {FORMAT}.")
        scores: dict[RowConvention, tuple[ScoredHead, ...]] = {
            convention: tuple(_scored(row) for row in rows) for convention, rows in data["scores"].items()
        }
        loaded = HeadSet(
            data["model"],
            data["direction"],
            int(data["n_layers"]),
            int(data["n_heads"]),
            data["convention"],
            int(data["k"]),
            scores,
            data.get("layout", ""),
            data.get("provenance", {}),
            tuple(Head(int(la), int(he)) for la, he in data.get("selected", [])),
            data.get("revision", ""),
        )
        missing = set(loaded.selected) - {scored.head for scored in loaded.scores[loaded.convention]}
        if missing:
            raise UserError(f"Head set {path} selects heads that it does not score: {sorted(missing)}.")
        _check_scores(loaded, path)
        if loaded.k < 1 or not loaded.scores[loaded.convention]:
            raise UserError(f"Head set {path} lists no heads for its convention '{loaded.convention}'.")
        if not loaded.select().weights.any():
            raise UserError(f"Head set {path} selects heads without any score; their mean row would be empty.")
        return loaded
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a head set ({error!r}); make one with alignatt heads calibrate.") from error


def _check_scores(loaded: HeadSet, path: Path) -> None:
    for convention, ranked in loaded.scores.items():
        if convention not in ("own", "predicting"):
            raise UserError(f"Head set {path} has '{convention}' rows; rows are 'own' or 'predicting'.")
        if len({scored.head for scored in ranked}) < len(ranked):
            raise UserError(f"Head set {path} lists a head twice under '{convention}'.")
        if not all(0.0 <= scored.score <= 1.0 for scored in ranked):
            raise UserError(f"Head set {path} has scores outside 0 to 1 under '{convention}'.")


def _scored(row: Sequence[float]) -> ScoredHead:
    layer, head, *scores = row
    if not 1 <= len(scores) <= len(COLUMNS) - 2:
        raise ValueError(f"a row of scores has {len(row)} columns")
    return ScoredHead(Head(int(layer), int(head)), *(math.nan if x is None else float(x) for x in scores))


def _row(scored: ScoredHead) -> list[float | None]:
    """The columns of a head, without trailing ones that were not measured."""
    scores = (scored.score, scored.low, scored.high, scored.published, scored.not_heard)
    row: list[float | None] = [*scored.head, *(None if math.isnan(x) else round(x, 4) for x in scores)]
    while row[-1] is None:
        row.pop()
    return row


def save(path: Path, heads: HeadSet) -> None:
    """Write a head-set file, complete or not at all; scores rounded to four decimals."""
    scores = {convention: [_row(s) for s in ranked] for convention, ranked in heads.scores.items()}
    width = max(len(row) for rows in scores.values() for row in rows)
    data = {
        "format": FORMAT,
        "model": heads.model,
        **({"revision": heads.revision} if heads.revision else {}),
        "direction": heads.direction,
        "layout": heads.layout,
        "n_layers": heads.n_layers,
        "n_heads": heads.n_heads,
        "convention": heads.convention,
        "k": heads.k,
        **({"selected": [list(head) for head in heads.selected]} if heads.selected else {}),
        "provenance": dict(heads.provenance),
        **({"columns": COLUMNS[:width]} if width > 3 else {}),
        "scores": scores,
    }
    text = json.dumps(data, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One head a line keeps the file readable and its diffs small.
    text = re.sub(r"\[\s+((?:(?:[\d.e-]+|null),?\s+)+)\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.rename(path)


def check_writable(path: Path) -> None:
    """UserError when a file cannot be written at ``path``: known before the work, not after it."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if path.is_dir() or (existing != path and not existing.is_dir()) or not os.access(existing, os.W_OK):
        raise UserError(f"Cannot write {path}: name a file in a folder that you may write to.")


def check_fits(heads: HeadSet, n_layers: int, n_heads: int, layout: str, where: str) -> list[str]:
    """UserError when heads lie outside the model; otherwise warnings (e.g. another prompt layout)."""
    for ranked in heads.scores.values():
        for scored in ranked:
            if not (0 <= scored.head.layer < n_layers and 0 <= scored.head.head < n_heads):
                raise UserError(
                    f"Head set {where}: head {scored.head.layer}.{scored.head.head} is outside the model's {n_layers} "
                    f"layers of {n_heads} heads; use a set calibrated for this model."
                )
    if heads.layout and heads.layout != layout:
        return [f"Head set {where} was calibrated under another prompt layout ({heads.layout}, now {layout})."]
    return []


def fingerprint(path: Path) -> str:
    """SHA-256 of the file, first 8 hex digits, as printed in signatures."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
