"""A translation model's files: where they are, and how they are read, with one wording for what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from agent.errors import UserError
from agent.mt.attention import IMPLEMENTATION
from agent.mt.config import MtConfig
from agent.paths import resolve

UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError)
"""What Transformers raises for files that are missing or wrong."""


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model without its weights. ``config``: Transformers' configuration of the whole model."""

    name: str
    config: Any
    tokenizer: Any
    end_ids: tuple[int, ...]

    @property
    def text_config(self) -> Any:
        """Configuration of the language model."""
        return self.config.get_text_config()


def read_config(config: MtConfig) -> Any:
    """Transformers' configuration of ``mt.model``. UserError when there is none; so the next two."""
    return _read(AutoConfig, config, _name(config))


def read_tokenizer(config: MtConfig) -> Any:
    """The tokenizer of ``mt.model``."""
    return _read(AutoTokenizer, config, _name(config))


def open_checkpoint(config: MtConfig) -> Checkpoint:
    """Everything about ``mt.model`` but its weights."""
    name = checkpoint_name(config)
    model_config, tokenizer = _read(AutoConfig, config, name), _read(AutoTokenizer, config, name)
    try:
        generation = GenerationConfig.from_pretrained(name, **_revision(config))
    except OSError:  # it has none: its end tokens are in the configuration
        generation = GenerationConfig.from_model_config(model_config)
    return Checkpoint(name, model_config, tokenizer, tuple(_end_ids(generation, tokenizer)))


def load_model(config: MtConfig, attention: str = IMPLEMENTATION) -> tuple[Any, Any]:
    """(model in eval mode, tokenizer) of ``mt.model``. UserError when the weights are absent or cannot be used."""
    name = checkpoint_name(config)
    dtype = getattr(torch, config.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UserError(f"Key 'mt.dtype': '{config.dtype}' is no number type; use float32, bfloat16 or float16.")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    if len(list(resolve(config.model).glob("*.safetensors"))) == 1:
        transformers.utils.logging.disable_progress_bar()  # one small file: nothing to wait for
    tokenizer = _read(AutoTokenizer, config, name)
    model = _read(AutoModelForCausalLM, config, name, dtype=dtype, attn_implementation=attention)
    try:
        return model.to(device).eval(), tokenizer
    except (RuntimeError, AssertionError) as error:  # no such device, or no memory on it
        raise _unreadable(config, error) from error


def end_of_turn_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token id that ends an assistant turn: the model's and the tokenizer's end tokens."""
    return _end_ids(model.generation_config, tokenizer)


def _end_ids(generation: Any, tokenizer: Any) -> list[int]:
    listed = generation.eos_token_id
    ids = set(listed if isinstance(listed, list) else [] if listed is None else [listed])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return sorted(ids)


def checkpoint_name(config: MtConfig) -> str:
    """Folder or hub id of ``mt.model``. UserError for a folder without weights and for what is neither."""
    path = resolve(config.model)
    if not path.is_dir() and (config.model.startswith((".", "/", "~", "demo/")) or config.model.count("/") != 1):
        raise UserError(f"No model folder {config.model}: give a folder or hub id with --set mt.model=…")
    if path.is_dir() and not any(path.glob("*.safetensors")):
        raise UserError(f"Model folder {path} has no *.safetensors weights; download or build them there.")
    return _name(config)


def _name(config: MtConfig) -> str:
    path = resolve(config.model)
    return str(path) if path.is_dir() else config.model


def _revision(config: MtConfig) -> dict[str, str]:
    return {"revision": config.revision} if config.revision else {}


def _read(kind: Any, config: MtConfig, name: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(name, **_revision(config), **options)
    except UNREADABLE as error:
        raise _unreadable(config, error) from error


def _unreadable(config: MtConfig, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"Cannot load mt.model {config.model}: {reason} Give a folder or download it.")
