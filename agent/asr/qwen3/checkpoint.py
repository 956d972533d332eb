"""Which model a folder or hub id holds, and in which of the two layouts the family is published in.

``Qwen/…-hf`` is the layout of Transformers' own classes; vLLM reads it too. The original one (``thinker_config`` in
``config.json``) is read by vLLM only: Transformers would load it without a word and recognise nonsense.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.errors import UserError
from agent.paths import resolve

Kind = Literal["recogniser", "aligner"]
RELEASED: dict[Kind, str] = {"recogniser": "Qwen/Qwen3-ASR-1.7B-hf", "aligner": "Qwen/Qwen3-ForcedAligner-0.6B-hf"}
KEYS: dict[Kind, str] = {"recogniser": "asr.model", "aligner": "asr.aligner.model"}
BACKENDS: dict[Kind, str] = {"recogniser": "asr.backend", "aligner": "asr.aligner.backend"}


@dataclass(frozen=True)
class Checkpoint:
    """``name``: folder or hub id, for ``from_pretrained``. ``native``: in the layout that Transformers reads."""

    name: str
    revision: str
    kind: Kind
    native: bool
    audio_pad_id: int
    time_marker_id: int | None
    tokenizer: Any

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt as `agent.asr.qwen3.prompt` writes it."""
        return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])


def open_checkpoint(model: str, revision: str, kind: Kind, native_only: bool) -> Checkpoint:
    """Configuration and tokenizer of ``model``. UserError when it is absent, of another kind, or in a layout that the
    engine (``native_only``: Transformers) cannot read."""
    name = str(resolve(model)) if resolve(model).exists() else model
    key = KEYS[kind]
    config = _read_config(name, revision, kind)
    if config.get("model_type") != "qwen3_asr":
        raise UserError(f"{key}: {model} is {config.get('model_type')}, not Qwen3-ASR; use e.g. {RELEASED[kind]}.")
    native = "thinker_config" not in config
    thinker = config if native else config["thinker_config"]
    classifies = any("TokenClassification" in name for name in config.get("architectures") or ())
    is_aligner = classifies or "classify_num" in thinker
    if is_aligner != (kind == "aligner"):
        what = "a forced aligner" if is_aligner else "a recogniser"
        raise UserError(f"{key}: {model} is {what}, not {_with_article(kind)}; use e.g. {RELEASED[kind]}.")
    if native_only and not native:
        raise UserError(
            f"{key}: {model} is in the original layout, which Transformers cannot read: use {RELEASED[kind]} "
            f"or {BACKENDS[kind]}=vllm."
        )
    marker = config.get("timestamp_token_id")
    tokenizer = _tokenizer(name, revision, key)
    return Checkpoint(name, revision, kind, native, int(thinker["audio_token_id"]), marker, tokenizer)


def _with_article(kind: Kind) -> str:
    return "an aligner" if kind == "aligner" else "a recogniser"


def _read_config(name: str, revision: str, kind: Kind) -> dict[str, Any]:
    from transformers.utils import cached_file

    advice = f"set {KEYS[kind]} to a folder or hub id, e.g. {RELEASED[kind]}."
    try:
        path = cached_file(name, "config.json", **({"revision": revision} if revision else {}))
        config = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise UserError(f"Cannot load {KEYS[kind]} {name} ({reason}): {advice}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a model configuration: {advice}")
    return config


def _tokenizer(name: str, revision: str, key: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, **({"revision": revision} if revision else {}))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise UserError(f"Cannot load the tokenizer of {key} {name}: {reason}; download it again.") from error
