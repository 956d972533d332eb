"""Tiny random checkpoints of Qwen3-ASR's and its aligner's architectures.

`build` writes ``asr-hf`` and ``aligner-hf`` (the layout of ``Qwen/…-hf``, which Transformers reads) and ``asr`` and
``aligner`` (the original one, ``thinker_config``) with the same numbers, under 1 MB each. Byte tokens are made
improbable, so that what the recogniser writes is words of `TEXT` at random.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen3ASRConfig,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRForTokenClassification,
    Qwen3ASRProcessor,
    WhisperFeatureExtractor,
)

TEXT = "the talk was about speech and we measured how long people wait for a word. it works, mostly. " * 3
N_CLASSES = 400
"""Times the tiny aligner can name: 400 x 80 ms = 32 s (the released one: 5000)."""
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>")
_MARKERS = ("<asr_text>", "<timestamp>")
"""Added tokens that decoding does not skip."""
_VOCABULARY = 400


_AUDIO = {
    "num_mel_bins": 128,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "d_model": 64,
    "n_window": 50,
    "n_window_infer": 800,
    "output_dim": 64,
    "downsample_hidden_size": 8,
    "activation_function": "gelu",
    "scale_embedding": False,
    "initializer_range": 0.02,
}
"""What both layouts say of the encoder."""
_TEXT = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 65536,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "use_cache": True,
}
"""What both layouts say of the decoder."""
_RENAMED = {
    "model.multi_modal_projector.linear_1.": "thinker.audio_tower.proj1.",
    "model.multi_modal_projector.linear_2.": "thinker.audio_tower.proj2.",
    "model.language_model.": "thinker.model.",
    "model.audio_tower.": "thinker.audio_tower.",
    "lm_head.": "thinker.lm_head.",
    "score.": "thinker.lm_head.",
}
"""Names of weights: native to original."""


def build(folder: Path) -> Path:
    """Write the four checkpoints into ``folder``; returns it."""
    for kind in ("asr", "aligner"):
        model, tokenizer = _write_native(folder / f"{kind}-hf", kind)
        _write_original(folder / kind, kind, model, tokenizer)
    return folder


def _write_native(folder: Path, kind: str) -> tuple[Any, Any]:
    """Write one checkpoint (``asr`` or ``aligner``) in the layout of Transformers; returns model and tokenizer."""
    tokenizer = _tokenizer()
    model = _model(kind, tokenizer, seed=1 if kind == "asr" else 2)
    model.save_pretrained(folder)
    Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer, chat_template=_template(kind)).save_pretrained(folder)
    if kind == "aligner":
        _update(folder / "config.json", timestamp_segment_time=80)
    return model, tokenizer


def _template(kind: str) -> str:
    return Path(__file__).with_name(f"tiny_qwen3_{kind}.jinja").read_text(encoding="utf-8")


def _tokenizer() -> Any:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY - 40, min_frequency=1, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([TEXT], trainer)
    trained = json.loads(bpe.to_str())["model"]
    vocabulary = {**trained["vocab"], _SPECIAL[0]: len(trained["vocab"])}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in trained["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "audio_token": "<|audio_pad|>",
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
        },
        model_max_length=65536,
    )
    added = [AddedToken(text, special=True, normalized=False) for text in _SPECIAL[1:]]
    tokenizer.add_tokens(added, special_tokens=True)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in _MARKERS])
    assert len(tokenizer) <= _VOCABULARY
    return tokenizer


def _model(kind: str, tokenizer: Any, seed: int) -> Any:
    """The architecture with reproducible random weights, large enough that its output depends on the sound."""
    of = tokenizer.convert_tokens_to_ids
    tied = kind == "asr"
    rope = {"rope_type": "default", "rope_theta": 1000000.0}
    config = Qwen3ASRConfig(
        audio_config={**_AUDIO, "max_position_embeddings": 13},
        text_config={**_TEXT, "rope_parameters": rope, "tie_word_embeddings": tied},
        tie_word_embeddings=tied,
        audio_token_id=of("<|audio_pad|>"),
        timestamp_token_id=of("<timestamp>"),
        pad_token_id=of("<|endoftext|>"),
        eos_token_id=[of("<|endoftext|>"), of("<|im_end|>")],
        **({} if tied else {"num_labels": N_CLASSES}),
    )
    model = (Qwen3ASRForConditionalGeneration if tied else Qwen3ASRForTokenClassification)(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            weight.copy_(_values(name, torch.randn(weight.shape, generator=generator)))
        if tied:
            embeddings = model.get_input_embeddings().weight
            for token, index in tokenizer.get_vocab().items():
                if not (token.startswith("Ġ") or token in (".", "<|im_end|>")):
                    embeddings[index] *= 0.2
    if tied:
        model.generation_config = GenerationConfig(
            eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, do_sample=False, max_new_tokens=64
        )
    return model.float().eval()


def _values(name: str, noise: torch.Tensor) -> torch.Tensor:
    if "q_norm" in name or "k_norm" in name:  # sharp attention
        return 2.0 + 0.2 * noise
    if noise.dim() == 1:
        return 1.0 + 0.2 * noise if "norm" in name and name.endswith("weight") else 0.1 * noise
    if "embed_tokens" in name:
        return 0.5 * noise
    if noise.dim() == 4:
        return noise * math.sqrt(2.0 / (9 * noise.shape[1]))
    return noise * (4.0 if "o_proj" in name else 1.5) / math.sqrt(noise.shape[1])


def _write_original(folder: Path, kind: str, model: Any, tokenizer: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for name, weight in model.state_dict().items():
        ours = next(old for old in _RENAMED if name.startswith(old))
        weights[_RENAMED[ours] + name.removeprefix(ours)] = weight.clone().contiguous()
    weights.setdefault("thinker.lm_head.weight", weights["thinker.model.embed_tokens.weight"].clone())
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=128, return_attention_mask=True).save_pretrained(folder)
    _update(folder / "preprocessor_config.json", processor_class="Qwen3ASRProcessor")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": _template("asr")}))
    config = model.config
    generation = {"eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "config.json").write_text(json.dumps(_original_config(kind, tokenizer), indent=1))


def _original_config(kind: str, tokenizer: Any) -> dict[str, Any]:
    of = tokenizer.convert_tokens_to_ids
    audio = {
        **_AUDIO,
        "model_type": "qwen3_asr_audio_encoder",
        "max_source_positions": 1500,
        "conv_chunksize": 500,
        "num_hidden_layers": 2,
        "dropout": 0,
        "attention_dropout": 0,
        "activation_dropout": 0,
    }
    rope = {"rope_type": "default", "type": "default", "interleaved": True, "mrope_interleaved": True}
    text = {
        **_TEXT,
        "model_type": "qwen3_asr_text",
        "rope_theta": 1000000,
        "tie_word_embeddings": kind == "asr",
        "rope_scaling": {**rope, "mrope_section": [6, 5, 5]},
    }
    thinker: dict[str, Any] = {
        "model_type": "qwen3_asr_thinker" if kind == "asr" else "qwen3_forced_aligner",
        "audio_config": audio,
        "text_config": text,
        "audio_token_id": of("<|audio_pad|>"),
        "audio_start_token_id": of("<|audio_start|>"),
        "audio_end_token_id": of("<|audio_end|>"),
        "user_token_id": 0,
        "initializer_range": 0.02,
        "dtype": "float32",
    }
    top: dict[str, Any] = {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "support_languages": ["English", "German"],
        "thinker_config": thinker,
        "dtype": "float32",
    }
    if kind == "aligner":
        thinker["classify_num"] = N_CLASSES
        top |= {"timestamp_token_id": of("<timestamp>"), "timestamp_segment_time": 80}
    return top


def _update(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=1))
