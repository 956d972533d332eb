"""Translation scores (TS): how often a head's row peaks on the source word a target token comes from.

The target is teacher-forced under the run-time prompt; for each head and both row conventions TS is the share of
aligned target tokens whose row, over the source span, peaks on an aligned source word, averaged per sentence pair
(the published definition with the peak taken inside the source, which is what the policy reads).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from agent.mt.attention import RowCapture, capturing
from agent.mt.drafter import Head, RowConvention
from agent.mt.prompt import PromptLayout

CONVENTIONS: tuple[RowConvention, ...] = ("predicting", "own")


@dataclass(frozen=True)
class AlignedPair:
    """Source words, target text, and for target units (character spans) the source words they come from."""

    words: tuple[str, ...]
    target: str
    spans: tuple[tuple[int, int], ...]
    sources: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class PairRows:
    """One pair run through the model.

    ``rows``: float32 ``[heads, target tokens + 1, source tokens]``, row ``t`` predicts token ``t``, row ``t + 1`` is
    its own; ``word_of_token``: int64 ``[source tokens]``; ``sources[t]``: source words of token ``t``;
    ``first[t]``: whether the token starts its unit.
    """

    rows: npt.NDArray[np.float32]
    word_of_token: npt.NDArray[np.int64]
    sources: tuple[frozenset[int], ...]
    first: tuple[bool, ...]


def all_heads(model: Any) -> tuple[Head, ...]:
    """Every head of the model."""
    config = model.config.get_text_config()
    return tuple(Head(la, he) for la in range(config.num_hidden_layers) for he in range(config.num_attention_heads))


@torch.inference_mode()
def pair_rows(model: Any, tokenizer: Any, layout: PromptLayout, pair: AlignedPair, heads: Sequence[Head]) -> PairRows:
    """Teacher-force one pair. ``model`` must run on the capture's attention implementation."""
    prompt = layout.build(pair.words)
    encoded = tokenizer(pair.target, add_special_tokens=False, return_offsets_mapping=True)
    ids = [*prompt.ids, *encoded["input_ids"]]
    n_target = len(encoded["input_ids"])
    capture = RowCapture(heads, prompt.source_span)
    with capturing(capture):
        capture.start_pass(n_target + 1)
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False, logits_to_keep=1)
    sources: list[frozenset[int]] = []
    first: list[bool] = []
    for begin, end in encoded["offset_mapping"]:
        inside = [i for i, (a, b) in enumerate(pair.spans) if begin < b and end > a]
        sources.append(frozenset().union(*(pair.sources[i] for i in inside)) if inside else frozenset())
        first.append(any(begin <= pair.spans[i][0] < end for i in inside))
    return PairRows(capture.rows().numpy(), prompt.word_of_token, tuple(sources), tuple(first))


def hits(pair: PairRows, rows: npt.NDArray[np.float32], first_only: bool) -> npt.NDArray[np.float64]:
    """Share of aligned tokens hit, ``[leading axes of rows]``; ``rows`` is ``[..., target tokens, source tokens]``."""
    wanted = [t for t, s in enumerate(pair.sources) if s and (pair.first[t] or not first_only)]
    words = pair.word_of_token[rows[..., wanted, :].argmax(axis=-1)]
    hit = np.stack([np.isin(words[..., i], list(pair.sources[t])) for i, t in enumerate(wanted)], axis=-1)
    share: npt.NDArray[np.float64] = hit.mean(axis=-1)
    return share


def conventional(pair: PairRows, convention: RowConvention) -> npt.NDArray[np.float32]:
    """``[heads, target tokens, source tokens]`` of one convention."""
    return pair.rows[:, 1:] if convention == "own" else pair.rows[:, :-1]


def collect(
    model: Any, tokenizer: Any, layout: PromptLayout, pairs: Sequence[AlignedPair], heads: Sequence[Head]
) -> list[PairRows]:
    """Rows of all pairs, with a progress bar."""
    return [pair_rows(model, tokenizer, layout, pair, heads) for pair in tqdm(pairs, unit="pair", leave=False)]


def translation_scores(
    collected: Sequence[PairRows], convention: RowConvention, first_only: bool = True
) -> npt.NDArray[np.float64]:
    """TS ``[heads]``; ``first_only`` counts the first token of each unit, the one the policy decides on."""
    pairs = [pair for pair in collected if any(pair.sources)]
    mean: npt.NDArray[np.float64] = np.mean([hits(p, conventional(p, convention), first_only) for p in pairs], axis=0)
    return mean


def mean_row_score(
    collected: Sequence[PairRows], convention: RowConvention, chosen: Sequence[int], weights: npt.NDArray[np.float64]
) -> float:
    """TS of the weighted mean row of several heads (indices into the collected heads)."""
    scores = []
    for pair in collected:
        if any(pair.sources):
            rows = np.tensordot(weights / weights.sum(), conventional(pair, convention)[list(chosen)], axes=(0, 0))
            scores.append(float(hits(pair, rows.astype(np.float32), True)))
    return float(np.mean(scores))
