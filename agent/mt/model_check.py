"""Whether a model's attention can be read, and whether a head set belongs to a model and its prompt.

Everything is told from the configuration and the tokenizer; no weights are read.
"""

from __future__ import annotations

from typing import Any

from agent.errors import UserError
from agent.mt import head_sets
from agent.mt.checkpoint import read_config, read_tokenizer
from agent.mt.config import MtConfig
from agent.mt.prompt import PromptLayout

ATTENTION_LAYERS = ("attention", "full_attention", "sliding_attention", "chunked_attention")
STATE_SPACE_KEYS = ("state_size", "ssm_state_size", "ssm_cfg", "mamba_d_state", "attn_layer_period", "rescale_every")
"""Keys that only configurations with recurrent layers have."""


def refuse(config: Any, name: str) -> None:
    """UserError when the attention of this architecture cannot be read, with the reason. ``config``: Transformers'."""
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{name} ({config.model_type}) is an encoder-decoder: its source is not in the decoder's own attention. "
            "Use a decoder-only model."
        )
    text = config.get_text_config()
    listed = getattr(text, "layer_types", None) or ()
    kinds = set(listed) - set(ATTENTION_LAYERS)
    # A list of layers says it all: hybrid families have members without recurrent layers.
    if kinds or (not listed and any(getattr(text, key, None) is not None for key in STATE_SPACE_KEYS)):
        what = ", ".join(sorted(kinds)) or "state-space layers"
        raise UserError(
            f"{name} ({config.model_type}) has layers without attention rows ({what}). Use a model whose layers "
            "are all softmax attention."
        )
    if getattr(text, "kv_lora_rank", None):
        raise UserError(
            f"{name} ({config.model_type}) uses multi-head latent attention (MLA), whose keys are compressed: its rows "
            "cannot be read on the fast engine. Use a model with plain or grouped-query attention."
        )
    if not getattr(text, "num_attention_heads", None) or not getattr(text, "num_hidden_layers", None):
        raise UserError(f"{name} ({config.model_type}) names no attention heads; use a decoder-only language model.")


def check(mt: MtConfig, source_lang: str, target_lang: str) -> list[str]:
    """What was found, a line each. UserError when the set does not fit the model, the direction or the prompt."""
    direction = f"{source_lang}-{target_lang}"
    path = head_sets.head_set_path(mt.head_set, source_lang, target_lang)
    heads = head_sets.load(path)
    refuse(of_model := read_config(mt), mt.model)
    text = of_model.get_text_config()
    layout = PromptLayout(read_tokenizer(mt), mt.prompt, source_lang, target_lang)
    if heads.direction != direction:
        raise UserError(f"Head set {path} is for {heads.direction}, not {direction}; give one for it.")
    if (heads.n_layers, heads.n_heads) != (text.num_hidden_layers, text.num_attention_heads):
        raise UserError(
            f"Head set {path} is of a model with {heads.n_layers} layers of {heads.n_heads} heads; {mt.model} has "
            f"{text.num_hidden_layers} of {text.num_attention_heads}. Calibrate: alignatt heads calibrate."
        )
    warnings = head_sets.check_fits(
        heads, text.num_hidden_layers, text.num_attention_heads, layout.fingerprint, str(path)
    )
    if warnings:
        raise UserError(f"{warnings[0]} Calibrate it anew, or set mt.prompt as it was.")
    known = f"the prompt layout {layout.fingerprint}" if heads.layout else "a prompt layout that the set does not name"
    lines = [f"{path} fits {mt.model}: {heads.n_layers} layers of {heads.n_heads} heads, {direction}, {known}."]
    if heads.model != mt.model:
        lines.append(f"It was calibrated on {heads.model}; heads of a fine-tuned copy may differ.")
    return lines
