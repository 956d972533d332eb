"""Small tokenizers and tiny random models for the tests; nothing here is trained or loaded from a hub."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from agent.mt import head_sets
from agent.mt.drafter import Head
from demo.make.model_config import generation_config, model_config, train_tokenizer

TEXTS = [
    "The old teacher repairs the machine in the garden, and it's 2019.",
    "Der alte Lehrer repariert die Maschine im Garten. Das Haus ist groß.",
    "L'insegnante ripara la macchina nel giardino: è grande, perché no?",
    "老师修理机器。我们用 GPT-4 模型，增长3.5%。你好！",
    "Translate English speech to German. Translate English speech to Chinese.",
] * 4

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Gemma-like: BPE over ``▁``, byte fallback, the template trims contents."""
    return train_tokenizer(TEXTS)


@cache
def byte_level_tokenizer(trim_offsets: bool = True) -> PreTrainedTokenizerFast:
    """Qwen- or Llama-like: byte-level BPE, ChatML turns."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS[:2], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHATML
    return fast


def random_model(config: Any, attention: str, dtype: torch.dtype = torch.float32) -> Any:
    """A model of ``config`` with reproducible random weights on the CPU."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    return model.eval()


def gemma4_config(window: int = 16) -> Any:
    """The embedded model's shape, with a window that short prompts outgrow."""
    config = model_config(metaspace_tokenizer())
    config.sliding_window = window
    return config


SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
"""Shape of other architectures."""


def save_head_sets(folder: Path) -> None:
    """``heads-de.json`` and the other directions, of the model in ``folder``."""
    scored = (head_sets.ScoredHead(Head(5, 1), 0.9), head_sets.ScoredHead(Head(2, 0), 0.5))
    for target in ("de", "it", "zh"):
        found = head_sets.HeadSet(str(folder), f"en-{target}", 6, 4, "predicting", 2, {"predicting": scored})
        head_sets.save(folder / f"heads-{target}.json", found)


def save_model(folder: Any) -> None:
    """A model folder as `mt.model` wants it: tiny random weights, tokenizer, generation settings."""
    tokenizer = metaspace_tokenizer()
    model = random_model(gemma4_config(), "sdpa")
    model.generation_config = generation_config(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
