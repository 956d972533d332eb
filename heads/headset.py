"""Head sets: which (layer, head) rows tell what source a target token comes from, for one model and direction.

A JSON file. ``scores`` maps each row convention to ``[layer, head, TS]`` triples, best first, where TS (translation
score) is the share of aligned target tokens whose row peaks on an aligned source token. ``convention`` is the better of
the two, ``k`` the number of heads used when nothing else is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.errors import UserError
from agent.mt.drafter import Head, RowConvention
from agent.paths import resolve

SETS = Path(__file__).parent / "sets"
FORMAT = 1


@dataclass(frozen=True)
class ScoredHead:
    """A head and its translation score in [0, 1]."""

    head: Head
    score: float


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

    def select(self, convention: RowConvention | None = None, n: int = 0) -> Selection:
        """The best ``n`` heads (0: the set's own ``k``) under a convention (None: the set's own)."""
        chosen = convention or self.convention
        if chosen not in self.scores:
            chosen = self.convention
        ranked = self.scores[chosen][: n or self.k]
        weights = np.asarray([scored.score for scored in ranked], dtype=np.float32)
        return Selection(tuple(scored.head for scored in ranked), weights, chosen)


def head_set_path(name: str, source: str, target: str) -> Path:
    """The file of a head set: a path as typed, or ``heads/sets/NAME-src-tgt.json``. UserError when there is none."""
    filled = name.replace("{src}", source).replace("{tgt}", target)
    shipped = SETS / f"{filled}-{source}-{target}.json"
    if shipped.is_file():
        return shipped
    path = resolve(filled)
    if path.is_file():
        return path
    known = ", ".join(sorted(file.stem for file in SETS.glob("*.json"))) or "none"
    raise UserError(f"No head set '{name}' for {source}-{target}: give a JSON file with mt.head_set. Shipped: {known}.")


def load(path: Path) -> HeadSet:
    """Read a head-set file. UserError when it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise UserError(f"Head set {path} has format {data['format']}; this version reads {FORMAT}.")
        scores: dict[RowConvention, tuple[ScoredHead, ...]] = {
            convention: tuple(ScoredHead(Head(int(la), int(he)), float(ts)) for la, he, ts in rows)
            for convention, rows in data["scores"].items()
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
        )
        if loaded.k < 1 or not loaded.scores[loaded.convention]:
            raise UserError(f"Head set {path} lists no heads for its convention '{loaded.convention}'.")
        return loaded
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a head set ({error!r}); make one with python -m demo.calibrate.") from error


def save(path: Path, heads: HeadSet) -> None:
    """Write a head-set file; scores rounded to four decimals."""
    data = {
        "format": FORMAT,
        "model": heads.model,
        "direction": heads.direction,
        "layout": heads.layout,
        "n_layers": heads.n_layers,
        "n_heads": heads.n_heads,
        "convention": heads.convention,
        "k": heads.k,
        "provenance": dict(heads.provenance),
        "scores": {
            convention: [[s.head.layer, s.head.head, round(s.score, 4)] for s in ranked]
            for convention, ranked in heads.scores.items()
        },
    }
    text = json.dumps(data, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One head a line keeps the file readable and its diffs small.
    text = re.sub(r"\[\s+(\d+),\s+(\d+),\s+([\d.e-]+)\s+\]", r"[\1, \2, \3]", text)
    path.write_text(text + "\n", encoding="utf-8")


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
