"""The layers of one rank whose heads are captured: found, checked, equipped with recorders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from vllm_rows.errors import UnsupportedModelError
from vllm_rows.record import ATTRIBUTE, CaptureMixin, Recorder
from vllm_rows.replay import attention_rows, read_pages
from vllm_rows.vllm_internals import internal

_LAYER_NUMBER = re.compile(r"(?:^|\.)layers\.(\d+)\.|^(\d+)\.attn$")
"""Names of attention layers; the short one is what vLLM 0.25.1 calls those of models in Transformers' code."""


@dataclass
class CapturedLayer:
    """One attention layer and the heads of it that this rank computes.

    ``order``: positions of the heads in the list of `engine_options`; ``heads``: the rank's own head numbers;
    ``kv_heads``: the KV head each of them reads. ``group``: KV cache group, ``block_size``: its tokens per block.
    """

    number: int
    order: list[int]
    heads: list[int]
    kv_heads: list[int]
    module: Any
    group: int
    block_size: int
    recorder: Recorder

    @property
    def window(self) -> int | None:
        """Positions a query sees, itself included; None for all."""
        window: int | None = self.module.sliding_window
        return window or None

    def rows(self, pool_rows: torch.Tensor, block_table: Sequence[int], start: int, end: int) -> tuple[Any, int]:
        """(float32 ``[heads, end - start, keys]`` for the queries at [start, end), position of the first key)."""
        first_key = max(0, start - self.window + 1) if self.window else 0
        sinks = getattr(self.module.impl, "sinks", None)
        rows = attention_rows(
            self.recorder.queries.index_select(0, pool_rows),
            self._read(_unpack_keys(self.module), block_table, first_key, end),
            start,
            first_key,
            float(self.module.impl.scale),
            self.module.impl.logits_soft_cap or None,
            self.window,
            None if sinks is None else sinks[self.heads],
        )
        return rows, first_key

    def attended(self, rows: torch.Tensor, block_table: Sequence[int], first_key: int) -> tuple[Any, Any]:
        """(row·V, row·|V|) float32 ``[heads, rows, d]``: what the kernel should have put out, and its scale."""
        end = first_key + rows.shape[2]
        values = self._read(_unpack_values(self.module), block_table, first_key, end).float()
        return torch.bmm(rows, values), torch.bmm(rows, values.abs())

    def _read(self, unpack: Any, block_table: Sequence[int], start: int, end: int) -> torch.Tensor:
        return read_pages(self.module.kv_cache, unpack, block_table, self.block_size, self.kv_heads, start, end)


