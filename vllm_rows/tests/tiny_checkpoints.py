"""Tiny random checkpoints of the architectures that the capture is tested with, and their eager rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 512

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
_GEMMA4 = {
    "global_head_dim": 64,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": VOCABULARY,
    "sliding_window": 40,
    "num_kv_shared_layers": 2,
    "use_double_wide_mlp": True,
    "layer_types": [_SLIDING, _SLIDING, _FULL, _SLIDING, _SLIDING, _FULL],
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
}
_GEMMA3 = {"sliding_window": 40, "layer_types": [_SLIDING, _FULL, _SLIDING, _FULL], "query_pre_attn_scalar": 32}

_ARCHITECTURES: dict[str, tuple[str, int, float, dict[str, Any]]] = {
    "gemma4": ("Gemma4TextConfig", 6, 0.6, _GEMMA4),
    "gemma3": ("Gemma3TextConfig", 4, 2.0, _GEMMA3),
    "qwen3": ("Qwen3Config", 3, 2.0, {}),
    "hunyuan": ("HunYuanDenseV1Config", 3, 2.0, {}),
    "llama": ("LlamaConfig", 3, 4.0, {}),
}
"""Configuration class, layers, size of the keys (so that attention is neither flat nor a single column), more."""

HEADS: dict[str, list[tuple[int, int]]] = {
    # Not sorted: rows come back in the order asked for. Layers 4 and 5 share keys with 3 and 2.
    "gemma4": [(5, 3), (0, 0), (0, 3), (2, 1), (2, 2), (3, 2), (4, 0), (4, 3), (5, 0)],
    "gemma3": [(3, 1), (0, 0), (0, 3), (1, 2), (2, 1)],
    **{name: [(2, 3), (0, 0), (1, 1), (1, 2)] for name in ("qwen3", "hunyuan", "llama")},
}


def save_checkpoint(name: str, folder: Path) -> Path:
    """Random weights, and a tokenizer of one token per word."""
    kind, n_layers, sharpness, more = _ARCHITECTURES[name]
    config = getattr(transformers, kind)(**_SHAPE, num_hidden_layers=n_layers, **more)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    normed = any("k_norm" in name or "key_layernorm" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            is_key = "k_norm" in parameter_name or "key_layernorm" in parameter_name
            if not normed:
                is_key = "k_proj" in parameter_name
            scale = sharpness if is_key else 1.0
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
