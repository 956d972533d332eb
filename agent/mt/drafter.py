"""The drafter contract: prompt in, a greedy draft with the attention rows of the chosen heads out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

RowConvention = Literal["own", "predicting"]


class Head(NamedTuple):
    """One attention head: decoder layer and query head, both counted from 0."""

    layer: int
    head: int


@dataclass(frozen=True)
class DraftRequest:
    """What to continue.

    ``prompt_ids``: the whole prompt up to the assistant turn. ``source_span``: token range [start, end) of the source
    inside it. ``prefix_ids``: target tokens accepted so far, continued by the draft. ``heads`` may be empty: then no
    rows are captured. ``stream``: key under which an engine may keep a KV cache between the steps of one stream.
    """

    prompt_ids: tuple[int, ...]
    source_span: tuple[int, int]
    prefix_ids: tuple[int, ...]
    max_new_tokens: int
    heads: tuple[Head, ...] = ()
    row_convention: RowConvention = "predicting"
    stream: str = ""


@dataclass(frozen=True)
class Draft:
    """A greedy continuation.

    ``token_ids`` without the end-of-turn token. ``rows``: float32 ``[heads, tokens, source tokens]``, the softmax over
    *all* causal columns (post-norm, post-RoPE, with the layer's own mask), cut to the source span and not
    renormalised; row ``t`` belongs to ``token_ids[t]`` by the request's convention (``predicting``: the query of the
    position before it; ``own``: its own query). ``log_probs``: float32 ``[tokens]``, natural log.
    ``n_forward``: decode steps the engine ran, prefill excluded; ``n_prefilled``: prompt tokens it had to compute.
    """

    token_ids: tuple[int, ...]
    finish: Literal["end_of_turn", "length"]
    rows: npt.NDArray[np.float32]
    log_probs: npt.NDArray[np.float32]
    n_forward: int = 0
    n_prefilled: int = 0


class Drafter(Protocol):
    """A decoder-only language model. Thread-safe; any number of streams at once."""

    def draft(self, request: DraftRequest) -> Draft:
        """Greedy draft of at most ``request.max_new_tokens`` tokens."""

    def forget(self, stream: str) -> None:
        """Drop whatever is kept for ``stream``. Unknown streams are ignored."""
