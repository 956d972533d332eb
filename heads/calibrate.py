"""Calibration: aligned sentence pairs and a model → a head set with scores, intervals and provenance."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from agent import __version__
from agent.errors import UserError
from agent.mt.attention import IMPLEMENTATION
from agent.mt.drafter import RowConvention
from agent.mt.head_sets import HeadSet
from agent.mt.prompt import PromptLayout
from heads.score import AlignedPair, RowStore, all_heads, collect, cut_short
from heads.select import Candidate, Kind, MeanRows, Scores, bootstrap, candidates, score_heads, winner

WHOLE, CUT, CHOICE = STEPS = ("rows of whole sentences", "rows of sentences cut short", "scores and choice of heads")
"""What `calibrate` does, in order."""
MIN_PAIRS = 10
"""Fewer pairs say nothing about heads."""


@dataclass(frozen=True)
class Calibrated:
    """A head set, and what it was chosen from."""

    head_set: HeadSet
    candidates: tuple[Candidate, ...]
    winner: Candidate
    scores: Mapping[RowConvention, Scores]


@dataclass(frozen=True)
class Subject:
    """What is calibrated: a loaded model with its tokenizer and prompt layout, and how to name it."""

    model: Any
    tokenizer: Any
    layout: PromptLayout
    name: str
    direction: str
    revision: str = ""


def calibrate(
    subject: Subject,
    pairs: Sequence[AlignedPair],
    provenance: Mapping[str, Any],
    batch_size: int = 8,
    work: Path | None = None,
    kind: Kind = "any",
    announce: Callable[[str], None] = lambda step: None,
) -> Calibrated:
    """Score every head and choose; UserError with too few pairs. ``work``: folder for the rows, where an interrupted
    run goes on, None for a temporary one. ``kind``: which may win. ``announce`` is told which of `STEPS` begins."""
    if len(pairs) < MIN_PAIRS:
        raise UserError(
            f"Calibration wants at least {MIN_PAIRS} aligned sentence pairs, not {len(pairs)}; use more text."
        )
    with tempfile.TemporaryDirectory(prefix="heads-") as scratch:
        store = RowStore(work or Path(scratch), signature(subject, pairs))
        heads = all_heads(subject.model)
        arguments = (subject.model, subject.tokenizer, subject.layout)
        announce(WHOLE)
        keys = collect(*arguments, pairs, heads, store, "whole", batch_size)
        announce(CUT)
        cut_keys = collect(*arguments, cut_short(pairs), heads, store, "cut", batch_size)
        announce(CHOICE)
        scores = score_heads(store, keys, cut_keys)
        found = candidates(store, keys, scores)
        best = winner(found, kind)
        mean_row = _describe(store, keys, cut_keys, best, scores)
    ranked = {convention: scores[convention].ranked(heads) for convention in scores}
    config = subject.model.config.get_text_config()
    head_set = HeadSet(
        model=subject.name,
        revision=subject.revision,
        direction=subject.direction,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        convention=best.convention,
        k=len(best.heads),
        scores={convention: ranked[convention] for convention in _both(best.convention)},
        layout=subject.layout.fingerprint,
        selected=tuple(heads[index] for index in best.heads),
        provenance={
            **provenance,
            "pairs": len(keys),
            "selection": f"{best.name} of {len(found)} candidates, chosen on even pairs, compared on odd pairs",
            "mean_row": mean_row,
            **_made_with(subject, dict(provenance.get("tools", {}))),
        },
    )
    return Calibrated(head_set, tuple(found), best, scores)


def _made_with(subject: Subject, tools: Mapping[str, str]) -> dict[str, Any]:
    """What a head set says of how it was made, whatever the corpus."""
    return {
        "score": "ts: first token of each unit, peak inside the source span, averaged per pair; "
        "ts_published: every aligned token, peak over the full row",
        "dtype": str(subject.model.dtype).removeprefix("torch."),
        "tools": {
            "alignatt-agent": __version__,
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
            **tools,
        },
        "date": datetime.now(UTC).date().isoformat(),
    }


def _both(first: RowConvention) -> tuple[RowConvention, ...]:
    return ("predicting", "own") if first == "predicting" else ("own", "predicting")


def _describe(
    store: RowStore,
    keys: Sequence[str],
    cut_keys: Sequence[str],
    best: Candidate,
    scores: Mapping[RowConvention, Scores],
) -> dict[str, Any]:
    """TS of the chosen mean row on held-out pairs with its interval, and its AUC on sources cut short."""
    weights = [float(scores[best.convention].ts[index]) for index in best.heads]
    places = range(len(best.heads))
    held_out = MeanRows.read(store, keys[1::2], best.convention, best.heads).score(places, weights)
    low, high = bootstrap(held_out, np.random.default_rng(0))
    late = MeanRows.read(store, cut_keys, best.convention, best.heads).not_heard_auc(places, weights)
    return {
        "ts_held_out": round(float(held_out.mean()), 4),
        "ts_low": round(float(low), 4),
        "ts_high": round(float(high), 4),
        "not_heard_auc": None if np.isnan(late) else round(late, 4),
    }


def signature(subject: Subject, pairs: Sequence[AlignedPair]) -> str:
    """Changes when anything does that the rows depend on."""
    config = subject.model.config
    # A few values of each tensor tell two fine-tunings apart that share a name and a configuration.
    values = [parameter.detach().flatten()[:4].float().cpu() for parameter in subject.model.parameters()]
    said = [
        *(subject.name, subject.revision, str(subject.model.dtype), subject.layout.fingerprint, IMPLEMENTATION),
        json.dumps(config.to_dict(), default=str, sort_keys=True),
        repr(torch.cat(values).tolist()),
        *(repr((pair.words, pair.target, pair.spans, [sorted(s) for s in pair.sources])) for pair in pairs),
    ]
    return hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]
