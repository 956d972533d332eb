"""The model with a large model's attention and next to nothing else: shape, and that it loads and drafts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from agent.mt.config import MtConfig
from agent.mt.drafter import DraftRequest, Head
from agent.mt.hf import HFDrafter, end_of_turn_ids, load_model
from bench.skeletons.text import N_HEADS, skeleton_config, write_skeleton
from demo.make.model import FOLDER


def test_a_small_skeleton_loads_and_drafts(tmp_path: Path) -> None:
    write_skeleton(tmp_path, n_layers=12)
    model, tokenizer = load_model(MtConfig(model=str(tmp_path)))
    assert model.config.layer_types == [*["sliding_attention"] * 5, "full_attention"] * 2
    widths = [layer.self_attn.q_proj.out_features // N_HEADS for layer in model.model.layers]
    assert widths == [*[256] * 5, 512] * 2
    ids = tuple(tokenizer("the old teacher repairs the machine", add_special_tokens=False)["input_ids"])
    heads = (Head(0, 0), Head(5, 7), Head(11, 3))  # sliding, full, with shared keys
    draft = HFDrafter(model, end_of_turn_ids(model, tokenizer)).draft(DraftRequest(ids, (1, len(ids)), (), 3, heads))
    assert draft.rows.shape == (3, len(draft.token_ids), len(ids) - 1)
    assert np.isfinite(draft.rows).all()


def test_the_full_skeleton_has_gemma_4_e4bs_attention() -> None:
    config = skeleton_config(AutoTokenizer.from_pretrained(FOLDER)).to_dict()
    assert (config["num_hidden_layers"], config["num_attention_heads"], config["num_key_value_heads"]) == (42, 8, 2)
    assert config["layer_types"].count("full_attention") == 7
    assert config["sliding_window"] == 512
    assert config["num_kv_shared_layers"] == 18
