"""A model folder with a large model's attention and next to nothing else: ``python -m bench.skeletons.text FOLDER``.

Gemma-4 E4B's 42 layers of 8 heads (2 key heads of dimension 256 and 512, window 512, the keys of the last 18 layers
shared) on a narrow residual stream, with random weights and the embedded model's tokenizer. It runs on any machine, and
shows what depends on the number of layers and heads: the rows, their capture, the choice of heads. Its text is random.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Gemma4ForCausalLM, Gemma4TextConfig

from demo.make.model import FOLDER, save
from demo.make.model_config import end_ids

N_LAYERS, N_HEADS = 42, 8


def skeleton_config(tokenizer: Any, n_layers: int = N_LAYERS) -> Gemma4TextConfig:
    """``n_layers``: a multiple of six, five sliding layers and a full one each."""
    return Gemma4TextConfig(
        vocab_size=len(tokenizer),
        vocab_size_per_layer_input=len(tokenizer),
        hidden_size=128,
        hidden_size_per_layer_input=8,
        intermediate_size=256,
        num_hidden_layers=n_layers,
        layer_types=[*["sliding_attention"] * 5, "full_attention"] * (n_layers // 6),
        num_attention_heads=N_HEADS,
        num_key_value_heads=2,
        head_dim=256,
        global_head_dim=512,
        num_kv_shared_layers=18 * n_layers // N_LAYERS,
        sliding_window=512,
        max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids(tokenizer),
    )


def write_skeleton(folder: Path, n_layers: int = N_LAYERS, logit_size: float | None = None) -> None:
    """Write the model with reproducible weights, loadable by Transformers and vLLM as ``mt.model``.

    ``logit_size``: standard deviation of the attention logits. Random ones of their full size put each row on a single
    column, and magnify from layer to layer by how much two right computations differ.
    """
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    torch.manual_seed(0)
    model = Gemma4ForCausalLM(skeleton_config(tokenizer, n_layers))
    for name, parameter in model.named_parameters():
        if logit_size is not None and name.endswith("k_norm.weight"):
            parameter.data.mul_(logit_size / parameter.numel() ** 0.5)
    save(model, tokenizer, folder)


def write_e4b(folder: Path) -> None:
    """Write Gemma-4 E4B's whole shape without weights: vLLM makes them when it starts (``load_format=dummy``)."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    config = skeleton_config(tokenizer)
    config.update({"hidden_size": 2560, "intermediate_size": 10240, "hidden_size_per_layer_input": 256})
    config.update({"vocab_size": 262144, "vocab_size_per_layer_input": 262144})
    tokenizer.save_pretrained(folder)
    described = {**config.to_dict(), "architectures": ["Gemma4ForCausalLM"], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    write_skeleton(parser.parse_args().folder)


if __name__ == "__main__":
    main()
