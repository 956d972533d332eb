"""Speech recognition: `build_recognizer` makes the recogniser that a configuration asks for."""

from __future__ import annotations

from agent.asr.contract import Recognizer
from agent.asr.record import RecordingRecognizer
from agent.asr.replay import ReplayRecognizer
from agent.config import AgentConfig
from agent.paths import resolve

__all__ = ["build_recognizer"]


def build_recognizer(config: AgentConfig) -> Recognizer:
    """A recogniser for one stream; UserError when its model or recording cannot be used."""
    recognizer = _engine(config)
    if config.record_asr:
        return RecordingRecognizer(recognizer, config.record_asr, f"{config.asr.engine} {config.asr.model}")
    return recognizer


def _engine(config: AgentConfig) -> Recognizer:
    if config.asr.engine == "replay":
        return ReplayRecognizer(resolve(config.asr.model))
    if config.asr.engine == "qwen3":
        from agent.asr.qwen3 import build_qwen3  # only here: imports torch

        return build_qwen3(config)
    from agent.asr.sphinx import SphinxRecognizer  # only here: pocketsphinx is not needed for a replay

    return SphinxRecognizer(config.asr.model, config.asr.sentence_pause_s, config.asr.max_live_s)
