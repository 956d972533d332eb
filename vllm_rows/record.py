"""Recording inside the attention call: selected heads' queries of the tracked positions go into a small pool.

Metadata of a step carries no request ids, batches are ordered as the runner likes, and CUDA graphs replay fixed
kernels. But a slot of the KV cache belongs to one position of one request while it is written. So a table says for
every slot which pool row it feeds (0 for "nobody's", a row that is written and never read), and recording is an
indexed copy between tensors that live as long as the engine: no request ids, no branch on data, no allocation that a
graph could not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

ATTRIBUTE = "attention_capture"
"""Attribute of a vLLM attention layer under which its `Recorder` is found."""


class Recorder:
    """The pool of one layer.

    ``heads``: the rank's own head numbers. ``row_of_slot`` [slots + 1]: pool row per slot, entry 0 for padding (slot
    -1), shared by the layers of one KV cache group. ``queries`` [rows + 1, heads, d] in the model's number type;
    ``outputs`` likewise while the kernel's output is checked (`self_test`).
    """

    def __init__(self, heads: Sequence[int], row_of_slot: torch.Tensor, n_rows: int, d: int, dtype: torch.dtype):
        device = row_of_slot.device
        self.heads = torch.tensor(list(heads), dtype=torch.long, device=device)
        self.row_of_slot = row_of_slot
        self.queries = torch.zeros(n_rows + 1, len(heads), d, dtype=dtype, device=device)
        self.outputs = torch.zeros_like(self.queries)
        self.record_outputs = False

    def record(self, query: torch.Tensor, output: torch.Tensor, slots: torch.Tensor) -> None:
        """Copy what tracked slots feed. ``query`` and ``output`` [tokens, heads, d], ``slots`` [tokens]."""
        rows = self.row_of_slot.index_select(0, slots + 1)
        n = slots.shape[0]
        self.queries.index_copy_(0, rows, query[:n].index_select(1, self.heads))
        if self.record_outputs:
            attended = output[:n].view(n, -1, self.queries.shape[2])
            self.outputs.index_copy_(0, rows, attended.index_select(1, self.heads))


class CaptureMixin:
    """Before an attention implementation of vLLM in the bases: the same call, then the record."""

    def forward(
        self,
        layer: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        attn_metadata: Any,
        output: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """The base's attention, unchanged; see `Recorder.record`."""
        result: torch.Tensor = super().forward(  # type: ignore[misc]
            layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs
        )
        recorder: Recorder | None = getattr(layer, ATTRIBUTE, None)
        if recorder is not None and attn_metadata is not None:
            recorder.record(query, output, attn_metadata.slot_mapping[: attn_metadata.num_actual_tokens])
        return result
