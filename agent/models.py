"""Models loaded once per process and shared by every agent."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from agent.asr import build_recognizer
from agent.config import AgentConfig, MtConfig, check_direction
from agent.errors import UserError
from agent.mt.hf import HFDrafter, end_of_turn_ids, load_model
from agent.mt.policy import build_policy
from agent.mt.prompt import PromptLayout
from agent.mt.translator import Translator
from agent.words import Frontier
from heads import headset

LOGGER = logging.getLogger("alignatt")


@dataclass
class LoadedModel:
    """A translation model with its drafter."""

    model: Any
    tokenizer: Any
    drafter: HFDrafter


@dataclass
class ModelCache:
    """What has been loaded. Thread-safe."""

    _models: dict[tuple[str, ...], LoadedModel] = field(default_factory=dict)
    _translators: dict[tuple[AgentConfig, str, str], Translator] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def model(self, config: MtConfig) -> LoadedModel:
        """The model of a configuration, loaded at the first call."""
        key = (config.engine, config.model, config.revision, config.device, config.dtype, str(config.threads))
        with self._lock:
            if key not in self._models:
                model, tokenizer = load_model(config)
                drafter = HFDrafter(model, end_of_turn_ids(model, tokenizer), config.threads)
                self._models[key] = LoadedModel(model, tokenizer, drafter)
            return self._models[key]

    def translator(self, config: AgentConfig, source: str, target: str) -> Translator:
        """The translator of a direction. UserError for an unsupported direction, missing weights or head set."""
        check_direction(source, target)
        with self._lock:
            key = (config, source, target)
            if key not in self._translators:
                self._translators[key] = self._build(config, source, target)
            return self._translators[key]

    def _build(self, config: AgentConfig, source: str, target: str) -> Translator:
        policy = build_policy(config.policy)
        # The cheap checks come first: a missing head set is reported before any weights are read.
        path = headset.head_set_path(config.mt.head_set, source, target) if policy.needs_rows else None
        heads = headset.load(path) if path else None
        loaded = self.model(config.mt)
        layout = PromptLayout(loaded.tokenizer, config.mt.prompt, source, target)
        selection = None
        if heads is not None:
            text_config = loaded.model.config.get_text_config()
            n_layers, n_heads = text_config.num_hidden_layers, text_config.num_attention_heads
            for warning in headset.check_fits(heads, n_layers, n_heads, layout.fingerprint, str(path)):
                LOGGER.warning(warning)
            if heads.direction != f"{source}-{target}":
                raise UserError(f"Head set {path} is for {heads.direction}, not {source}-{target}; give one for it.")
            selection = heads.select(policy.row_convention, config.mt.n_heads)
        return Translator(
            loaded.drafter,
            loaded.tokenizer,
            layout,
            policy,
            selection,
            target,
            config.mt.max_draft_tokens,
            config.mt.max_final_tokens,
            config.mt.early_stop,
            config.mt.reuse_drafts,
            config.mt.release_held,
        )

    def warm_up(self, config: AgentConfig) -> None:
        """Load everything the configuration names and run it once, so that the first chunk costs what others do."""
        translator = self.translator(config, config.source_lang, config.target_lang)
        words = ["the", "first", "words."]
        translator.step(words, (), Frontier(1, 3), "warm-up")
        translator.step(words, (), Frontier(3, 3, finished=True), "warm-up")
        translator.forget("warm-up")
        if config.asr.engine != "replay":
            recognizer = build_recognizer(config)
            recognizer.reset()
