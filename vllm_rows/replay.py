"""Softmax rows from recorded queries and the keys of the paged cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Unpack = Callable[[torch.Tensor], torch.Tensor]


def attention_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    first_query: int,
    first_key: int,
    scale: float,
    softcap: float | None = None,
    window: int | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """float32 ``[heads, rows, keys]``.

    ``query`` [rows, heads, d] and ``key`` [heads, keys, d], after norm and RoPE, at consecutive positions from
    ``first_query`` and ``first_key``. ``window``: a query sees itself and the ``window - 1`` positions before it.
    ``sinks`` [heads]: logits of a column that takes weight and is not returned.
    """
    logits = torch.bmm(query.float().transpose(0, 1), key.float().transpose(1, 2)) * scale
    if softcap:
        logits = torch.tanh(logits / softcap) * softcap
    position = torch.arange(first_query, first_query + logits.shape[1], device=logits.device)[:, None]
    column = torch.arange(first_key, first_key + logits.shape[2], device=logits.device)[None, :]
    hidden = column > position
    if window is not None:
        hidden |= column <= position - window
    logits = logits.masked_fill_(hidden, float("-inf"))
    if sinks is None:
        return torch.softmax(logits, dim=-1)
    sink = sinks.float()[:, None, None].expand(-1, logits.shape[1], 1)
    return torch.softmax(torch.cat([logits, sink], dim=-1), dim=-1)[..., :-1]


def read_pages(
    cache: torch.Tensor,
    unpack: Unpack,
    block_table: Sequence[int],
    block_size: int,
    kv_heads: Sequence[int],
    start: int,
    end: int,
) -> torch.Tensor:
    """``[kv heads, end - start, d]``: what the cache holds for the positions [start, end) of one request.

    ``cache``: the layer's cache ``[blocks, kv heads, tokens per block, 2 d]``; ``unpack`` takes whole blocks of it to
    ``[blocks, kv heads, tokens per block, d]``. ``block_table``: the request's blocks of ``block_size`` tokens, as the
    scheduler counts them; a kernel may split each into several of its own.
    """
    first = start // block_size
    blocks = torch.tensor(block_table[first : -(-end // block_size)], device=cache.device)
    per_block = block_size // cache.shape[2]
    if per_block > 1:
        blocks = (blocks[:, None] * per_block + torch.arange(per_block, device=cache.device)).flatten()
    pages = unpack(cache[blocks][:, list(kv_heads)])
    skipped = start - first * block_size
    return pages.transpose(0, 1).flatten(1, 2)[:, skipped : skipped + end - start]
