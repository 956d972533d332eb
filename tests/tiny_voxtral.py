"""A tiny random checkpoint of Voxtral Realtime's architecture, in the two layouts that its repository holds together.

``python tests/tiny_voxtral.py FOLDER`` writes Mistral's layout, which vLLM reads (``params.json``,
``consolidated.safetensors``, ``tekken.json``), and beside it that of Transformers (``config.json``,
``model.safetensors``) with the same numbers: 1 MB in all. Byte tokens and most control tokens are made improbable, so
that what it writes is pauses and words of `TEXT` at random.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import torch
from mistral_common.tokens.tokenizers.base import SpecialTokens
from safetensors.torch import save_file
from transformers import (
    VoxtralRealtimeConfig,
    VoxtralRealtimeFeatureExtractor,
    VoxtralRealtimeForConditionalGeneration,
)

TEXT = "the talk was about speech and we measured how long people wait for a word it works mostly"
N_LEFT_PAD = 32
DELAY_MS = 480
PAD = 32
_CONTROL = {0: "<unk>", 1: "<s>", 2: "</s>", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]", PAD: "[STREAMING_PAD]"}
_CONTROL |= {33: "[STREAMING_WORD]"}
_N_SPECIAL = 60
_WORDS = (*(f" {word}" for word in TEXT.split()), "ing", "ly", "s", ".", ",", "!")
_HIDDEN = 64
_WINDOW = 750
_MEL: dict[str, Any] = {"num_mel_bins": 128, "hop_length": 160, "window_size": 400}
_ENCODER: dict[str, Any] = {"n_layers": 2, "n_heads": 2, "head_dim": 32, "hidden_dim": 96, "dim": _HIDDEN}
_DECODER: dict[str, Any] = {
    "dim": _HIDDEN,
    "n_layers": 2,
    "head_dim": 32,
    "hidden_dim": 128,
    "n_heads": 4,
    "n_kv_heads": 2,
    "rope_theta": 1e6,
    "norm_eps": 1e-5,
    "sliding_window": 8192,
}


def build(folder: Path) -> Path:
    """Write the checkpoint into ``folder``; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    tekken = _tekken()
    (folder / "tekken.json").write_text(json.dumps(tekken))
    n_tokens = tekken["config"]["default_vocab_size"]
    model = _model(n_tokens)
    model.save_pretrained(folder)
    VoxtralRealtimeFeatureExtractor().save_pretrained(folder)
    weights = {
        _renamed(name): _unpermuted(name, weight)
        for name, weight in model.state_dict().items()
        if "lm_head" not in name
    }
    save_file(
        {name: weight.clone().contiguous() for name, weight in weights.items()}, folder / "consolidated.safetensors"
    )
    (folder / "params.json").write_text(json.dumps(_params(n_tokens), indent=1))
    return folder


def _tekken() -> dict[str, Any]:
    pieces = [bytes([byte]) for byte in range(256)]
    # Every word can be merged from its bytes: all its beginnings are tokens, too.
    for word in _WORDS:
        for end in range(2, len(word) + 1):
            if (piece := word[:end].encode()) not in pieces:
                pieces.append(piece)
    others = iter(sorted({token.value for token in SpecialTokens} - {*_CONTROL.values()}))
    names = [_CONTROL.get(rank) or next(others, f"<SPECIAL_{rank}>") for rank in range(_N_SPECIAL)]
    special = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
        for rank, piece in enumerate(pieces)
    ]
    return {
        "config": {
            "pattern": r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+",
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": len(pieces) + _N_SPECIAL,
            "default_num_special_tokens": _N_SPECIAL,
            "version": "v11",
        },
        "vocab": vocabulary,
        "special_tokens": special,
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "transcription_format": "streaming",
            "transcription_delay_ms": DELAY_MS,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": N_LEFT_PAD,
            "audio_encoding_config": _MEL,
        },
    }


