"""Speech recognition: `build_recognizer` makes the recogniser that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable

from agent.asr.contract import AligningRecognizer, Recognizer
from agent.asr.record import RecordingRecognizer
from agent.asr.replay import ReplayRecognizer
from agent.config import AgentConfig
from agent.errors import UserError
from agent.paths import resolve
from agent.words import Hypothesis

__all__ = ["build_recognizer", "listen"]


def build_recognizer(config: AgentConfig) -> Recognizer:
    """A recogniser for one stream; UserError when its model or recording cannot be used."""
    recognizer = _engine(config)
    if config.record_asr:
        return RecordingRecognizer(recognizer, config.record_asr, f"{config.asr.engine} {config.asr.model}")
    return recognizer


def listen(recognizer: Recognizer, on_words: Callable[[Hypothesis], None]) -> None:
    """Have ``on_words`` called with the words of every push before their times are known (`AligningRecognizer`).

    UserError for a recogniser that knows both at once.
    """
    if isinstance(recognizer, RecordingRecognizer):
        listen(recognizer.inner, on_words)
    elif isinstance(recognizer, AligningRecognizer):
        recognizer.on_words = on_words
    else:
        raise UserError("session.overlap=aligner wants a recogniser that has an aligner, e.g. asr.engine=qwen3.")


def _engine(config: AgentConfig) -> Recognizer:
    if config.asr.engine == "replay":
        return ReplayRecognizer(resolve(config.asr.model))
    if config.asr.engine == "qwen3":
        from agent.asr.qwen3 import build_qwen3  # only here: imports torch

        return build_qwen3(config)
    if config.asr.engine == "voxtral":
        from agent.asr.voxtral import build_voxtral  # only here: imports torch

        return build_voxtral(config)
    from agent.asr.sphinx import SphinxRecognizer  # only here: pocketsphinx is not needed for a replay

    return SphinxRecognizer(config.asr.model, config.asr.sentence_pause_s, config.asr.max_live_s)
