"""A Gemma-4 model whose alignment heads are known because they were put there.

Source words ``sNN`` and target words ``tNN`` translate each other; a sentence's source is the shuffled translation of
t00 t01 t02 …, so that the next target word is known from the current one. Attention writes nothing back: every layer
sees the token embedding, and a planted head's query asks for the code of the source word wanted (its own word's in an
*own* head, the next word's in a *predicting* head), which the keys of its key head spell out.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Gemma4ForCausalLM, Gemma4TextConfig, PreTrainedTokenizerFast

from agent.mt.drafter import Head
from heads.align import PROGRAM
from heads.score import AlignedPair

N_WORDS = 20
WINDOW = 32
OWN = (Head(1, 1), Head(5, 2))
"""A sliding layer; a full layer that shares the keys of layer 2."""
PREDICTING = (Head(2, 0), Head(4, 3))
"""A full layer; a sliding layer that shares the keys of layer 3."""
needs_eflomal = pytest.mark.skipif(
    not (Path(sys.executable).parent / PROGRAM).is_file() and shutil.which(PROGRAM) is None,
    reason="eflomal is not installed (extra heads)",
)
TEMPLATE = "<s> {% for m in messages %}{{ m.content }} {% endfor %}<a>"


def planted_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    words = ["<s>", "<a>", "?", *(f"s{n:02d}" for n in range(N_WORDS)), *(f"t{n:02d}" for n in range(N_WORDS))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?", pad_token="?")
    fast.chat_template = TEMPLATE
    return fast


def planted_pairs(n_pairs: int) -> list[AlignedPair]:
    """Sentences of 5 to 12 words with their alignments."""
    rng = random.Random(3)
    pairs = []
    for _ in range(n_pairs):
        n_words = rng.randint(5, 12)
        order = list(range(n_words))
        rng.shuffle(order)
        source = tuple(f"s{n:02d}" for n in order)
        target = " ".join(f"t{n:02d}" for n in range(n_words))
        spans = tuple((4 * n, 4 * n + 3) for n in range(n_words))
        pairs.append(AlignedPair(source, target, spans, tuple(frozenset({order.index(n)}) for n in range(n_words))))
    return pairs


def planted_model(tokenizer: PreTrainedTokenizerFast, attention: str) -> Any:
    """The model; every head that is not planted has random queries."""
    size = len(tokenizer)
    kinds = {1: "sliding_attention", 2: "full_attention", 4: "sliding_attention", 5: "full_attention"}
    config = Gemma4TextConfig(
        vocab_size=size,
        vocab_size_per_layer_input=size,
        hidden_size=64,
        hidden_size_per_layer_input=8,
        intermediate_size=32,
        num_hidden_layers=6,
        layer_types=[kinds.get(layer, "sliding_attention") for layer in range(6)],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        global_head_dim=64,
        num_kv_shared_layers=2,
        sliding_window=WINDOW,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=0,
        eos_token_id=1,
        # Slow rotation: at these lengths a position turns the codes' dimensions by next to nothing.
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e12},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e12},
        },
    )
    torch.manual_seed(0)
    model = Gemma4ForCausalLM._from_config(config, attn_implementation=attention, dtype=torch.float32)
    model.eval()
    with torch.no_grad():
        _plant(model, size)
    return model


def _plant(model: Any, size: int) -> None:
    embedding = torch.eye(size, 64)
    model.model.embed_tokens.weight.copy_(embedding)
    # Half of the dimensions rotate with their partner half a head away; the slowest of each half carry the codes.
    slow = [*range(20, 32), *range(52, 64)]
    codes = torch.zeros(N_WORDS, 64)
    codes[:, slow] = torch.nn.functional.normalize(torch.randn(N_WORDS, len(slow)), dim=-1)
    asks_own, asks_next, spells = torch.zeros(64, 64), torch.zeros(64, 64), torch.zeros(64, 64)
    for n in range(N_WORDS):
        spells[:, 3 + n] = codes[n]
        asks_own[:, 3 + N_WORDS + n] = codes[n]
        asks_next[:, 3 + N_WORDS + n] = codes[(n + 1) % N_WORDS]
    asks_next[:, 1] = codes[0]  # after the open turn comes t00
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        layer.per_layer_projection.weight.zero_()
        layer.self_attn.q_norm.weight.fill_(2.0)
        for planted, asks in ((OWN, asks_own), (PREDICTING, asks_next)):
            for head in planted:
                if head.layer == number:
                    layer.self_attn.q_proj.weight[64 * head.head : 64 * (head.head + 1)] = asks
        if number in (1, 2, 3):
            layer.self_attn.k_proj.weight[:64] = spells
            layer.self_attn.k_proj.weight[64:] = spells