def _model(n_tokens: int) -> Any:
    """The architecture with reproducible random weights, large enough that its output depends on the sound."""
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = VoxtralRealtimeConfig(
        audio_config={
            "vocab_size": n_tokens,
            "hidden_size": _HIDDEN,
            "intermediate_size": _ENCODER["hidden_dim"],
            "num_hidden_layers": _ENCODER["n_layers"],
            "num_attention_heads": _ENCODER["n_heads"],
            "head_dim": _ENCODER["head_dim"],
            "sliding_window": _WINDOW,
            "rope_parameters": rope,
        },
        text_config={
            "vocab_size": n_tokens,
            "hidden_size": _HIDDEN,
            "intermediate_size": _DECODER["hidden_dim"],
            "num_hidden_layers": _DECODER["n_layers"],
            "num_attention_heads": _DECODER["n_heads"],
            "num_key_value_heads": _DECODER["n_kv_heads"],
            "head_dim": _DECODER["head_dim"],
            "sliding_window": _DECODER["sliding_window"],
            "rms_norm_eps": _DECODER["norm_eps"],
            "max_position_embeddings": 8192,
            "rope_parameters": rope,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    )
    model = VoxtralRealtimeForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            weight.copy_(_values(name, torch.randn(weight.shape, generator=generator)))
        embeddings = model.get_input_embeddings().weight
        probable = {PAD, 33, *range(_N_SPECIAL + 256, n_tokens)}
        embeddings[[index for index in range(n_tokens) if index not in probable]] *= 0.2
        embeddings[PAD] *= 1.3  # as often as a pause comes
    return model.float().eval()


def _values(name: str, noise: torch.Tensor) -> torch.Tensor:
    if noise.dim() == 1:
        return 1.0 + 0.2 * noise if "norm" in name else 0.1 * noise
    if "embed_tokens" in name:
        return 0.5 * noise
    if noise.dim() == 3:
        return noise * (2.0 / (3 * noise.shape[1])) ** 0.5
    return noise * (3.0 if "projector" in name else 1.5) / noise.shape[1] ** 0.5


_STREAMS = "mm_streams_embeddings.embedding_module."
_RENAMED = (
    ("model.audio_tower.embedder.conv1.", _STREAMS + "whisper_encoder.conv_layers.0.conv."),
    ("model.audio_tower.embedder.conv2.", _STREAMS + "whisper_encoder.conv_layers.1.conv."),
    ("model.audio_tower.", _STREAMS + "whisper_encoder.transformer."),
    ("model.multi_modal_projector.linear_1.", _STREAMS + "audio_language_projection.0."),
    ("model.multi_modal_projector.linear_2.", _STREAMS + "audio_language_projection.2."),
    ("model.language_model.embed_tokens.", _STREAMS + "tok_embeddings."),
    ("model.language_model.", ""),
    ("self_attn_layer_norm.", "attention_norm."),
    ("final_layer_norm.", "ffn_norm."),
    ("input_layernorm.", "attention_norm."),
    ("post_attention_layernorm.", "ffn_norm."),
    ("ada_rms_norm.linear1.", "ada_rms_norm_t_cond.0."),
    ("ada_rms_norm.linear2.", "ada_rms_norm_t_cond.2."),
    ("self_attn.q_proj.", "attention.wq."),
    ("self_attn.k_proj.", "attention.wk."),
    ("self_attn.v_proj.", "attention.wv."),
    ("self_attn.o_proj.", "attention.wo."),
    ("mlp.gate_proj.", "feed_forward.w1."),
    ("mlp.down_proj.", "feed_forward.w2."),
    ("mlp.up_proj.", "feed_forward.w3."),
)
"""Parts of names: Transformers' to Mistral's."""


def _renamed(name: str) -> str:
    for theirs, ours in _RENAMED:
        name = name.replace(theirs, ours)
    return name


def _unpermuted(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Mistral's rotary embedding turns neighbours, Transformers' the two halves of a head."""
    if "q_proj" not in name and "k_proj" not in name:
        return weight
    return weight.view(-1, 2, 16, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _params(n_tokens: int) -> dict[str, Any]:
    encoder = {
        **_ENCODER,
        "audio_encoding_args": {**_MEL, "sampling_rate": 16000, "frame_rate": 12.5, "global_log_mel_max": 1.5},
        "n_kv_heads": _ENCODER["n_heads"],
        "vocab_size": n_tokens,
        "causal": True,
        "pos_embed": "rope",
        "sliding_window": _WINDOW,
        "max_source_positions": None,
    }
    return {
        **_DECODER,
        "vocab_size": n_tokens,
        "tied_embeddings": True,
        "max_position_embeddings": 8192,
        "ada_rms_norm_t_cond": True,
        "ada_rms_norm_t_cond_dim": 32,
        "multimodal": {
            "whisper_model_args": {"encoder_args": encoder, "downsample_args": {"downsample_factor": 4}},
        },
    }


if __name__ == "__main__":
    build(Path(sys.argv[1]))
