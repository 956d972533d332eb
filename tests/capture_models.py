"""Tiny random checkpoints of the architectures that the capture is tested with, and their eager rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 512
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_SLIDING, _FULL = "sliding_attention", "full_attention"


def _gemma4() -> Any:
    from transformers import Gemma4TextConfig

    return Gemma4TextConfig(
        **_SHAPE,
        num_hidden_layers=6,
        global_head_dim=64,
        hidden_size_per_layer_input=16,
        vocab_size_per_layer_input=VOCABULARY,
        sliding_window=40,
        num_kv_shared_layers=2,
        use_double_wide_mlp=True,
        layer_types=[_SLIDING, _SLIDING, _FULL, _SLIDING, _SLIDING, _FULL],
        final_logit_softcapping=30.0,
        tie_word_embeddings=True,
    )


def _gemma3() -> Any:
    from transformers import Gemma3TextConfig

    kinds = [_SLIDING, _FULL, _SLIDING, _FULL]
    return Gemma3TextConfig(
        **_SHAPE, num_hidden_layers=4, sliding_window=40, layer_types=kinds, query_pre_attn_scalar=32
    )


def _qwen3() -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(**_SHAPE, num_hidden_layers=3)


def _hunyuan() -> Any:
    from transformers import HunYuanDenseV1Config

    return HunYuanDenseV1Config(**_SHAPE, num_hidden_layers=3)


def _llama() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**_SHAPE, num_hidden_layers=3)


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "gemma4": _gemma4,
    "gemma3": _gemma3,
    "qwen3": _qwen3,
    "hunyuan": _hunyuan,
    "llama": _llama,
}

HEADS: dict[str, list[tuple[int, int]]] = {
    # Not sorted: rows come back in the order asked for. Layers 4 and 5 share keys with 3 and 2.
    "gemma4": [(5, 3), (0, 0), (0, 3), (2, 1), (2, 2), (3, 2), (4, 0), (4, 3), (5, 0)],
    "gemma3": [(3, 1), (0, 0), (0, 3), (1, 2), (2, 1)],
    "qwen3": [(2, 3), (0, 0), (1, 1), (1, 2)],
    "hunyuan": [(2, 3), (0, 0), (1, 1), (1, 2)],
    "llama": [(2, 3), (0, 0), (1, 1), (1, 2)],
}


# How peaked attention is, by the size of the keys: neither flat nor a single column.
_SHARPNESS = {"gemma4": 0.6, "gemma3": 2.0, "qwen3": 2.0, "hunyuan": 2.0, "llama": 4.0}


def save_checkpoint(name: str, folder: Path) -> Path:
    """Random weights, and a tokenizer of one token per word."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[name](), dtype=torch.float32)
    normed = any("k_norm" in name or "key_layernorm" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            is_key = "k_norm" in parameter_name or "key_layernorm" in parameter_name
            if not normed:
                is_key = "k_proj" in parameter_name
            scale = _SHARPNESS[name] if is_key else 1.0
            if "norm" in parameter_name:
                # Gemma-3 multiplies by one plus the weight.
                parameter.copy_(scale * (1 + 0.3 * torch.randn_like(parameter)) - float(name == "gemma3"))
            elif parameter.dim() == 2:
                parameter.normal_(0, 0.5 if "embed" in parameter_name else 0.12 * scale)
    model.save_pretrained(folder)
    _add_unused_norms(model.config, folder)
    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, **{f"w{i}": i for i in range(4, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def _add_unused_norms(config: Any, folder: Path) -> None:
    """Norms of keys that KV-shared layers never compute: vLLM 0.25.1 wants them in a checkpoint."""
    file, n_layers = folder / "model.safetensors", config.num_hidden_layers
    weights = load_file(file)
    for layer in range(n_layers - getattr(config, "num_kv_shared_layers", 0), n_layers):
        name = "model.layers.{}.self_attn.{}_norm.weight"
        weights[name.format(layer, "k")] = torch.ones_like(weights[name.format(layer, "q")])
    save_file(weights, file, {"format": "pt"})


def prompts(n: int, lengths: tuple[int, int], seed: int, shared: int = 0) -> list[list[int]]:
    """``n`` random prompts that share their first ``shared`` tokens."""
    random = np.random.default_rng(seed)
    start = [2, *random.integers(4, VOCABULARY, shared).tolist()]
    return [start + random.integers(4, VOCABULARY, random.integers(*lengths)).tolist() for _ in range(n)]


class Eager:
    """Transformers' eager model in float32: rows and logits to compare with."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    @torch.inference_mode()
    def rows(self, ids: Sequence[int], heads: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows ``[heads, len(ids), len(ids)]``, logits ``[len(ids), vocabulary]``)."""
        output = self.model(torch.tensor([list(ids)]), output_attentions=True, use_cache=False)
        return torch.stack([output.attentions[layer][0, head] for layer, head in heads]), output.logits[0]
