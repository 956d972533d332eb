"""Whether a head set belongs to a model and its prompt: read from the configuration and tokenizer alone, no weights."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoTokenizer

from agent.config import AgentConfig, MtConfig
from agent.errors import UserError
from agent.mt.prompt import PromptLayout
from agent.paths import resolve
from heads import headset


def model_config(config: MtConfig) -> Any:
    """The Transformers configuration of a model. UserError when there is none."""
    return _from_pretrained(AutoConfig, config)


def tokenizer(config: MtConfig) -> Any:
    """The tokenizer of a model. UserError when there is none."""
    return _from_pretrained(AutoTokenizer, config)


def _from_pretrained(kind: Any, config: MtConfig) -> Any:
    path = resolve(config.model)
    revision = {"revision": config.revision} if config.revision else {}
    try:
        return kind.from_pretrained(str(path) if path.is_dir() else config.model, **revision)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"Cannot read the model {config.model}: {reason} Give a folder or a hub id.") from error


def check(config: AgentConfig) -> list[str]:
    """What was found, a line each. UserError when the set does not fit the model, the direction or the prompt."""
    mt, direction = config.mt, f"{config.source_lang}-{config.target_lang}"
    path = headset.head_set_path(mt.head_set, config.source_lang, config.target_lang)
    heads = headset.load(path)
    text = model_config(mt).get_text_config()
    layout = PromptLayout(tokenizer(mt), mt.prompt, config.source_lang, config.target_lang)
    if heads.direction != direction:
        raise UserError(f"Head set {path} is for {heads.direction}, not {direction}; give one for it.")
    if (heads.n_layers, heads.n_heads) != (text.num_hidden_layers, text.num_attention_heads):
        raise UserError(
            f"Head set {path} is of a model with {heads.n_layers} layers of {heads.n_heads} heads; {mt.model} has "
            f"{text.num_hidden_layers} of {text.num_attention_heads}. Calibrate: alignatt heads calibrate."
        )
    warnings = headset.check_fits(
        heads, text.num_hidden_layers, text.num_attention_heads, layout.fingerprint, str(path)
    )
    if warnings:
        raise UserError(f"{warnings[0]} Calibrate it anew, or set mt.prompt as it was.")
    known = f"the prompt layout {layout.fingerprint}" if heads.layout else "a prompt layout that the set does not name"
    lines = [f"{path} fits {mt.model}: {heads.n_layers} layers of {heads.n_heads} heads, {direction}, {known}."]
    if heads.model != mt.model:
        lines.append(f"It was calibrated on {heads.model}; heads of a fine-tuned copy may differ.")
    return lines
