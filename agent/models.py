"""Models loaded once per process and shared by every agent."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

import torch

from agent.asr.contract import Recogniser
from agent.asr.record import RecordingRecogniser
from agent.config import AgentConfig, check_direction
from agent.errors import UserError
from agent.mt import head_sets
from agent.mt.checkpoint import end_of_turn_ids, load_model, open_checkpoint
from agent.mt.config import MtConfig
from agent.mt.drafter import Drafter, Head
from agent.mt.policy.contract import Policy
from agent.mt.prompt import PromptLayout
from agent.mt.transformers import TransformersDrafter
from agent.mt.translator import Translator
from agent.weights import gpu_shares
from agent.words import Frontier

LOGGER = logging.getLogger("alignatt")


@dataclass
class LoadedModel:
    """A translation model: its Transformers text configuration, its tokenizer, its drafter."""

    text_config: Any
    tokenizer: Any
    drafter: Drafter


@dataclass
class ModelCache:
    """What has been loaded. Thread-safe."""

    _models: dict[tuple[Any, ...], LoadedModel] = field(default_factory=dict)
    _translators: dict[tuple[AgentConfig, str, str], Translator] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def model(self, config: MtConfig, heads: tuple[Head, ...] = ()) -> LoadedModel:
        """The model of a configuration, loaded at the first call. ``heads``: what a ``vllm`` engine has to capture."""
        key: tuple[Any, ...] = (config.backend, config.model, config.revision, config.device, config.dtype)
        key = (*key, config.threads)
        if config.backend == "vllm":
            key = (*key, config.vllm, config.max_draft_tokens, heads)
        with self._lock:
            if key not in self._models:
                self._models[key] = _load(config, heads)
            return self._models[key]

    def translator(self, config: AgentConfig, source: str, target: str) -> Translator:
        """The translator of a direction. UserError for an unsupported direction, missing weights or head set."""
        check_direction(config, source, target)
        with self._lock:
            key = (config, source, target)
            if key not in self._translators:
                self._translators[key] = self._build(config, source, target)
            return self._translators[key]

    def close(self) -> None:
        """End engines that have processes of their own, which otherwise end with this one."""
        with self._lock:
            for loaded in self._models.values():
                close = getattr(loaded.drafter, "close", None)
                if close is not None:
                    close()
            self._models.clear()
            self._translators.clear()

    def _build(self, config: AgentConfig, source: str, target: str) -> Translator:
        policy = config.policy
        # The cheap checks come first: a missing head set is reported before any weights are read.
        path = head_sets.head_set_path(config.mt.head_set, source, target) if policy.needs_rows else None
        heads = head_sets.load(path) if path else None
        loaded = self.model(config.mt, _engine_heads(config.mt, source, policy))
        layout = PromptLayout(loaded.tokenizer, config.mt.prompt, source, target)
        selection = None
        if heads is not None:
            n_layers, n_heads = loaded.text_config.num_hidden_layers, loaded.text_config.num_attention_heads
            for warning in head_sets.check_fits(heads, n_layers, n_heads, layout.fingerprint, str(path)):
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
        )

    def warm_up(self, config: AgentConfig) -> None:
        """Load everything the configuration names and run it once, so that the first chunk costs what others do.

        UserError when a model cannot be used, or when engines would share more than the whole GPU.
        """
        _check_gpu(config)
        translator = self.translator(config, config.source_lang, config.target_lang)
        words = ["the", "first", "words."]
        translator.step(words, (), Frontier(1, 3), "warm-up")
        translator.step(words, (), Frontier(3, 3, finished=True), "warm-up")
        translator.forget("warm-up")
        build_recogniser(config).reset()


def build_recogniser(config: AgentConfig) -> Recogniser:
    """A recogniser for one stream; UserError when its model or recording cannot be used."""
    recogniser = config.asr.open(config.source_lang)
    if config.record_asr:
        described = f"{config.recogniser_name} {getattr(config.asr, 'model', '')}".strip()
        return RecordingRecogniser(recogniser, config.record_asr, described)
    return recogniser


def _check_gpu(config: AgentConfig) -> None:
    total = sum(share for share, cache_gib in gpu_shares(config).values() if not cache_gib)
    if total > 1 and torch.cuda.is_available():
        raise UserError(
            "mt.vllm.gpu_memory_utilization, asr.gpu_share and asr.aligner.gpu_share are shares of a GPU: together at "
            f"most 1, not {total:.2f}."
        )


def _load(config: MtConfig, heads: tuple[Head, ...]) -> LoadedModel:
    if config.backend == "vllm":
        from agent.mt.vllm import VllmDrafter

        checkpoint = open_checkpoint(config)
        return LoadedModel(checkpoint.text_config, checkpoint.tokenizer, VllmDrafter(config, checkpoint, heads))
    model, tokenizer = load_model(config)
    drafter = TransformersDrafter(model, end_of_turn_ids(model, tokenizer), config.threads)
    return LoadedModel(model.config.get_text_config(), tokenizer, drafter)


def _engine_heads(config: MtConfig, source: str, policy: Policy) -> tuple[Head, ...]:
    """Heads of all directions that have a head set: one engine serves them all."""
    if not policy.needs_rows or config.backend != "vllm":
        return ()
    found = head_sets.load_all(config.head_set, source)
    return tuple(sorted({head for each in found for head in each.select(policy.row_convention, config.n_heads).heads}))
