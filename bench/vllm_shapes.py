"""The models that are benchmarked, and prompts for them.

- ``embedded``: the shipped model, 6 layers of 4 heads;
- ``skeleton``: Gemma-4 E4B's attention on a narrow residual stream, random weights: see `bench.skeletons.text`;
- ``e4b``: Gemma-4 E4B's whole shape with random weights, for a GPU. vLLM makes the weights when it starts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.mt.head_sets import head_set_path, load
from bench.skeletons.text import skeleton_config, write_skeleton

PROJECT_MODEL = Path(__file__).parents[1] / "demo" / "model"
N_HEADS = 8
PROMPT_TOKENS = 120


@dataclass(frozen=True)
class Shape:
    """A model folder, the heads to capture of it, and what vLLM needs to be told."""

    name: str
    folder: Path
    heads: tuple[tuple[int, int], ...]
    options: dict[str, Any] = field(default_factory=dict)


def shape_names() -> tuple[str, ...]:
    """Those that are measured on this machine."""
    return ("embedded", "skeleton", "e4b") if torch.cuda.is_available() else ("embedded", "skeleton")


def shape(name: str, work: Path) -> Shape:
    """The shape of this name; what is not there yet is written below ``work``."""
    heads = _best_heads("demo" if name == "embedded" else "gemma-4-E4B-it")
    if name == "embedded":
        return Shape(name, PROJECT_MODEL, heads)
    folder = work / name
    if not (folder / "config.json").exists():
        if name == "skeleton":
            write_skeleton(folder)
        else:
            _write_e4b(folder)
    return Shape(name, folder, heads, {"load_format": "dummy"} if name == "e4b" else {})


def prompts(n: int, length: int, seed: int) -> list[list[int]]:
    """``n`` prompts of ``length`` random token ids, the first quarter the same in all of them."""
    random = np.random.default_rng(seed)
    shared = random.integers(300, 1500, length // 4).tolist()
    return [[*shared, *random.integers(300, 1500, length - len(shared)).tolist()] for _ in range(n)]


def _best_heads(head_set: str) -> tuple[tuple[int, int], ...]:
    selection = load(head_set_path(head_set, "en", "de")).select(n=N_HEADS)
    return tuple((head.layer, head.head) for head in selection.heads)


def _write_e4b(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(PROJECT_MODEL)
    config = skeleton_config(tokenizer)
    config.update(
        {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "hidden_size_per_layer_input": 256,
            "vocab_size": 262144,
            "vocab_size_per_layer_input": 262144,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    described = {**config.to_dict(), "architectures": ["Gemma4ForCausalLM"], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
