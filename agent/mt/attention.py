"""Attention rows from a Transformers model that runs on SDPA.

An attention function is registered with Transformers; it calls the stock SDPA function and, for the layers somebody
asked for, computes the softmax rows of a few heads beside it. Nothing is patched, layers outside pay nothing.
`eager_rows` reads the same rows from ``output_attentions`` of an eager model: slow, and the reference of the tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from agent.mt.drafter import Head
from agent.stages import stage

IMPLEMENTATION = "alignatt_sdpa"


@dataclass(frozen=True)
class AttentionCall:
    """What one layer's attention is computed from: ``query`` [batch, heads, q, d] and ``key`` [batch, kv heads, k, d]
    from position 0, both after norm and RoPE; the last query is at the last key.

    ``mask`` [batch or 1, 1, q, k]: true where visible, or added to the logits; None means causal, within ``window`` if
    there is one.
    """

    layer: int
    query: torch.Tensor
    key: torch.Tensor
    mask: torch.Tensor | None
    scaling: float
    window: int | None
    softcap: float | None

    def weights(self, sequence: int, heads: Sequence[int], queries: torch.Tensor, n_keys: int) -> torch.Tensor:
        """float32 ``[heads, queries, n_keys]``: softmax over what one sequence's queries see of its first keys."""
        group = self.query.shape[1] // self.key.shape[1]
        key = self.key[sequence, [head // group for head in heads], :n_keys]
        logits = (self.query[sequence, heads][:, queries].float() @ key.float().transpose(1, 2)) * self.scaling
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        if self.mask is None:
            column = torch.arange(n_keys, device=key.device)[None, :]
            position = (queries + self.key.shape[2] - self.query.shape[2])[:, None]
            visible = column <= position
            if self.window is not None:
                visible &= column > position - self.window
        else:
            visible = self.mask[sequence if self.mask.shape[0] > 1 else 0, 0, queries, :n_keys]
        logits = logits.masked_fill(~visible, float("-inf")) if visible.dtype == torch.bool else logits + visible
        return torch.softmax(logits, dim=-1)


class RowCapture:
    """Collects rows while it is active (see `capturing`).

    ``heads`` in the order wanted; ``source_span``: columns [start, end), absolute positions. Each forward pass adds
    rows for its last ``n_queries`` query positions (batch 1).
    """

    def __init__(self, heads: Sequence[Head], source_span: tuple[int, int]) -> None:
        self.heads = tuple(heads)
        self.source_span = source_span
        self.n_queries = 1
        self._by_layer: dict[int, list[int]] = {}
        for layer, head in self.heads:
            self._by_layer.setdefault(layer, []).append(head)
        self._pass: dict[Head, torch.Tensor] = {}
        self._rows = torch.zeros(len(self.heads), 0, source_span[1] - source_span[0])

    def start_pass(self, n_queries: int = 1) -> None:
        """Announce a forward pass of which the last ``n_queries`` positions are wanted; 0 for none."""
        self._collect()
        self.n_queries = n_queries

    def keep(self, n_rows: int) -> None:
        """Forget all but the first ``n_rows`` rows."""
        self._collect()
        self._rows = self._rows[:, :n_rows]

    def rows(self) -> torch.Tensor:
        """float32 ``[heads, rows, source tokens]`` over all passes so far, on the CPU."""
        self._collect()
        return self._rows

    @stage("replay")
    def _collect(self) -> None:
        if self._pass:
            rows = torch.stack([self._pass[head] for head in self.heads]).cpu()
            self._rows = torch.cat([self._rows, rows], dim=1)
            self._pass = {}

    @stage("replay")
    def add(self, call: AttentionCall) -> None:
        """Rows of this layer, of the batch's first sequence."""
        heads = self._by_layer.get(call.layer)
        if not heads or self.n_queries == 0:
            return
        n_queries = call.query.shape[2]
        queries = torch.arange(n_queries - self.n_queries, n_queries, device=call.query.device)
        start, end = self.source_span
        weights = call.weights(0, heads, queries, call.key.shape[2])
        for head, rows in zip(heads, weights[:, :, start:end], strict=True):
            self._pass[Head(call.layer, head)] = rows


class Capture(Protocol):
    """Receives the queries and keys of every layer."""

    def add(self, call: AttentionCall) -> None:
        """One layer of one forward pass."""


_active = threading.local()


@contextmanager
def capturing(capture: Capture | None) -> Iterator[None]:
    """Make ``capture`` receive the rows of forward passes in this thread."""
    _active.capture = capture
    try:
        yield
    finally:
        _active.capture = None


def _sdpa_with_capture(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    capture: Capture | None = getattr(_active, "capture", None)
    if capture is not None:
        capture.add(
            AttentionCall(
                int(vars(module)["layer_idx"]),
                query,
                key,
                attention_mask,
                query.shape[-1] ** -0.5 if scaling is None else scaling,
                kwargs.get("sliding_window") or getattr(module, "sliding_window", None),
                kwargs.get("softcap"),
            )
        )
    output: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **kwargs
    )
    return output


AttentionInterface.register(IMPLEMENTATION, _sdpa_with_capture)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


@torch.inference_mode()
def eager_rows(model: Any, ids: Sequence[int], heads: Sequence[Head], source_span: tuple[int, int]) -> torch.Tensor:
    """float32 ``[heads, len(ids), source tokens]``: rows of every position, from an eager model's own attentions."""
    output = model(input_ids=torch.tensor([list(ids)], device=model.device), output_attentions=True, use_cache=False)
    start, end = source_span
    rows = [output.attentions[layer][0, head, :, start:end].float().cpu() for layer, head in heads]
    return torch.stack(rows)