def attach_recorders(
    vllm_config: Any, kv_cache_config: Any, heads: Sequence[tuple[int, int]], n_rows: int
) -> list[CapturedLayer]:
    """Find the layers of ``heads`` on this rank, refuse what cannot be captured, give each a `Recorder`.

    Layers of other pipeline stages and heads of other tensor-parallel ranks are left out. UnsupportedModelError names
    the layer and the reason.
    """
    modules = _attention_modules(vllm_config)
    groups = kv_cache_config.kv_cache_groups
    group_of = {name: index for index, group in enumerate(groups) for name in group.layer_names}
    rank = int(internal("tensor_parallel_rank")())
    tables: dict[int, torch.Tensor] = {}
    layers: list[CapturedLayer] = []
    n_layers = vllm_config.model_config.hf_text_config.num_hidden_layers
    if heads and (highest := max(layer for layer, _ in heads)) >= n_layers:
        raise UnsupportedModelError(f"The model has {n_layers} layers, counted from 0: there is no layer {highest}.")
    for number in sorted({layer for layer, _ in heads}):
        if number not in modules:
            if vllm_config.parallel_config.pipeline_parallel_size > 1:
                continue
            raise UnsupportedModelError(f"Layer {number} has no attention or cache of its own: it has no rows.")
        name, module = modules[number]
        refuse_layer(number, module)
        total = module.num_heads * vllm_config.parallel_config.tensor_parallel_size
        order = [index for index, (layer, _) in enumerate(heads) if layer == number]
        too_high = [heads[index][1] for index in order if heads[index][1] >= total]
        if too_high:
            raise UnsupportedModelError(f"Layer {number} has {total} query heads, there is no head {too_high[0]}.")
        order = [index for index in order if heads[index][1] // module.num_heads == rank]
        if not order:
            continue
        own = [heads[index][1] % module.num_heads for index in order]
        group = group_of[getattr(module, "kv_sharing_target_layer_name", None) or name]
        block_size = groups[group].kv_cache_spec.block_size
        if group not in tables:
            slots = kv_cache_config.num_blocks * block_size
            tables[group] = torch.zeros(slots + 1, dtype=torch.long, device=module.kv_cache.device)
        recorder = Recorder(own, tables[group], n_rows, module.head_size, module.dtype)
        setattr(module, ATTRIBUTE, recorder)
        per_kv_head = module.num_heads // module.num_kv_heads
        kv_heads = [head // per_kv_head for head in own]
        layers.append(CapturedLayer(number, order, own, kv_heads, module, group, block_size, recorder))
    return layers


def _attention_modules(vllm_config: Any) -> dict[int, tuple[str, Any]]:
    """Decoder layer number → (name, attention module) of this rank."""
    found: dict[int, tuple[str, Any]] = {}
    for name, module in vllm_config.compilation_config.static_forward_context.items():
        match = _LAYER_NUMBER.search(name)
        if match is None or "vision" in name or "audio" in name:
            continue
        number = int(match.group(1) or match.group(2))
        if number in found:
            raise UnsupportedModelError(f"Layer {number} has two attention modules: {found[number][0]} and {name}.")
        found[number] = (name, module)
    return found


def refuse_layer(number: int, module: Any) -> None:
    """UnsupportedModelError when rows of this layer could not be exact."""
    kind = type(module).__name__
    if "MLA" in kind:
        raise UnsupportedModelError(f"Layer {number} is multi-head latent attention (MLA): its cache holds no keys.")
    if not hasattr(module, "impl"):
        raise UnsupportedModelError(
            f"Layer {number} ({kind}) is no attention layer (SSM, convolution): it has no rows."
        )
    if type(module) is not internal("Attention"):
        raise UnsupportedModelError(f"Layer {number} is {kind}; only plain decoder attention is captured.")
    if not isinstance(module.impl, CaptureMixin):
        name = module.attn_backend.get_name()
        raise UnsupportedModelError(
            f"Layer {number} runs on the attention back end {name}, which bypasses the capture: start the engine with "
            "attention_backend='FLASH_ATTN' or 'TRITON_ATTN' (CPU_ATTN on a CPU)."
        )
    reasons = {
        "an encoder's attention": str(getattr(module.attn_type, "value", module.attn_type)) != "decoder",
        "ALiBi": getattr(module.impl, "alibi_slopes", None) is not None,
        "chunked attention with lookback": getattr(module.impl, "chunk_lookback", -1) > -1,
        f"a quantised KV cache ({module.kv_cache_dtype}): use kv_cache_dtype='auto'": (
            module.kv_cache_torch_dtype != module.dtype
        ),
        "values narrower than keys": module.head_size_v != module.head_size,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnsupportedModelError(f"Layer {number} has {reason}: its rows cannot be captured.")


def refuse_engine(vllm_config: Any, stops_in_step: bool) -> None:
    """UnsupportedModelError for engine settings under which positions, slots or keys would not be where we look."""
    parallel, cache = vllm_config.parallel_config, vllm_config.cache_config
    if stops_in_step and parallel.tensor_parallel_size * parallel.pipeline_parallel_size > 1:
        raise UnsupportedModelError(
            "A StopRule needs all heads on one rank: leave starts_word out with tensor or pipeline parallelism, and "
            "abort the request instead."
        )
    reasons = {
        "speculative decoding": vllm_config.speculative_config is not None,
        "KV transfer between engines": vllm_config.kv_transfer_config is not None,
        "fast prefill of KV-shared layers (kv_sharing_fast_prefill)": getattr(cache, "kv_sharing_fast_prefill", False),
        "context parallelism": getattr(parallel, "decode_context_parallel_size", 1) > 1
        or getattr(parallel, "prefill_context_parallel_size", 1) > 1,
        "dual-batch overlap": getattr(parallel, "enable_dbo", False),
        "a pooling model": vllm_config.model_config.runner_type != "generate",
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnsupportedModelError(f"Attention capture does not work with {reason}: switch it off.")


def _unpack_keys(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    if module.kv_cache.device.type != "cpu":
        return lambda pages: pages[..., : module.head_size]
    return lambda pages: _unpack_cpu(pages, module, 0)


def _unpack_values(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    if module.kv_cache.device.type != "cpu":
        return lambda pages: pages[..., module.head_size :]
    return lambda pages: _unpack_cpu(pages, module, 1)


def _unpack_cpu(pages: torch.Tensor, module: Any, half: int) -> torch.Tensor:
    """Undo the CPU kernel's packing of ``pages`` [blocks, kv heads, tokens, 2 d]; ``half`` 0 for keys, 1 for values."""
    n_blocks, n_heads, tokens, _ = pages.shape
    packed = pages.reshape(n_blocks, n_heads, 2, tokens * module.head_size)[:, :, half]
    isa = module.isa if hasattr(module, "isa") else module.impl.isa  # older versions keep it there
    places = _cpu_packing(tokens, module.head_size, pages.dtype, isa)[half]
    return packed.index_select(2, places).view(n_blocks, n_heads, tokens, module.head_size)


@cache
def _cpu_packing(tokens: int, d: int, dtype: torch.dtype, isa: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the CPU kernel puts element (token, dimension) of a block's keys and values, as flat indices.

    It depends on the processor's instruction set, so the kernel is asked: numbered elements are written through it,
    digit by digit in base 64, which every number type holds exactly.
    """
    number = torch.arange(tokens * d)
    seen = [torch.zeros_like(number), torch.zeros_like(number)]
    for power in range(4):
        digit = (number // 64**power % 64).to(dtype).view(tokens, 1, d)
        cache = torch.zeros(1, 1, 2 * tokens, d, dtype=dtype)
        halves = cache.chunk(2, dim=2)
        internal("custom_ops").cpu_attn_reshape_and_cache(
            digit, digit.clone(), *halves, torch.arange(tokens), isa, k_scale=1.0, v_scale=1.0, kv_cache_dtype="auto"
        )
        for total, half in zip(seen, halves, strict=True):
            total += half.reshape(-1).float().round().long() * 64**power
    if any(not torch.equal(total.sort().values, number) for total in seen):
        raise UnsupportedModelError(f"The CPU attention kernel ({isa}) does not store every key once.")
    return seen[0].argsort(), seen[1].argsort()
